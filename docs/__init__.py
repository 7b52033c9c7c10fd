"""Pages for people. What can be derived from the code is (docs/generate.py); the rest is written by hand."""
