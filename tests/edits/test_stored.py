"""Fitted edits on disk, and what an activation set keeps of the edits that it was captured under."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from workbench.activations.manifest import edit_text
from workbench.edits import Edit, clamp, edit_kind, erase, fit_eraser, kinds, mean, patch, project_out, resample, steer, zero
from workbench.edits.stored import FittedEdits, load_edit, save_edit
from workbench.errors import ConfigError, NotInstalledError, StudyError, UnknownNameError, WorkbenchError

D, SITE = 6, "resid_post.0"


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


EDITS: dict[str, Callable[[], Edit]] = {
    "erase": lambda: fit_eraser(draw(1, 50, D), (draw(2, 50) > 0).float()).at(SITE, 0.5),
    "steer": lambda: steer(SITE, draw(0, D), 2.5),
    "clamp": lambda: clamp(SITE, draw(0, D), -1.0),
    "project_out": lambda: project_out(SITE, draw(0, 2, D)),
    "mean": lambda: mean(SITE, draw(0, D)),
    "zero": lambda: zero(SITE, 0.25),
    "patch": lambda: patch(SITE, draw(0, 2, D), start=1),
    "resample": lambda: resample(SITE, draw(0, 9, D), direction=draw(3, D), seed=4),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    edit = EDITS[name]().at(slice(1, None), special=True)
    save_edit(edit, tmp_path, "it")
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    read, rows = load_edit(tmp_path, "it"), draw(7, 2, 4, D)
    assert torch.equal(read(rows), edit(rows))
    assert (read.kind, read.site, read.positions, read.special) == (edit.kind, edit.site, edit.positions, edit.special)
    assert read.digest() == edit.digest()
    assert torch.equal(read.strength(2.0)(rows), edit.strength(2.0)(rows))


def test_edits_of_a_run_are_listed_without_reading_them(tmp_path: Path) -> None:
    for name in ("b", "a.1"):
        save_edit(steer(SITE, draw(0, D)), tmp_path / "edits", name)
    found = FittedEdits(tmp_path / "edits", "run-1a2b3c4d")
    (tmp_path / "edits" / "b.safetensors").unlink()
    assert list(found) == ["a.1", "b"]
    assert "b" in found
    assert repr(found) == "<FittedEdits: a.1 (steer), b (steer)>"
    assert found["a.1"].source == {"run": "run-1a2b3c4d", "edit": "a.1"}
    with pytest.raises(StudyError, match="Run the analysis again"):
        _ = found["b"]
    with pytest.raises(UnknownNameError, match="no fitted edit called 'c'"):
        _ = found["c"]
    assert not FittedEdits(tmp_path / "nothing", "run")


def test_a_record_names_what_a_study_has_and_tells_edits_apart() -> None:
    edit = EDITS["erase"]().sourced(run="run-1a2b3c4d", edit="eraser")
    record = edit.record()
    assert json.loads(json.dumps(record)) == record
    assert set(record) == {"kind", "site", "special", "source", "strength", "sha256"}
    assert record == edit.at(None).record()
    others = [edit.strength(0.4), edit.at(slice(2, 3)), edit.at(None, special=True), erase("resid_post.1", **edit.arguments)]
    others.append(fit_eraser(draw(5, 50, D), (draw(6, 50) > 0).float()).at(SITE, 0.5).sourced(**edit.source))
    assert all(other.record() != record for other in others)
    assert edit_text(record) == "run-1a2b3c4d/eraser=0.5 at resid_post.0"
    assert edit_text(edit.strength(1.0).record()) == "run-1a2b3c4d/eraser at resid_post.0"
    of_concept = steer(SITE, draw(0, D), 6.0).sourced(concept="sae-1a2b3c4d.3", action="add")
    assert edit_text(of_concept.record()) == "sae-1a2b3c4d.3=add:6 at resid_post.0"
    # Without a study that has it, an edit is recorded with its tensors.
    alone = steer(SITE, draw(0, D))
    assert alone.record() == alone.to_dict()
    assert edit_text(alone.record()) == "steer at resid_post.0"
    with pytest.raises(ConfigError, match="function of your own"):
        Edit(SITE, lambda h: h).sourced(run="a", edit="b").record()  # type: ignore[arg-type]


def test_two_kinds_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="The kind of edit 'steer' is workbench"):

        @edit_kind("steer", strength="strength")
        def mine(site: str) -> Edit:
            raise AssertionError


def header(**changes: Any) -> dict[str, Any]:
    return {"kind": "steer", "package": "", "site": SITE, "arguments": {"strength": 1.0}, "positions": None} | changes


@pytest.mark.parametrize(
    ("changes", "tensors"),
    [
        ({"kind": "os.system"}, {}), ({"kind": "workbench.edits:steer"}, {}), ({"kind": ["steer"]}, {}), ({"more": 1}, {}),
        ({"site": "../../x"}, {}), ({"site": 7}, {}), ({"arguments": {"direction": "/etc/passwd"}}, {}),
        ({"arguments": {"strength": [1]}}, {}), ({"arguments": {"site": "embed"}}, {}), ({"positions": {"start": -4}}, {}),
        ({"positions": "anywhere"}, {}), ({"special": "perhaps"}, {}), ({}, {"direction": torch.full((D,), float("nan"))}),
        ({}, {"direction": torch.ones(2, D)}), ({}, {"other": torch.ones(D)}), ({"kind": "set_latent"}, {}),
        ({"kind": "erase"}, {name: torch.full(shape, float("inf")) for name, shape in
                             {"left": (D, 1), "right": (1, D), "bias": (D,)}.items()}),
    ],
)  # fmt: skip
def test_what_a_stranger_wrote_is_refused_in_a_sentence(changes: dict[str, Any], tensors: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "it.json").write_text(json.dumps(header(**changes)))
    save_file(tensors or {"direction": draw(0, D)}, tmp_path / "it.safetensors")
    with pytest.raises(WorkbenchError) as refused:
        load_edit(tmp_path, "it")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "record",
    [
        {}, {"kind": {"a": 1}}, {"source": 7}, {"source": {"run": ["x"], "edit": {}}, "strength": "much"},
        {"source": {"concept": "\x1b[2J\u202e" * 900}, "strength": 1e300},
    ],
)  # fmt: skip
def test_a_record_that_a_stranger_wrote_is_told_on_one_line(record: dict[str, Any]) -> None:
    assert edit_text(record).isprintable()
    assert len(edit_text(record)) < 700


def test_a_package_that_cannot_be_imported_is_said_to_be_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("broken-for-tests", "no_such_module:edit", "concept_workbench.edit_kinds")
    monkeypatch.setattr("workbench.kinds.entry_points", lambda group: [point])
    with pytest.raises(NotInstalledError, match="'broken-for-tests' cannot be imported: ModuleNotFoundError"):
        kinds.require_kind("broken-for-tests")
    assert not kinds.is_kind("broken-for-tests")
