"""People: the desk, behind a command line and an HTTP API."""
