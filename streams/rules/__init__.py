"""Policy as pure functions: risk, approval."""
