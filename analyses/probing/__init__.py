"""Linear probes for every layer, with their controls."""

from analyses.probing.linear_probe import LinearProbes

__all__ = ["LinearProbes"]
