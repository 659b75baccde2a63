"""Linear probes for every layer, with their controls."""

from analyses.linear_probe.analysis import LinearProbes

__all__ = ["LinearProbes"]
