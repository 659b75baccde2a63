"""Sparse autoencoders, trained by sae-lens."""

from analyses.sparse_autoencoder.analysis import SparseAutoencoder

__all__ = ["SparseAutoencoder"]
