"""Side-by-side runs against peers; each prints a JSON line with a ratio for every setting."""
