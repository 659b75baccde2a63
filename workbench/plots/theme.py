"""Colours and layout that every figure shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FOUND = "#0072B2"
NULL = "#8A8F98"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#6B705C")
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def style(figure: Figure, title: str = "", x_title: str = "", y_title: str = "", height: int = 340) -> Figure:
    """Give a figure the shared look; the background is left clear so that it fits a light and a dark page."""
    figure.update_layout(
        title={"text": title, "font": {"size": 15}, "x": 0, "xanchor": "left", "xref": "container"},
        font={"family": FONT, "size": 13},
        colorway=list(COLOURS),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 10, "r": 10, "t": 44 if title else 16, "b": 10},
        height=height,
        legend={"orientation": "h", "yanchor": "top", "y": -0.22, "x": 0},
        hoverlabel={"font": {"family": FONT}},
    )
    grid = {
        "gridcolor": "rgba(128,128,128,0.2)",
        "zerolinecolor": "rgba(128,128,128,0.45)",
        "automargin": True,
    }
    figure.update_xaxes(title_text=x_title, **grid)
    figure.update_yaxes(title_text=y_title, **grid)
    return figure
