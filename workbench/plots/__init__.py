"""Plotly figures in one visual language.

The colours are Okabe and Ito's, which people with colour-blindness tell apart. What was found is blue; nulls are grey.
"""

from __future__ import annotations

from workbench.plots.figures import (
    density_histogram,
    dose_curve,
    forest,
    lines,
    site_bands,
    site_lines,
    steering_curves,
    value_histogram,
)
from workbench.plots.reading import read_figure, read_figure_file
from workbench.plots.theme import COLOURS, FOUND, NULL, style, themed

__all__ = [
    "COLOURS", "FOUND", "NULL", "density_histogram", "dose_curve", "forest", "lines", "read_figure", "read_figure_file",
    "site_bands", "site_lines", "steering_curves", "style", "themed", "value_histogram",
]  # fmt: skip
