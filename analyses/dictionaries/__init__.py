"""Sparse autoencoders: trained by sae-lens, or taken from a folder in its format."""

from analyses.dictionaries.pretrained_dictionary import PretrainedDictionary
from analyses.dictionaries.sparse_autoencoder import SparseAutoencoder

__all__ = ["PretrainedDictionary", "SparseAutoencoder"]
