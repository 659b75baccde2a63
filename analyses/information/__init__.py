"""Mutual information of layers with labels."""

from analyses.information.analysis import MutualInformation

__all__ = ["MutualInformation"]
