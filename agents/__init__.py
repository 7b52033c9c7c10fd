"""Thinking: what is wrong, and what could be done about it."""
