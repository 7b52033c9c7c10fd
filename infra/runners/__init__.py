"""Runners: they carry the processors of the pipeline page, and hold no policy."""
