"""One HTML file that stands alone."""
