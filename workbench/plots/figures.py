"""The figures of the reports and the app."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float

from workbench.plots.theme import COLOURS, FOUND, NULL, style

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_TICK = 40


def plain(text: object, limit: int = MAX_TICK) -> str:
    """Text for a label of a figure. Plotly reads a few HTML tags in labels, so angle brackets are written as entities."""
    shown = "".join(c if c.isprintable() else " " for c in str(text))
    shown = shown if len(shown) <= limit else shown[: limit - 1] + "…"
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def lines(table: pd.DataFrame, x: str, y: str, title: str, x_title: str, y_title: str) -> Figure:
    """One line."""
    import plotly.graph_objects as go

    figure = go.Figure(go.Scatter(x=table[x].tolist(), y=table[y].tolist(), mode="lines", line={"color": FOUND}))
    return style(figure, title, x_title, y_title)


def density_histogram(shares: Float[np.ndarray, "c"], title: str, x_title: str) -> Figure:
    """Histogram of log10 shares; those that are zero are counted in the title."""
    import plotly.graph_objects as go

    alive = shares[shares > 0]
    figure = go.Figure(go.Histogram(x=np.log10(alive).tolist(), nbinsx=40, marker={"color": FOUND}))
    return style(figure, f"{title} ({int((shares == 0).sum()):,} of {len(shares):,} never)", x_title, "latents")


def value_histogram(table: pd.DataFrame, title: str = "Activation where present") -> Figure:
    """Bars from ``left, right, count``."""
    import plotly.graph_objects as go

    middle, width = (table["left"] + table["right"]) / 2, table["right"] - table["left"]
    bars = go.Bar(x=middle.tolist(), y=table["count"].tolist(), width=width.tolist(), marker={"color": FOUND})
    return style(go.Figure(bars), title, "activation", "rows (sample)", height=260)


def site_lines(
    table: pd.DataFrame,
    title: str,
    y_title: str,
    series: str = "series",
    null: float | None = None,
    height: int = 380,
) -> Figure:
    """Values by site, with intervals: ``site, value, series`` and any of ``low, high``; a series called null is grey."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for i, (name, part) in enumerate(table.groupby(series, sort=False)):
        grey = str(name).startswith("null")
        colour = NULL if grey else COLOURS[i % len(COLOURS)]
        error = None
        if {"low", "high"} <= set(part.columns) and part["low"].notna().any():
            error = {
                "type": "data",
                "symmetric": False,
                "array": (part["high"] - part["value"]).tolist(),
                "arrayminus": (part["value"] - part["low"]).tolist(),
                "thickness": 1,
                "width": 3,
            }
        figure.add_trace(
            go.Scatter(
                x=part["site"].tolist(),
                y=part["value"].tolist(),
                name=plain(name),
                mode="lines+markers",
                line={"color": colour, "dash": "dot" if grey else "solid"},
                error_y=error,
            )
        )
    if null is not None:
        figure.add_hline(y=null, line={"color": NULL, "dash": "dot", "width": 1})
    return style(figure, title, "", y_title, height=height)


def site_bands(
    table: pd.DataFrame, y_title: str, sites: list[str], chance: float | None = None, null_name: str = "null", height: int = 420
) -> Figure:
    """Values by site as a line a series with its interval as a band, and below them in grey the range of their nulls.

    Args:
        table: ``site, value, series`` and any of ``low, high, null, null_high``.
        y_title: The axis.
        sites: The sites in order.
        chance: Where there is nothing to see, drawn as a line.
        null_name: What the legend calls the nulls.
        height: Of the figure, in pixels.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    _null_band(figure, table, sites, null_name)
    for i, (name, part) in enumerate(table.groupby("series", sort=False)):
        colour = COLOURS[i % len(COLOURS)]
        rows = part.drop_duplicates("site").set_index("site").reindex([s for s in sites if s in set(part["site"])])
        known = rows.dropna(subset=["low", "high"]) if {"low", "high"} <= set(rows) else rows.iloc[:0]
        if len(known):
            _band(figure, list(known.index), known["low"].tolist(), known["high"].tolist(), colour, str(i))
        figure.add_trace(
            go.Scatter(
                x=list(rows.index), y=rows["value"].tolist(), name=plain(name), mode="lines+markers",
                line={"color": colour, "width": 2}, marker={"size": 7}, legendgroup=str(i),
            )
        )  # fmt: skip
    if chance is not None:
        figure.add_hline(y=chance, line={"color": NULL, "dash": "dot", "width": 1})
    # Where all sites are layers of one kind, the numbers say enough, and fit a phone.
    kinds = {site.rpartition(".")[0] for site in sites}
    short = len(kinds) == 1 and "" not in kinds and not sites[0].startswith("layer:")
    style(figure, "", plain(kinds.pop()) if short else "", y_title, height=height)
    ticks = [plain(site.rpartition(".")[2] if short else site) for site in sites]
    figure.update_xaxes(categoryorder="array", categoryarray=sites, tickmode="array", tickvals=sites, ticktext=ticks)
    return figure.update_layout(hovermode="closest", legend={"y": 1.02, "yanchor": "bottom"})


def _band(figure: Figure, sites: list[str], low: list[float], high: list[float], colour: str, group: str) -> None:
    import plotly.graph_objects as go

    figure.add_trace(
        go.Scatter(
            x=sites + sites[::-1], y=high + low[::-1], fill="toself", fillcolor=colour, opacity=0.16, line={"width": 0},
            mode="lines", hoverinfo="skip", showlegend=False, legendgroup=group,
        )
    )  # fmt: skip


def _null_band(figure: Figure, table: pd.DataFrame, sites: list[str], name: str) -> None:
    import plotly.graph_objects as go

    bounds = [c for c in ("null", "null_high") if c in table and table[c].notna().any()]
    if not bounds:
        return
    ends = table.groupby("site")[bounds].agg(["min", "max"])
    low, high = ends.min(axis=1), ends.max(axis=1)
    known = [s for s in sites if s in low.index and pd.notna(low[s])]
    figure.add_trace(
        go.Scatter(
            x=known + known[::-1], y=[high[s] for s in known] + [low[s] for s in known[::-1]], fill="toself",
            fillcolor="rgba(138,143,152,0.28)", line={"width": 1, "color": NULL, "dash": "dot"}, mode="lines", name=name,
            hoverinfo="skip",
        )
    )  # fmt: skip


def forest(table: pd.DataFrame, title: str, x_title: str, null: float | None = None) -> Figure:
    """A value with its interval a row: ``name, value, low, high``, and beside it what is in any of ``random, neuron``."""
    import plotly.graph_objects as go

    names = [plain(n) for n in table["name"]]
    figure = go.Figure()
    for column, symbol in (("random", "x-thin"), ("neuron", "line-ns")):
        if column in table:
            marker = {"symbol": symbol, "size": 9, "color": NULL, "line": {"width": 2, "color": NULL}}
            label = "best random direction" if column == "random" else "best single neuron"
            figure.add_trace(go.Scatter(x=table[column].tolist(), y=names, mode="markers", name=label, marker=marker))
    error = {
        "type": "data",
        "symmetric": False,
        "array": (table["high"] - table["value"]).tolist(),
        "arrayminus": (table["value"] - table["low"]).tolist(),
        "thickness": 1.5,
    }
    marker = {"color": FOUND, "size": 9}
    figure.add_trace(go.Scatter(x=table["value"].tolist(), y=names, mode="markers", name="found", error_x=error, marker=marker))
    if null is not None:
        figure.add_vline(x=null, line={"color": NULL, "dash": "dot", "width": 1})
    figure.update_yaxes(autorange="reversed")
    height = 150 + 26 * len(table)
    style(figure, title, x_title, "", height=height)
    # The shared place of the legend is a share of the height, which would be far below a tall figure.
    return figure.update_layout(legend={"y": -80 / height})


def dose_curve(table: pd.DataFrame, title: str) -> Figure:
    """A dose curve with its interval and the band of random directions: the ``curves`` table of an examination."""
    import plotly.graph_objects as go

    table = table.sort_values("dose")
    dose = table["dose"].tolist()
    figure = go.Figure()
    hidden = {"width": 0}
    edge = {"mode": "lines", "line": hidden, "hoverinfo": "skip"}
    figure.add_trace(go.Scatter(x=dose, y=table["null_high"].tolist(), showlegend=False, **edge))
    figure.add_trace(
        go.Scatter(
            x=dose, y=table["null_low"].tolist(), fill="tonexty", fillcolor="rgba(138,143,152,0.3)",
            name="95% of random directions", **edge,
        )
    )  # fmt: skip
    error = {
        "type": "data",
        "symmetric": False,
        "array": (table["logit_high"] - table["logit"]).tolist(),
        "arrayminus": (table["logit"] - table["logit_low"]).tolist(),
        "thickness": 1.5,
    }
    figure.add_trace(
        go.Scatter(
            x=dose,
            y=table["logit"].tolist(),
            mode="lines+markers",
            name="this concept",
            line={"color": FOUND},
            error_y=error,
        )
    )
    return style(figure, title, dose_axis(table), "change of the readout's logit", height=320)


def dose_axis(table: pd.DataFrame) -> str:
    """The title of the axis of doses: curves of earlier versions, which have no column ``norm``, are in another unit."""
    return f"dose, in {'deviations of the activations' if 'norm' in table else 'mean norms of an activation'}"


def steering_curves(table: pd.DataFrame, measure: str, title: str, y_title: str, height: int = 320) -> Figure:
    """What steering does by dose: the concept with its interval, its sign-flipped and shuffled directions, random ones in grey.

    Args:
        table: ``arm, dose, <measure>, <measure>_low, <measure>_high``, as `workbench.evidence.steering_rows.dose_table` makes.
        measure: ``odds``, ``cost`` or ``kl``.
        title: Of the figure.
        y_title: The axis.
        height: In pixels.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    looks = {
        "random": (NULL, "dot"),
        "matched": (COLOURS[5], "dot"),
        "shuffled": (COLOURS[4], "dash"),
        "flipped": (COLOURS[1], "dash"),
        "concept": (FOUND, "solid"),
    }
    for arm, (colour, dash) in looks.items():
        part = table[table["arm"].eq(arm)].sort_values("dose")
        if part.empty:
            continue
        x, low, high = part["dose"].tolist(), part[f"{measure}_low"].tolist(), part[f"{measure}_high"].tolist()
        figure.add_trace(
            go.Scatter(
                x=x + x[::-1], y=high + low[::-1], fill="toself", fillcolor=colour, opacity=0.18, line={"width": 0}, mode="lines",
                hoverinfo="skip", showlegend=False, legendgroup=arm,
            )
        )  # fmt: skip
        figure.add_trace(
            go.Scatter(
                x=x, y=part[measure].tolist(), name=arm, mode="lines+markers", legendgroup=arm,
                line={"color": colour, "dash": dash, "width": 2}, marker={"size": 6},
            )
        )  # fmt: skip
    return style(figure, title, dose_axis(table), y_title, height=height)
