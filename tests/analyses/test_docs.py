"""The examples of docs/analyses.md run as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.concepts import ConceptSet
from workbench.evidence import BY_KEY, QUESTIONS
from workbench.evidence import family as registry
from workbench.store.kinds import MADE
from workbench.testing import CHECKS

PAGE = (Path(__file__).parents[2] / "docs" / "analyses.md").read_text()


@pytest.fixture(autouse=True)
def _families_as_they_were() -> Iterator[None]:
    yield
    for known, name in ((registry._registered, "sparsity"), (QUESTIONS, "sparsity"), (BY_KEY, "sparsity.density")):
        known.pop(name, None)


def examples() -> dict[str, object]:
    """What the page's blocks of Python define, run in their order."""
    namespace: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE[PAGE.index("## Your own") :], re.DOTALL):
        exec(block, namespace)
    return namespace


def test_the_components_of_the_page_are_found_and_those_of_noise_are_not(planted) -> None:
    examples()
    study, acts, _, directions = planted(strength=8.0)
    run = study.run("principal_components", acts, components=4)
    metrics = run.metrics
    # Two directions are planted; the others are noise.
    assert (metrics["p_corrected"].to_numpy() <= 0.05).tolist() == [True, True, False, False]
    span = np.linalg.svd(run.sets[0].directions()[:2].numpy() @ directions.T)[1]
    assert span.min() > 0.95
    assert len(study.examine(run, families=("detects",)))
    again = study.run("principal_components", acts, components=4, force=True)
    assert torch.equal(again.sets[0].directions(), run.sets[0].directions())


def test_the_analysis_of_the_page_passes_the_checks(tmp_path) -> None:
    examples()["test_my_analysis"](tmp_path)  # type: ignore[operator]
    assert re.findall(r"^\| `(\w+)` \|", PAGE[PAGE.index("## Is it right?") : PAGE.index("## A kind of")], re.M) == list(CHECKS)


def test_the_analysis_of_the_page_that_reads_other_runs_takes_what_it_declares(planted) -> None:
    examples()
    study, acts, _, _ = planted(examples=40)
    probes = study.run("linear_probe", acts, controls=False)
    mean = study.run("mean_concept", acts, concepts=[probes, probes.id[:12]])
    expected = probes.sets[0].directions().mean(0)
    assert torch.allclose(mean.sets[0].directions()[0], expected / expected.norm(), atol=1e-5)


def test_the_kind_of_the_page_is_stored_and_read(tmp_path) -> None:
    kind = examples()["NearestCentre"]
    centres, rows = torch.randn(5, 12), torch.randn(40, 12)
    made = kind("resid_post.0", centres)  # type: ignore[operator]
    made.save(tmp_path / "set")
    read = ConceptSet.load(tmp_path / "set")
    assert torch.equal(read.encode(rows), made.encode(rows))
    assert int((read.encode(rows) > 0).sum(-1).max()) == 1
    assert torch.equal(read.subset([1, 3]).directions(), made.directions()[[1, 3]])


def test_the_fitted_edit_of_the_page_is_kept(planted) -> None:
    examples()
    study, acts, data, (omega, _) = planted(strength=8.0)
    run = study.run("mean_difference_eraser", acts, label="token:planted")
    found = run.metrics.iloc[0]
    assert found["value"] < 0.25 * found["null"]
    rows = torch.from_numpy(acts.read(acts.rows("test", data)))
    along = torch.from_numpy(omega)
    assert (run.edits["eraser"](rows[None])[0] @ along).std() < 0.3 * (rows @ along).std()


def test_the_family_of_the_page_is_measured(planted) -> None:
    family = examples()["Sparsity"]
    study, acts, _, _ = planted()
    run = study.run("linear_probe", acts, controls=False)
    found = study.examine(run, families=("detects", "sparsity"))
    assert found["metric"].eq("sparsity.density").sum() == len(run.concepts)
    assert found.loc[found["metric"].eq("sparsity.density"), "value"].between(0, 1).all()
    assert registry.families()["sparsity"].question == family.question  # type: ignore[attr-defined]


def test_the_page_names_every_reserved_table() -> None:
    assert set(re.search(r"\(`(metrics, summary.*?)`\)", PAGE, re.DOTALL)[1].replace("\n", " ").split(", ")) == MADE  # type: ignore[index]


def test_the_bottleneck_of_the_page_is_read_shown_and_edited(planted, tmp_path: Path) -> None:
    examples()
    study, acts, _, _ = planted(strength=8.0)
    run = study.run("small_bottleneck", acts, label="kind")
    assert len(study.evidence(["bottleneck.weight"])) == 4
    assert len(run.graphs["weights"].edges) == 8
    assert run.models["probe"].module(torch.zeros(1, 24)).shape == (1, 2)
    edited = study.edit_head(run, "head", {"left": {2: 0.0}}, mask=[3])
    assert edited.heads["head"].weights[0, 2] == 0
    assert (edited.heads["head"].weights[:, 3] == 0).all()
    assert edited.metrics.set_index(["metric", "label"]).loc[("head.accuracy", "before"), "value"] > 0.95
    report = study.report(tmp_path / "report.html").read_text()
    for title in ("What each concept counts", "Concepts and classes", "Variance"):
        assert f"<h3>{title}</h3>" in report
    assert study.verify().empty
