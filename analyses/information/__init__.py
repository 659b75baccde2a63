"""Mutual information of layers with labels."""

from analyses.information.mutual_information import MutualInformation

__all__ = ["MutualInformation"]
