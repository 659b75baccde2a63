"""Draws of each score under its null, for the calibration: a module a part of the product."""
