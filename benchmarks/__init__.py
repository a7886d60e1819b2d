"""Measurements of the parts of the search, behind `runners/benchmark.py`."""
