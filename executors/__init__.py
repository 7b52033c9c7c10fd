"""Doing: one cluster at a time, one recorded step at a time."""
