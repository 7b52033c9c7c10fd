"""Ratios against the raw client in one run on one broker: `python -m benchmarks`, or `make bench`."""
