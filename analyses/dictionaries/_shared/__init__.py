"""How a dictionary is trained, and what is measured of it."""
