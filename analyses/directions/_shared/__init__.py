"""How vectors are fitted, and what is measured of them."""
