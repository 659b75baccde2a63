"""Views drawn for a report: figures, and tables, tokens, images and heads as HTML in which everything from data is escaped."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from markupsafe import Markup

from workbench.numbers import number
from workbench.reports.highlight import visible
from workbench.reports.parts import figure_html
from workbench.store import tables
from workbench.store.parts import concepts_run
from workbench.store.tables import newest_names
from workbench.views import AbsentView, FigureView, HeadView, ImagesView, TableView, TokensView, View, drawing
from workbench.views.pages import MOST_IMAGES

if TYPE_CHECKING:
    from workbench.concepts import Head
    from workbench.store.runs import Run

ROWS, TEXTS, TOKENS, OUTPUTS, WEIGHTS, CHARACTERS = 30, 12, 400, 12, 10, 400
SHADES = ((255, 255, 255), (0, 114, 178))
OVER = 0.6


def drawn(view: View, run: Run) -> Markup:
    """A view as a part of a page that has Plotly already.

    Raises:
        DataError: What it names is not there, or is not what it should be.
        NotInstalledError: It shows a part of a kind that is not installed here.
    """
    view.require(run)
    with drawing(view):
        return _drawn(view, run)


def _drawn(view: View, run: Run) -> Markup:
    if isinstance(view, FigureView):
        return figure_html(view.figure(run))
    if isinstance(view, TableView):
        return _table(view, run)
    if isinstance(view, TokensView):
        return tokens_html(view, run)
    if isinstance(view, ImagesView):
        return images_html(view, run)
    if isinstance(view, HeadView):
        return _head(run, view.head)
    return Markup("<p>{}</p>").format(view.why if isinstance(view, AbsentView) else view.title)


def _escaped(value: Any) -> str:
    return html.escape(visible(str(value)[:CHARACTERS]))


def _rows(rows: Iterator[list[Any]]) -> str:
    parts = []
    for row in rows:
        numeric = (isinstance(cell, int | float | np.number) for cell in row)
        cells = (f'<td class="n">{number(c)}</td>' if n else f"<td>{_escaped(c)}</td>" for c, n in zip(row, numeric, strict=True))
        parts.append(f"<tr>{''.join(cells)}</tr>")
    return "".join(parts)


def _page_table(columns: list[Any], rows: Iterator[list[Any]], more: str = "") -> Markup:
    heads = "".join(f"<th>{_escaped(column)}</th>" for column in columns)
    below = f'<p class="about">{more}</p>' if more else ""
    return Markup(f'<div class="scroll"><table><tr>{heads}</tr>{_rows(rows)}</table></div>{below}')


def _table(view: TableView, run: Run) -> Markup:
    table, more = run.tables.first(view.table, ROWS)
    shown = table[list(view.columns)] if view.columns else table
    return _page_table(list(shown), iter(shown.astype(object).to_numpy().tolist()), f"Its first {ROWS} rows." if more else "")


def tokens_html(view: TokensView, run: Run) -> Markup:
    """The first texts of a view, a line each."""
    table = run.tables[view.table]
    groups = list(table.groupby(view.by, sort=False))[:TEXTS] if view.by else [("", table)]
    largest = float(pd.to_numeric(table[view.value]).max()) if len(table) else 0.0
    lines = []
    for _, rows in groups:
        marks = []
        for token, value in zip(rows[view.token].head(TOKENS), rows[view.value].head(TOKENS), strict=True):
            shade = round(100 * min(1.0, value / largest)) if largest > 0 and value > 0 else 0
            text = _escaped(token)
            marks.append(f'<mark class="fire" style="--fire:{shade}%" title="{value:.3g}">{text}</mark>' if shade else text)
        lines.append(f'<div><bdi class="text">{" ".join(marks)}{" …" if len(rows) > TOKENS else ""}</bdi></div>')
    return Markup("".join(lines))


def images_html(view: ImagesView, run: Run) -> Markup:
    """The first images of a view in a grid, as pictures inside the page."""
    cells = []
    for place, image in enumerate(pictures(view, run)):
        caption = f"<figcaption>{_escaped(view.captions[place])}</figcaption>" if view.captions else ""
        picture = f'<img alt="" src="{_png(image)}" style="width:100%;image-rendering:pixelated">'
        cells.append(f'<figure style="margin:0 8px 8px 0;width:112px;overflow-wrap:anywhere">{picture}{caption}</figure>')
    return Markup(f'<div style="display:flex;flex-wrap:wrap">{"".join(cells)}</div>')


def pictures(view: ImagesView, run: Run) -> list[np.ndarray]:
    """The first images of a view as uint8 ``[h, w, 3]``: maps in shades of blue, over what lies under them."""
    values = run.tensors[view.tensor][:MOST_IMAGES].float().numpy()
    if values.ndim == 4:
        return [image.clip(0, 255).astype(np.uint8) for image in values]
    low, high = (end((1, 2) if view.scale == "each" else None, keepdims=True) for end in (values.min, values.max))
    shares = (values - low) / np.where(high > low, high - low, 1.0)
    if not view.under:
        light, dark = (np.array(colour, dtype=float) for colour in SHADES)
        return [np.round(light + share[..., None] * (dark - light)).astype(np.uint8) for share in shares]
    below = run.tensors[view.under][:MOST_IMAGES].float().numpy().clip(0, 255)
    return [_over(image, share) for image, share in zip(below, shares, strict=True)]


def _over(image: np.ndarray, share: np.ndarray) -> np.ndarray:
    """An image with a map over it, whose cells are spread over its pixels."""
    height, width = image.shape[:2]
    rows, columns = np.arange(height) * share.shape[0] // height, np.arange(width) * share.shape[1] // width
    alpha = OVER * share[rows][:, columns][..., None]
    return np.round((1 - alpha) * image + alpha * np.array(SHADES[1], dtype=float)).astype(np.uint8)


def _png(image: np.ndarray) -> str:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def names_of(run: Run, head: Head) -> list[str]:
    """What the concepts that a head reads are called, in the order of its columns; their ids where they have no name."""
    origin, names_of_all = concepts_run(run).id, tables.names
    ids = [f"{origin}.{place}" for place in head.facts.concepts]
    mine = names_of_all.c.concept.startswith(f"{origin}.", autoescape=True)
    names = newest_names(run.study.catalog.frame(sa.select(names_of_all).where(mine)))
    known = dict(zip(names["concept"], names["text"], strict=True)) if len(names) else {}
    return [str(known.get(one, one)) for one in ids]


def _head(run: Run, name: str) -> Markup:
    head = run.heads[name]
    if head.weights is None:
        return Markup("<p>{}</p>").format(f"{head!r}: it has no weights to show.")
    weights, names = head.weights.detach().float().numpy(), names_of(run, head)
    rows = []
    for output, of_output in list(zip(head.facts.outputs, weights, strict=True))[:OUTPUTS]:
        largest = np.argsort(-np.abs(of_output), kind="stable")[:WEIGHTS]
        rows.append([output, "; ".join(f"{names[i]} {of_output[i]:+.3f}" for i in largest if of_output[i])])
    more = f"The first {OUTPUTS} of {len(weights):,} outputs." if len(weights) > OUTPUTS else ""
    return _page_table(["Output", "Concepts of largest weight"], iter(rows), more)
