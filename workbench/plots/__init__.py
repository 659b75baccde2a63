"""Plotly figures in one visual language."""
