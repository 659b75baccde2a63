"""Reading figures from files and plug-ins, restricted to parts that only draw.

A figure of plotly may load pictures, maps and outlines of countries from any address, and its texts are read as HTML with links
and styles. Here only the kinds of traces and the parts of a layout that load nothing are let through, and what is no plain mark
of a text stays text.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError
from workbench.paths import read_bytes
from workbench.shapes import ShapeError, parse_json

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

TRACES = re.compile(
    r"bar|barpolar|box|candlestick|carpet|cone|contour|contourcarpet|funnel|funnelarea|heatmap|histogram(2d(contour)?)?"
    r"|icicle|image|indicator|isosurface|mesh3d|ohlc|parcats|parcoords|pie|sankey|scatter(3d|carpet|gl|polar|polargl|smith|ternary)?"
    r"|splom|streamtube|sunburst|surface|table|treemap|violin|volume|waterfall"
)
"""What may be drawn: every trace of plotly but the maps."""
LAYOUT = re.compile(
    r"(xaxis|yaxis|legend|coloraxis|polar|ternary|smith|scene)\d*|title|font|width|height|autosize|autotypenumbers|margin"
    r"|min(reduced)?(width|height)|annotations|shapes|selections|grid|uniformtext|template|meta|calendar|separators|dragmode"
    r"|clickmode|selectdirection|transition|modebar|hidesources|hiddenlabels|showlegend|hover\w+|spikedistance|\w*colorway"
    r"|extend\w+colors|colorscale|(paper|plot)_bgcolor|(bar|box|violin|waterfall|funnel|scatter)(mode|norm|gap|groupgap|cornerradius)"
    r"|(new|active)(shape|selection)|(data|edit|selection|ui)revision"
)
"""Parts of a layout: what is not among them is a map, a picture, or a button that changes the figure."""
ITEM_BYTES = {
    "i1": 1, "u1": 1, "u1c": 1, "i2": 2, "u2": 2, "i4": 4, "u4": 4, "f4": 4, "f8": 8, "int8": 1, "uint8": 1, "uint8c": 1,
    "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "float32": 4, "float64": 8,
}  # fmt: skip
"""Types of numbers that a figure may hold as bytes, and how long one of each is."""
LONGEST_KEY = 100
"""Characters of a key: plotly looks for a name like an unknown one, for minutes where that is long."""
COUNTS = frozenset({"rows", "columns", "count", "nticks", "nbinsx", "nbinsy", "ncontours"})
"""Names of numbers of parts, each of which a page draws or makes room for."""
MOST_PARTS = 10_000
ADDRESSES = frozenset({"images", "geojson", "href", "url", "stylesheet"})
# Marks of plotly's texts without attributes; of all others the angle bracket is written as an entity, which shows it.
_MARKUP = re.compile(r"<(?!/?(?:b|i|u|s|em|strong|sub|sup|br|extra)\s*/?>)", re.IGNORECASE)
_SCALARS = (int, float, bool, type(None))


def read_figure(text: str, name: str = "figure") -> Figure:
    """A figure of plotly from its JSON.

    Args:
        text: What ``figure.to_json()`` wrote.
        name: What a message calls it.

    Raises:
        DataError: It is no figure, or would load something from an address.
    """
    import plotly.graph_objects as go

    try:
        found = parse_json(text)
    except ShapeError as error:
        raise DataError(f"The figure '{name}' cannot be shown: {error}.") from None
    if problem := _problem(found):
        raise DataError(f"The figure '{name}' cannot be shown: {problem}.")
    try:
        layout = {key: _plain(value) for key, value in found.get("layout", {}).items() if key != "template"}
        return go.Figure(data=_plain(found.get("data", [])), layout=layout)
    except (ValueError, TypeError, RecursionError, KeyError, AttributeError):
        raise DataError(f"The figure '{name}' cannot be shown: it is no figure that plotly reads.") from None


def read_figure_file(path: Path) -> Figure:
    """A figure from its file; see :func:`read_figure`.

    Raises:
        DataError: It is not text, or no figure that may be shown.
        StudyError: It is no file, or a larger one than figures have.
    """
    try:
        return read_figure(read_bytes(path).decode(), path.stem)
    except (OSError, UnicodeDecodeError):
        raise DataError(f"The figure '{path.stem}' cannot be shown: its file cannot be read.") from None


def _problem(figure: Any) -> str:
    """What speaks against drawing it; empty where nothing does."""
    if not isinstance(figure, dict) or set(figure) - {"data", "layout", "frames"}:
        return "it holds other parts than data and layout"
    data, layout = figure.get("data", []), figure.get("layout", {})
    if not isinstance(data, list) or not all(isinstance(trace, dict) for trace in data) or not isinstance(layout, dict):
        return "its data or layout is not what plotly writes"
    if figure.get("frames"):
        return "it is an animation"
    kinds = (str(trace.get("type", "scatter"))[:40] for trace in data)
    if (kind := next((kind for kind in kinds if not TRACES.fullmatch(kind)), None)) is not None:
        return f"it has a trace of the kind {kind!r}, which may load a map"
    if (part := next((part for part in layout if not LAYOUT.fullmatch(part)), None)) is not None:
        return f"its layout has {part[:40]!r}, which may load something or change the figure"
    asks = _addresses([data, {key: value for key, value in layout.items() if key != "template"}])
    honest = all(map(_array_holds, _dicts([data, layout])))
    length = _longest_key(figure)
    problem = f"it has {asks!r}, which may load something from an address" if asks else ""
    problem = problem or (f"a name in it has {length:,} characters" if length else "")
    problem = problem or (
        "" if all(map(_few_parts, _dicts([data, layout]))) else f"it has more than {MOST_PARTS:,} bins, levels, rows or columns"
    )
    return problem or ("" if honest else "it has numbers that are not as long as it says")


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary inside a value of JSON, from the outside in."""
    if isinstance(value, dict):
        yield value
        inner: Iterable[Any] = value.values()
    else:
        inner = value if isinstance(value, list) else ()
    for one in inner:
        if isinstance(one, dict | list):
            yield from _dicts(one)


def _longest_key(value: Any) -> int:
    """The length of the longest key of more than `LONGEST_KEY` characters, anywhere inside; 0 where there is none."""
    longest = max((len(key) for part in _dicts(value) for key in part), default=0)
    return longest if longest > LONGEST_KEY else 0


def _few_parts(part: dict[str, Any]) -> bool:
    """Whether the numbers of parts in one dictionary are such as a page can draw: counts, and bins or levels by their size."""
    if any(isinstance(part.get(name), int | float) and part[name] > MOST_PARTS for name in COUNTS):
        return False
    ends = [one for name in ("start", "end", "size") if isinstance(one := part.get(name), int | float)]
    return len(ends) < 3 or abs(ends[1] - ends[0]) <= abs(ends[2]) * MOST_PARTS


def _addresses(value: Any) -> str:
    """The first key, anywhere inside, whose value would be an address."""
    found = ((key, one) for part in _dicts(value) for key, one in part.items())
    return next((key for key, one in found if key in ADDRESSES or (key == "source" and isinstance(one, str))), "")


def _array_holds(part: dict[str, Any]) -> bool:
    """Whether an array that is written as bytes has as many of them as its type and its shape say: a page makes room first."""
    if "bdata" not in part:
        return True
    kind, content, shape = part.get("dtype"), part["bdata"], part.get("shape")
    if not isinstance(kind, str) or kind not in ITEM_BYTES or not isinstance(content, str):
        return False
    try:
        items, rest = divmod(len(base64.b64decode(content, validate=True)), ITEM_BYTES[kind])
        lengths = [items] if shape is None else [int(length) for length in str(shape).split(",")]
    except (binascii.Error, ValueError):
        return False
    return not rest and len(lengths) <= 3 and min(lengths) >= 0 and math.prod(lengths) == items


def _plain(value: Any) -> Any:
    """The same value with its texts free of links, styles and scripts."""
    if isinstance(value, str):
        return _MARKUP.sub("&lt;", value)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [one if isinstance(one, _SCALARS) else _plain(one) for one in value]
    return value
