"""A simulated TiKV cluster as PD shows it, for specs, the simulator and the demo. Not part of the production wheel.

Start at `model.py` (the cluster), then `http.py` (PD's HTTP face over it) and `faults.py` (what can go wrong between).
"""
