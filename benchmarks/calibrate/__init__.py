"""Simulations of what the product shows, for the calibration: one module a part."""
