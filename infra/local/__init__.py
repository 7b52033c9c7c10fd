"""Real servers on a developer's machine, on loopback only. Not part of the production wheel."""
