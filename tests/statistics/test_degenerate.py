"""Directions that are one coordinate, and sets that are one direction: said of a concept in Python, CLI, report."""

import json

import numpy as np
import pytest
import torch

from workbench.analysis import Analysis, Result, register
from workbench.cli import main
from workbench.concepts import LinearConcepts
from workbench.statistics.degenerate import largest_coordinate, mean_cosine, remarks
from workbench.store.catalog import evidence


class OneCoordinate(Analysis):
    """Three directions that are nearly coordinate 5, and an ordinary set; for tests."""

    name = "one_coordinate_for_tests"
    title = "One coordinate"
    method = "given"

    def run(self, context):
        """Make them."""
        generator = torch.Generator().manual_seed(0)
        width = context.activations.width()
        ordinary = torch.randn(4, width, generator=generator)
        close = torch.eye(width)[5] + 0.02 * torch.randn(3, width, generator=generator)
        return Result(concepts=[LinearConcepts("resid_post.0", close), LinearConcepts("resid_post.0", ordinary)])


register(OneCoordinate)


def test_a_coordinate_and_one_direction_are_named_and_ordinary_sets_are_not() -> None:
    rng = np.random.default_rng(0)
    ordinary = rng.normal(size=(20, 64))
    assert remarks(ordinary, 3) == []
    assert mean_cosine(np.eye(5)) == 0
    assert mean_cosine(np.tile([[1.0, 2.0]], (4, 1)) * np.array([[1], [-2], [3], [0.5]])) == pytest.approx(1)
    assert np.isnan(mean_cosine(ordinary[:1]))
    assert np.isnan(mean_cosine(ordinary[:0]))
    assert largest_coordinate(np.array([3.0, -4.0])) == (1, pytest.approx(0.64))
    assert largest_coordinate(np.zeros(3)) == (0, 0.0)
    # More directions than are compared with each other: the cosine of random ones is known.
    many = rng.normal(size=(3000, 100))
    assert mean_cosine(many) == pytest.approx(np.sqrt(2 / (np.pi * 100)), rel=0.05)


def test_python_the_command_line_and_the_report_say_it(planted, tmp_path, capsys) -> None:
    study, acts, _, _ = planted(examples=40)
    run = study.run("one_coordinate_for_tests", acts)
    flagged, ordinary = study.concept(f"{run.id}.0"), study.concept(f"{run.id}.4")
    assert ordinary.remarks == []
    one, nearly = flagged.remarks
    assert "coordinate 5 alone" in one
    assert nearly.startswith("The 3 directions of this set are nearly one (mean absolute cosine 0.99")
    page = study.report(tmp_path / "report.html", concepts=[flagged.id, ordinary.id]).read_text()
    assert page.count("coordinate 5 alone") == page.count("directions of this set are nearly one") == 1
    with pytest.raises(SystemExit) as end:
        main(["concept", str(study.folder), flagged.id])
    assert not end.value.code
    assert "coordinate 5 alone" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        main(["--json", "concept", str(study.folder), flagged.id])
    assert json.loads(capsys.readouterr().out)["remarks"] == [one, nearly]


def test_a_label_below_chance_is_not_what_a_concept_detects_best(planted) -> None:
    study, acts, _, _ = planted(examples=40)
    run = study.run("one_coordinate_for_tests", acts)
    rows = [("0", 0.3), ("1", 0.6), ("1", 0.4)]
    common = {"run": run.id, "metric": "detects.auroc", "status": "ok", "dataset": "planted"}
    study.catalog.insert(evidence, [common | {"concept": f"{run.id}.{n}", "label": f"at {v}", "value": v} for n, v in rows])
    table = run.concepts.table().set_index("number")
    assert table.loc[1, "detects"] == "at 0.6"
    assert not isinstance(table.loc[0, "detects"], str)
    assert table.loc[0, "detects.auroc"] == 0.3
