"""Sparse autoencoders, trained by sae-lens."""
