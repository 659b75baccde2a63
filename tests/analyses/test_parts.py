"""Graphs, heads, small models and views of a result: checked, recorded, read again, repeated, exported and shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import workbench as wb
from tests.analyses.every_part import TwoLayers, every_part, graph
from tests.analyses.returning import Returns
from workbench.analysis import Result
from workbench.concepts import Graph, Head, LinearHead
from workbench.models import SmallModel
from workbench.reports import export_run, export_tables
from workbench.views import (
    CurveView,
    FigureView,
    GraphView,
    HeadView,
    ImagesView,
    MatrixView,
    PointsView,
    TableView,
    TokensView,
)


def test_every_part_is_read_as_it_was_made_and_repeated(planted, tmp_path: Path) -> None:
    study, acts, _, _ = planted()
    made = every_part()
    Returns.result = staticmethod(every_part)
    run = study.run("returns", acts)
    assert study.verify().empty
    with wb.open_study(study.folder) as other:
        again = other.get_run(run.id)
        assert (list(again.graphs), list(again.heads), list(again.models)) == (["circuit"], ["kind"], ["machine"])
        pd.testing.assert_frame_equal(again.graphs["circuit"].edges, made.graphs["circuit"].edges)
        assert torch.equal(again.heads["kind"].weights, made.heads["kind"].weights)
        assert again.heads["kind"].facts == made.heads["kind"].facts
        x = torch.randn(4, 5)
        assert torch.equal(again.models["machine"].module(x), made.models["machine"].module(x))
        assert again.views == made.views
    assert study.repeat(run).agrees
    exported = {path.name for path in export_run(run, tmp_path / "out")}
    assert {"nodes.parquet", "head.json", "model.json"} <= exported
    assert f"{run.id}.circuit.edges.csv" in {path.name for path in export_tables(study, tmp_path / "tables")}
    with wb.unpack(study.pack(tmp_path / "packed.zip"), tmp_path / "unpacked") as unpacked:
        assert unpacked.get_run(run.id).views == made.views
        assert torch.equal(unpacked.get_run(run.id).heads["kind"].weights, made.heads["kind"].weights)


def test_every_view_is_in_the_report_and_nothing_in_it_is_more_than_text(planted, tmp_path: Path) -> None:
    study, acts, _, _ = planted()
    Returns.result = staticmethod(every_part)
    run = study.run("returns", acts)
    text = study.report(tmp_path / "report.html", runs=[run.id], sections=["analyses"]).read_text()
    text = text[text.index("<main>") :]
    assert "Left out because" not in text
    for view in run.views[2:]:
        assert f"<h3>{view.title}</h3>" in text
    assert text.count("data:image/png;base64") == 6
    assert "<script>alert" not in text
    assert "<img src=x" not in text


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (CurveView(title="v", table="none", x="x", y="y"), "the table 'none' is not there"),
        (CurveView(title="v", table="points", x="x", y="z"), "has no column 'z'"),
        (CurveView(title="v", table="points", x="x", y="name"), "holds no numbers"),
        (CurveView(title="v", table="points", x="x", y="y", low="low"), "a low and a high end"),
        (PointsView(title="v", table="points", x="x", y="y", colour="z"), "has no column 'z'"),
        (TableView(title="v", table="points", columns=("z",)), "has no column 'z'"),
        (TokensView(title="v", table="points"), "has no column 'token'"),
        (MatrixView(title="v", tensor="maps"), "has 3 dimensions, not 2"),
        (MatrixView(title="v", tensor="matrix", rows=("a",)), "1 names of 3 rows"),
        (ImagesView(title="v", tensor="matrix"), "has 2 dimensions, not 3 or 4"),
        (ImagesView(title="v", tensor="maps", captions=("a",)), "not as many images as maps or captions"),
        (GraphView(title="v", graph="points"), "the graph 'points' is not there"),
        (HeadView(title="v", head="other"), "the head 'other' is not there"),
    ],
)
def test_a_view_of_what_is_not_there_is_refused(planted, view: FigureView, said: str) -> None:
    study, acts, _, _ = planted()
    made = every_part()
    made.views = [view]
    Returns.result = staticmethod(lambda: made)
    with pytest.raises(wb.errors.ConfigError, match=f"the view 'v' cannot be drawn: .*{said}"):
        study.run("returns", acts)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.heads.update(x="text"), "the head 'x' is a str"),
        (lambda r: r.graphs.update(x="text"), "the graph 'x' is a str"),
        (lambda r: r.models.update(x=nn.Linear(1, 1)), "the model 'x' is a Linear"),
        (lambda r: r.heads.update({"a/b": r.heads["kind"]}), "a head is called 'a/b'"),
        (lambda r: r.heads.update(x=LinearHead(["a"], torch.ones(1, 4))), "the head 'x' reads concept 3 of 3"),
        (lambda r: r.heads.update(x=LinearHead(["a"], torch.tensor([[float("nan")]]))), "a number in it is not finite"),
        (lambda r: r.views.append("text"), "one of its views is a str"),
    ],
)
def test_a_part_that_could_not_be_read_again_is_refused(planted, change: Callable[[Result], None], said: str) -> None:
    study, acts, _, _ = planted()
    made = every_part()
    change(made)
    Returns.result = staticmethod(lambda: made)
    with pytest.raises(wb.errors.ConfigError, match=said):
        study.run("returns", acts)


@pytest.mark.parametrize(
    ("nodes", "edges", "said"),
    [
        ({"id": ["a"]}, {}, "nodes lack the column 'type'"),
        ({"id": ["a"], "type": ["t"]}, {"source": ["a"], "target": ["b"], "weight": [1.0]}, "ends at 'b', which is no node"),
        ({"id": ["a", "a"], "type": ["t", "t"]}, {"source": [], "target": [], "weight": []}, "two nodes are called 'a'"),
        ({"id": ["a"], "type": ["t"]}, {"source": ["a"], "target": ["a"], "weight": [np.inf]}, "no finite number"),
        ({"id": [1], "type": ["t"]}, {"source": ["a"], "target": ["a"], "weight": [1.0]}, "something else than texts"),
    ],
)
def test_what_is_no_graph_is_refused(nodes, edges, said: str) -> None:
    with pytest.raises(wb.errors.DataError, match=said):
        Graph(pd.DataFrame(nodes), pd.DataFrame(edges))


def test_the_strongest_edges_of_a_graph_keep_their_nodes() -> None:
    few = graph().strongest(1)
    assert few.edges["weight"].tolist() == [-2.0]
    assert few.nodes["id"].tolist() == ["b", "c"]


def test_a_linear_head_is_the_sum_of_its_contributions_and_an_edit_moves_what_it_says() -> None:
    torch.manual_seed(0)
    head, z = LinearHead(["a", "b"], torch.randn(2, 5), torch.randn(2)), torch.randn(9, 5)
    assert torch.allclose(head.contributions(z).sum(-1) + head.bias, head.predict(z), atol=1e-5)
    # What the base class measures by setting a code to 0 is what a linear head reads off its weights.
    assert torch.allclose(Head.contributions(head, z), head.contributions(z), atol=1e-5)
    edited = head.edited({(0, 1): 3.0}, [4])
    expected = head.predict(z) - head.contributions(z)[:, :, 4]
    expected[:, 0] += (3.0 - head.weights[0, 1]) * z[:, 1]
    assert torch.allclose(edited.predict(z), expected, atol=1e-5)
    mask = torch.zeros(9, 5, dtype=torch.bool)
    mask[:, 2] = True
    corrected, out = head.intervene(z, torch.ones(9, 5), mask)
    assert torch.equal(corrected[:, [0, 1, 3, 4]], z[:, [0, 1, 3, 4]])
    assert torch.allclose(out, head.predict(corrected))


def test_a_model_whose_file_is_of_another_shape_is_refused_before_it_is_made(tmp_path: Path) -> None:
    SmallModel(TwoLayers(width=5)).save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    path.write_text(path.read_text().replace('"width": 5', '"width": 6'))
    # It may be of another version of the package that offers its builder: that is no damage.
    with pytest.raises(wb.errors.NotInstalledError, match=r"is \[3, 5\], and its builder makes \[3, 6\]"):
        SmallModel.load(tmp_path / "model")
    path.write_text(path.read_text().replace('"width": 6', '"width": 65'))
    with pytest.raises(wb.errors.StudyError, match="'width': Input should be less than or equal to 64"):
        SmallModel.load(tmp_path / "model")
