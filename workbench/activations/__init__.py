"""Capture activations to disk and read them back."""
