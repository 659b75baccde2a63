"""Side-by-side runs against peers; each prints one JSON line with a ratio."""
