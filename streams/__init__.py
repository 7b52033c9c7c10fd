"""Deciding, purely: start with pipeline.py."""
