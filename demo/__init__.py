"""The main job, told as it happens, against a simulated cluster. A distribution of its own: production has no file of
it."""
