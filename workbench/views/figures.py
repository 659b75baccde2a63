"""Views that are figures: curves, matrices, maps of points, graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

from workbench.plots import COLOURS, FOUND, NULL, style
from workbench.plots.figures import plain
from workbench.views.view import FigureView, Parts, lacks, lacks_tensor

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MOST_ROWS, MOST_SIDE, MOST_LINES, MOST_EDGES = 20_000, 1000, 40, 200
NAMED_GROUPS = 12


class CurveView(FigureView):
    """Lines: one column of a table over another, with an interval and a null where there are such columns.

    Attributes:
        table: The table.
        x, y: Columns of numbers.
        low, high: Columns of the ends of an interval.
        null: A column of what there is when there is nothing to find, in grey.
        by: A column whose every value is a line of its own.
    """

    kind: ClassVar[str] = "curve"
    table: str
    x: str
    y: str
    low: str = ""
    high: str = ""
    null: str = ""
    by: str = ""

    def problem(self, parts: Parts) -> str:
        """Which column is not there."""
        if bool(self.low) != bool(self.high):
            return "an interval has a low and a high end"
        return lacks(parts, self.table, [self.by], [self.x, self.y, self.low, self.high, self.null])

    def figure(self, parts: Parts) -> Figure:
        """A line a group."""
        import plotly.graph_objects as go

        table, figure = parts.tables[self.table].head(MOST_ROWS), go.Figure()
        groups = list(table.groupby(self.by, sort=False)) if self.by else [("", table)]
        for number, (name, rows) in enumerate(groups[:MOST_LINES]):
            ordered, colour = rows.sort_values(self.x), COLOURS[number % len(COLOURS)]
            x, called = ordered[self.x].tolist(), plain(name)
            error = {
                "type": "data", "symmetric": False, "thickness": 1, "array": (ordered[self.high] - ordered[self.y]).tolist(),
                "arrayminus": (ordered[self.y] - ordered[self.low]).tolist(),
            } if self.low else None  # fmt: skip
            line = go.Scatter(
                x=x, y=ordered[self.y].tolist(), error_y=error, name=called, mode="lines+markers", line={"color": colour},
                showlegend=bool(self.by),
            )  # fmt: skip
            figure.add_trace(line)
            if self.null:
                below = {"color": NULL, "dash": "dot"}
                grey = go.Scatter(
                    x=x, y=ordered[self.null].tolist(), name="null", mode="lines", line=below, showlegend=not number
                )
                figure.add_trace(grey)
        return style(figure, "", plain(self.x), plain(self.y))


class MatrixView(FigureView):
    """A tensor ``[rows, columns]`` in shades: confusions, similarities, attention.

    Attributes:
        tensor: The tensor, of at most 1,000 rows and columns.
        rows, columns: Their names; numbers when left out.
        x, y: What columns and rows are.
    """

    kind: ClassVar[str] = "matrix"
    tensor: str
    rows: tuple[str, ...] = Field(default=(), max_length=MOST_SIDE)
    columns: tuple[str, ...] = Field(default=(), max_length=MOST_SIDE)
    x: str = ""
    y: str = ""

    def problem(self, parts: Parts) -> str:
        """Whether the tensor is no matrix of that size."""
        if found := lacks_tensor(parts, self.tensor, [2]):
            return found
        height, width = parts.tensors[self.tensor].shape
        if max(height, width) > MOST_SIDE:
            return f"the tensor '{self.tensor}' has more than {MOST_SIDE:,} rows or columns"
        named = {"rows": (self.rows, height), "columns": (self.columns, width)}
        wrong = [f"{len(names)} names of {size} {what}" for what, (names, size) in named.items() if names and len(names) != size]
        return f"there are {wrong[0]}" if wrong else ""

    def figure(self, parts: Parts) -> Figure:
        """A heat map, blue above 0 and orange below."""
        import plotly.graph_objects as go

        values = parts.tensors[self.tensor].detach().float().cpu().numpy()
        signed = bool((values < 0).any())
        scale = [[0, COLOURS[1]], [0.5, "#ffffff"], [1, FOUND]] if signed else [[0, "#ffffff"], [1, FOUND]]
        figure = style(go.Figure(go.Heatmap(z=values.tolist(), zmid=0 if signed else None, colorscale=scale)), "", self.x, self.y)
        for names, update in ((self.columns, figure.update_xaxes), (self.rows, figure.update_yaxes)):
            if names:
                update(tickvals=list(range(len(names))), ticktext=[plain(name) for name in names])
        return figure.update_layout(height=max(300, min(900, 90 + 22 * len(values)))).update_yaxes(autorange="reversed")


class PointsView(FigureView):
    """A map of points, such as a projection of concepts.

    Attributes:
        table: The table, of which the first 20,000 rows are drawn.
        x, y: Columns of numbers.
        label: A column that is shown under the pointer.
        colour: A column of numbers, or of groups.
    """

    kind: ClassVar[str] = "map"
    table: str
    x: str
    y: str
    label: str = ""
    colour: str = ""

    def problem(self, parts: Parts) -> str:
        """Which column is not there."""
        return lacks(parts, self.table, [self.label, self.colour], [self.x, self.y])

    def figure(self, parts: Parts) -> Figure:
        """A point a row."""
        import plotly.graph_objects as go

        table, figure = parts.tables[self.table].head(MOST_ROWS), go.Figure()
        by_number = bool(self.colour) and pd.api.types.is_numeric_dtype(table[self.colour])
        if self.colour and not by_number:
            groups = table[self.colour].astype(str)
            named = groups.value_counts().index[:NAMED_GROUPS]
            parts_of = list(table.groupby(groups.where(groups.isin(named), "all others"), sort=False))
        else:
            parts_of = [("", table)]
        for number, (name, rows) in enumerate(parts_of):
            marker = {"size": 6, "color": COLOURS[number % len(COLOURS)]}
            if by_number:
                marker |= {"color": rows[self.colour].astype(float).tolist(), "showscale": True, "colorscale": "Viridis"}
            texts = [plain(label, 120) for label in rows[self.label]] if self.label else None
            figure.add_trace(
                go.Scatter(
                    x=rows[self.x].tolist(), y=rows[self.y].tolist(), text=texts, mode="markers", marker=marker, name=plain(name),
                    hoverinfo="text" if texts else None, showlegend=len(parts_of) > 1,
                )
            )  # fmt: skip
        return style(figure, "", plain(self.x), plain(self.y), height=460)


class GraphView(FigureView):
    """A graph: its nodes in columns by type, or where its table puts them, and the 200 edges of largest weight.

    Attributes:
        graph: The graph.
    """

    kind: ClassVar[str] = "graph"
    graph: str

    def problem(self, parts: Parts) -> str:
        """Whether the graph is not there."""
        return "" if self.graph in parts.graphs else f"the graph '{self.graph}' is not there"

    def figure(self, parts: Parts) -> Figure:
        """Edges above 0 are blue, those below are orange, and the heavier the wider."""
        import plotly.graph_objects as go

        graph = parts.graphs[self.graph].strongest(MOST_EDGES)
        nodes, edges, figure = _placed(graph.nodes), graph.edges, go.Figure()
        at = dict(zip(nodes["id"], zip(nodes["x"], nodes["y"], strict=True), strict=True))
        largest = float(edges["weight"].abs().max() or 1.0) if len(edges) else 1.0
        shares = np.ceil(3 * edges["weight"].abs() / (largest or 1.0)).clip(1, 3)
        # One trace a width and sign: hundreds of traces would be slow to draw.
        for (width, above), rows in edges.groupby([shares, edges["weight"] >= 0]):
            x, y = [], []
            for source, target in zip(rows["source"], rows["target"], strict=True):
                x += [at[source][0], at[target][0], None]
                y += [at[source][1], at[target][1], None]
            line = {"width": 0.8 * width, "color": FOUND if above else COLOURS[1]}
            figure.add_trace(go.Scatter(x=x, y=y, mode="lines", line=line, opacity=0.6, hoverinfo="skip", showlegend=False))
        for number, (name, rows) in enumerate(nodes.groupby("type", sort=False)):
            labels = [plain(text) for text in (rows["label"] if "label" in rows else rows["id"])]
            figure.add_trace(
                go.Scatter(
                    x=rows["x"].tolist(), y=rows["y"].tolist(), text=labels, mode="markers+text", textposition="top center",
                    name=plain(name), marker={"size": 10, "color": COLOURS[number % len(COLOURS)]},
                )
            )  # fmt: skip
        hidden = {"showgrid": False, "zeroline": False, "showticklabels": False}
        # Room for the labels of the outermost nodes.
        low, high = (float(end) for end in (nodes["x"].min(), nodes["x"].max())) if len(nodes) else (0.0, 1.0)
        room = 0.15 * (high - low) or 1.0
        return style(figure, height=480).update_xaxes(**hidden, range=[low - room, high + room]).update_yaxes(**hidden)


def _placed(nodes: pd.DataFrame) -> pd.DataFrame:
    """The nodes with places: their own, or a column a type, from the left in the order in which types occur."""
    if {"x", "y"} <= set(nodes):
        return nodes
    rank = nodes.groupby("type", sort=False).cumcount()
    count = nodes.groupby("type", sort=False)["id"].transform("size")
    return nodes.assign(x=pd.factorize(nodes["type"])[0].astype(float), y=-(rank + 0.5) / count)
