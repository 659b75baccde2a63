"""Colours and layout that every figure shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.plots.reading import read_figure

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FOUND = "#0072B2"
NULL = "#8A8F98"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#6B705C")
# The same hues, lighter, for a dark page.
ON_DARK = dict(
    zip(COLOURS, ("#4BA3DB", "#F08A4B", "#2FBF94", "#DDA0C2", "#F0B840", "#8CCBF2", "#B08BD0", "#A5AB93"), strict=True)
)
INK, INK_ON_DARK = "#1c2330", "#e6e9ee"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def themed(figure: Figure, dark: bool) -> Figure:
    """A copy of a figure for a light or a dark page: the ink, and on a dark page lighter shades of the same colours.

    Raises:
        DataError: It would load something from an address; see :func:`workbench.plots.reading.read_figure`.
    """
    import plotly.graph_objects as go

    text = figure.to_json()
    if dark:
        for light, lighter in ON_DARK.items():
            text = text.replace(light, lighter)
    copy = read_figure(text)
    ink, paper = (INK_ON_DARK, "#1d232c") if dark else (INK, "#ffffff")
    template = go.layout.Template()
    template.layout = {"font": {"color": ink}, "hoverlabel": {"bgcolor": paper, "font": {"color": ink}}, "colorway": COLOURS}
    return copy.update_layout(template=template)


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
    figure.update_xaxes(title={"text": x_title, "font": {"size": 13}}, **grid)
    figure.update_yaxes(title={"text": y_title, "font": {"size": 13}}, **grid)
    return figure
