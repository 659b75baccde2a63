"""Mutual information of layers with labels."""
