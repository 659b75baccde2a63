"""Linear probes for every layer, with their controls."""
