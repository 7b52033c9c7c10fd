"""Everything that proves the product. `tiers.py` says what needs what; `conftest.py` has the real servers."""
