"""Figures from a file draw, and load nothing."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import plotly.express as px
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import DataError
from workbench.plots import COLOURS, read_figure, read_figure_file, themed
from workbench.reports.parts import figure_html

OUT = "http://a.example"
MAPS = [
    "choropleth",
    "scattergeo",
    "scattermap",
    "choroplethmap",
    "densitymap",
    "scattermapbox",
    "choroplethmapbox",
    "densitymapbox",
]
SCATTER = {"type": "scatter", "x": [1, 2], "y": [3, 4]}
LAYOUTS = [
    {"images": [{"source": f"{OUT}/x.png", "xref": "paper", "yref": "paper"}]},
    {"geo": {"scope": "world"}},
    {"geo2": {"scope": "world"}},
    {"map": {"style": f"{OUT}/style.json"}},
    {"mapbox": {"style": f"{OUT}/style.json"}},
    {"updatemenus": [{"buttons": [{"method": "relayout", "args": [{"images": [{"source": f"{OUT}/x.png"}]}]}]}]},
    {"sliders": [{"steps": [{"method": "relayout", "args": [{"images": []}]}]}]},
    {"scene": {"annotations": [{"text": "a", "href": OUT}]}},
    {"unknown": 1},
]
TEXTS = [
    f"<a href='{OUT}'>x</a>", f"<A\nHREF={OUT}>x", "<span style='background:url(http://a.example/x)'>x</span>",
    f"<img src={OUT}/x.png>", "<script>alert(1)</script>", f"<b style='fill:url({OUT})'>x</b>", "<b/onclick=1>x",
    f"</a ><a/href={OUT}>",
]  # fmt: skip


@pytest.mark.parametrize("kind", MAPS)
def test_no_map_is_drawn(kind: str) -> None:
    with pytest.raises(DataError, match=kind):
        read_figure(json.dumps({"data": [{"type": kind, "geojson": f"{OUT}/x.json"}], "layout": {}}))


@pytest.mark.parametrize("layout", LAYOUTS, ids=[next(iter(layout)) for layout in LAYOUTS])
def test_no_part_of_a_layout_names_an_address(layout: dict) -> None:
    with pytest.raises(DataError, match="cannot be shown"):
        read_figure(json.dumps({"data": [SCATTER], "layout": layout}))


@pytest.mark.parametrize("trace", [{"type": "image", "source": f"{OUT}/x.png"}, {"type": "bar", "y": [1], "geojson": OUT}])
def test_no_trace_names_an_address(trace: dict) -> None:
    with pytest.raises(DataError, match=r"loads? something"):
        read_figure(json.dumps({"data": [trace], "layout": {}}))


def test_a_template_brings_nothing_in() -> None:
    template = {"layout": {"images": [{"source": f"{OUT}/x.png"}], "mapbox": {"style": OUT}}, "data": {"scattergeo": [{}]}}
    read = read_figure(json.dumps({"data": [SCATTER], "layout": {"template": template, "title": {"text": "kept"}}}))
    assert OUT not in read.to_json()
    assert read.layout.title.text == "kept"


@pytest.mark.parametrize("text", TEXTS)
def test_texts_of_a_figure_hold_no_link_and_no_style(text: str) -> None:
    figure = go.Figure(go.Scatter(x=[text], y=[1], name=text, text=[text], hovertemplate=text), {"title": {"text": text}})
    figure.add_annotation(text=text)
    for shown in (read_figure(figure.to_json()), themed(figure, dark=True)):
        trace = shown.data[0]
        for one in (
            trace.x[0],
            trace.name,
            trace.text[0],
            trace.hovertemplate,
            shown.layout.title.text,
            shown.layout.annotations[0].text,
        ):
            assert "<" not in one.replace("</b>", ""), one
            assert one.replace("&lt;", "<") == text


def test_plain_marks_and_numbers_stay() -> None:
    figure = go.Figure(go.Bar(x=["<b>a</b><br>H<sub>2</sub>O"], y=[1.5], hovertemplate="%{y}<extra></extra>"))
    read = read_figure(figure.to_json())
    assert read.data == figure.data


@pytest.mark.parametrize(
    "figure",
    [
        px.scatter(x=[1, 2], y=[2, 1], color=["a", "b"]), px.line(x=[1, 2], y=[2, 1]), px.imshow([[1, 2], [3, 4]]),
        px.histogram(x=[1, 1, 2]), px.box(y=[1, 2, 3]), px.pie(values=[1, 2], names=["a", "b"]),
        px.scatter_3d(x=[1], y=[2], z=[3]),
        px.treemap(names=["a", "b"], parents=["", "a"], values=[2, 1]), px.parallel_coordinates({"a": [1, 2], "b": [2, 1]}),
        px.scatter_polar(r=[1], theta=[2]), go.Figure(go.Sankey(link={"source": [0], "target": [1], "value": [1]})),
        go.Figure(go.Table(cells={"values": [["x"]]})),
    ],
    ids=lambda figure: figure.data[0].type,
)  # fmt: skip
def test_what_people_draw_is_read_as_it_is(figure: go.Figure) -> None:
    read = read_figure(figure.to_json())
    assert [trace.to_plotly_json() for trace in read.data] == [
        trace.to_plotly_json() for trace in read_figure(read.to_json()).data
    ]
    assert [trace.type for trace in read.data] == [trace.type for trace in figure.data]
    assert "plotly-graph-div" in figure_html(figure)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)))
def test_any_json_is_a_figure_or_a_sentence(value: object) -> None:
    for text in (json.dumps(value), json.dumps({"data": value}), json.dumps({"data": [value], "layout": value})):
        # Any other error fails the test.
        with suppress(DataError):
            assert isinstance(read_figure(text), go.Figure)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"data": ' + '{"a":' * 50_000, '{"data": [{"type": ["bar"]}]}'])
def test_what_is_no_figure_is_a_sentence(text: str) -> None:
    with pytest.raises(DataError, match="cannot be shown"):
        read_figure(text)


@pytest.mark.parametrize("place", ["data", "layout", "deep"])
def test_a_long_name_of_nothing_is_a_sentence_at_once(place: str) -> None:
    named = {"type": "bar", "y": [1]}
    long = {"x" * 100_000: 1}
    figure = {"data": [named | (long if place == "data" else {})], "layout": {"title": long} if place == "layout" else {}}
    if place == "deep":
        figure["data"][0]["transforms"] = [{"styles": [long]}]
    with pytest.raises(DataError, match="cannot be shown: a name in it has 100,000 characters"):
        read_figure(json.dumps(figure))


@pytest.mark.parametrize(
    "figure",
    [
        {"layout": {"grid": {"rows": 10**8, "columns": 1}}}, {"layout": {"xaxis": {"nticks": 10**9}}},
        {"data": [{"type": "volume", "value": [1], "surface": {"count": 10**9}}]},
        {"data": [{"type": "histogram", "x": [0, 1], "nbinsx": 10**9}]},
        {"data": [{"type": "histogram", "x": [0, 1], "xbins": {"start": 0, "end": 1, "size": 1e-9}}]},
        {"data": [{"type": "contour", "z": [[0, 1], [1, 2]], "contours": {"start": 0, "end": 1, "size": 0}}]},
    ],
)  # fmt: skip
def test_more_parts_than_a_page_can_draw_are_a_sentence(figure: dict) -> None:
    with pytest.raises(DataError, match="cannot be shown: it has more than 10,000 bins"):
        read_figure(json.dumps(figure))


def test_bins_and_levels_that_people_choose_are_read() -> None:
    read_figure(json.dumps({"data": [{"type": "histogram", "x": [0, 1], "xbins": {"start": 0, "end": 1, "size": 0.01}}]}))


def test_a_file_that_is_no_text_is_a_sentence_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "loss.json").write_bytes(b"\xff\xfe\x00")
    for name in ("loss", "missing"):
        with pytest.raises(DataError, match=f"'{name}'"):
            read_figure_file(tmp_path / f"{name}.json")


def test_a_dark_page_has_lighter_shades() -> None:
    shown = themed(go.Figure(go.Bar(x=[1], y=[1], marker={"color": COLOURS[0]})), dark=True)
    assert shown.data[0].marker.color == "#4BA3DB"


@pytest.mark.parametrize("text", ["NaN", "1e999", str(2**70), '"\\ud800"', "[" * 200 + "]" * 200])
def test_what_no_other_reader_of_json_takes_is_no_figure(text: str) -> None:
    with pytest.raises(DataError, match="cannot be shown"):
        read_figure(f'{{"data": [{{"type": "bar", "y": [{text}]}}]}}')


BYTES = base64.b64encode(np.arange(6.0).tobytes()).decode()


@pytest.mark.parametrize(
    "more",
    [
        {"shape": "1000000000, 1000000000"}, {"shape": "7"}, {"shape": "2, 2"}, {"shape": "-1, -6"}, {"shape": "1e9"},
        {"shape": [2, 3, 1, 1]}, {"shape": "6, " * 50 + "1"}, {"dtype": "f4", "shape": "6"}, {"dtype": "O"}, {"dtype": ["f8"]},
        {"dtype": None}, {"bdata": BYTES[:-3]}, {"bdata": "????"}, {"bdata": 7}, {"bdata": [1, 2]},
    ],
    ids=str,
)  # fmt: skip
def test_numbers_that_are_not_as_long_as_they_say_are_refused(more: dict) -> None:
    array = {"dtype": "f8", "bdata": BYTES} | more
    for figure in (
        {"data": [{"type": "heatmap", "z": array}]},
        {"data": [{"type": "bar", "y": [1], "marker": {"color": array}}]},
        {"data": [{"type": "bar", "y": [1]}], "layout": {"meta": [array]}},
    ):
        with pytest.raises(DataError, match="not as long as it says"):
            read_figure(json.dumps(figure))


@pytest.mark.parametrize("kind", ["float64", "float32", "int8", "int16", "uint8", "int32"])
@pytest.mark.parametrize("shape", [(6,), (2, 3)])
def test_numbers_as_bytes_are_read_as_they_are(kind: str, shape: tuple[int, ...]) -> None:
    values = np.arange(6).astype(kind).reshape(shape)
    figure = go.Figure(go.Bar(y=values) if len(shape) == 1 else go.Heatmap(z=values))
    assert "bdata" in figure.to_json()
    assert json.loads(read_figure(figure.to_json()).to_json())["data"] == json.loads(figure.to_json())["data"]
