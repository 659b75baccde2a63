"""Activations that were captured under an edit of a concept: what they are, and what is asked of the model that they are of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.activations import capturing
from workbench.errors import StudyError, WorkbenchError
from workbench.study import Study

SITES = ["resid_post.3", "resid_post.4"]
LABELS = ["token:modal", "token:preposition"]


@pytest.fixture(scope="module")
def data():
    return wb.load_dataset("brown", limit=150)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, data) -> Iterator[Study]:
    """Probes at two sites, and the later one captured under an edit at the earlier one."""
    with wb.open_study(tmp_path_factory.mktemp("edited") / "study") as study:
        model = wb.load_model("scribe")
        plain = study.capture(model, data, sites=SITES)
        probes = study.run("linear_probe", plain, labels=[data.span_targets()[0]], controls=False)
        edited = study.capture(model, data, sites=SITES, under=probes.concepts[0].steer(30.0))
        study.run("linear_probe", edited.at("resid_post.4"), labels=[data.span_targets()[0]], controls=False)
        yield study


def parts(study: Study):
    plain, edited = study.activations()
    (first, later) = (study.get_run(name) for name in study.runs().sort_values("started")["id"][:2])
    return plain, edited, first, later


def test_a_set_under_an_edit_is_that_of_the_edited_model(study: Study, data) -> None:
    plain, edited, first, _ = parts(study)
    concept = first.concepts[0]
    assert edited.under == f"{concept.id}=add:30 at resid_post.3"
    assert edited.edits[0]["source"] == {"concept": concept.id, "action": "add"}
    assert not plain.edits
    assert plain.under == ""
    moved = torch.from_numpy(edited.read(site="resid_post.3") - plain.read(site="resid_post.3"))
    # Float16 keeps three digits.
    assert torch.allclose(moved, 30.0 * concept.direction.expand_as(moved), atol=0.1)
    again = study.capture(study.model, data, sites=SITES, under=f"{concept.id}=30")
    assert again.id == edited.id
    (edit,) = study.edits_of(edited)
    assert torch.equal(edit.arguments["direction"], concept.direction)
    batch = study.model.batch(data.inputs([0]))
    with study.model.edited(study.edits_of(edited)):
        rows = study.model.activations(batch, ["resid_post.4"])[study.model.site("resid_post.4")][batch.keep]
    assert np.allclose(rows.numpy(), edited.read(slice(0, len(rows)), "resid_post.4"), atol=0.1, rtol=1e-2)


def test_concepts_of_it_are_read_in_the_edited_model(study: Study, data) -> None:
    _, _, first, later = parts(study)
    concept = later.concepts[0]
    text, captured = data.inputs([0])[0], concept.over_tokens(0)["value"].to_numpy()
    assert np.allclose(concept.on_text(text)["value"], captured, atol=0.05 * np.abs(captured).max())
    other = next(c for c in first.concepts if c.site == "resid_post.4")
    assert other.run_id != concept.run_id
    for one in (concept, other):
        assert one.id in study.concepts(fires_on=one.examples(1)["input"][0]).ids
    assert any("captured under" in remark for remark in later.remarks)
    assert not any("captured under" in remark for remark in first.remarks)


def test_what_reads_the_model_as_it_is_is_not_measured_on_it(study: Study) -> None:
    plain, edited, first, later = parts(study)
    rows = study.examine(later, families=("detects", "causes"), replicate=False, steer=1)
    causes = rows[rows["metric"].str.startswith("causes")]
    assert len(causes)
    assert causes["status"].eq("failed").all()
    assert rows["metric"].eq("detects.auroc").any()
    evidence = study.evidence(["causes.sensitivity"])
    assert len(evidence)
    # The unit of doses is of the model as it is, and what is compared are methods on the same activations.
    expected = first.study.dose_unit("resid_post.4")
    spread = plain.read(site="resid_post.4")
    assert abs(expected / np.sqrt(np.square(spread - spread.mean(0)).sum(1).mean()) - 1) < 0.25
    assert later.id not in set(study.counterparts().get("run", []))
    scores = study.run("concept_activation", edited.at("resid_post.4"), labels=LABELS, random_sets=19).metrics
    failed = scores[scores["status"].eq("failed")]
    assert len(failed) >= len(LABELS)
    assert failed["error"].str.contains("captured under .* and this reads the model without it").all()


def test_a_capture_under_an_edit_goes_on_where_it_was_cut_short(study: Study, data, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(capturing, "_CHUNK_EXAMPLES", 8)
    _, _, first, _ = parts(study)
    edit, seen = first.concepts[0].ablate().at(slice(2, None)), []

    def stop(done, *_facts):
        seen.append(done)
        if done > 8:
            raise KeyboardInterrupt

    how = {"sites": "resid_post.4", "limit": 24, "under": edit}
    whole = capturing.capture(study.model, data, folder=tmp_path / "whole", **how)
    with pytest.raises(KeyboardInterrupt):
        capturing.capture(study.model, data, folder=tmp_path / "cut", progress=stop, **how)
    assert len(study.model.active_edits) == 0
    rest = capturing.capture(study.model, data, folder=tmp_path / "cut", **how)
    assert rest.id == whole.id
    assert rest.manifest.files == whole.manifest.files


def test_an_edit_that_is_no_more_or_another_one_is_said(study: Study) -> None:
    _, edited, first, _ = parts(study)
    record = edited.edits[0]
    for change, said in (
        ({"sha256": "0" * 64}, "which is another edit now"),
        ({"source": {"concept": f"{first.id}.99"}}, "no concept called"),
        ({"source": {"run": first.id, "edit": "eraser"}}, "no fitted edit called 'eraser'"),
        ({"source": 7}, "not recorded as the workbench does it|recorded as none is"),
        ({"strength": "much"}, "strength"),
    ):
        manifest = edited.manifest.model_copy(
            update={"request": edited.manifest.request.model_copy(update={"edits": [record | change]})}
        )
        other = type(edited)(edited.folder, manifest, edited.sites)
        with pytest.raises(WorkbenchError, match=said):
            study.edits_of(other)
    with pytest.raises(StudyError, match=f"{edited.id} .*were captured under an edit of {first.id}"):
        study.delete(first.id)
    assert json.loads(json.dumps(record)) == record
