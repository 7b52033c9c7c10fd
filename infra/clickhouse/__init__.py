"""The audit: every event in ClickHouse, once, in a shape that answers plain SQL and can prove itself whole."""
