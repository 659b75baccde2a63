"""Sparse autoencoders: trained by sae-lens, or taken from a folder in its format."""

from analyses.sparse_autoencoder.analysis import SparseAutoencoder
from analyses.sparse_autoencoder.pretrained import PretrainedDictionary

__all__ = ["PretrainedDictionary", "SparseAutoencoder"]
