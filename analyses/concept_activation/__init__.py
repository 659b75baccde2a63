"""Concept activation vectors and TCAV on a frozen readout."""
