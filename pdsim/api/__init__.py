"""PD's HTTP API, one file a family of paths. Each file owns a ROUTES table; `router.py` joins them."""
