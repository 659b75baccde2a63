"""A plug-in that returns a fitted edit of a kind of its own: opened in another process, and activations are captured under it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import workbench as wb
from tests.plugins.installing import in_new_process, installed, workbench


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed("eraser", tmp_path_factory.mktemp("plugins") / "eraser")


FIT = """
import workbench as wb
with wb.open_study({folder!r}) as study:
    acts = study.activation_set().at("resid_post.0")
    for label in ("token:planted", "kind=left"):
        run = study.run("eraser", acts, label=label)
        print(run.id, *run.metrics.set_index("metric")[["value", "null_high"]].to_numpy().ravel())
"""
OPEN = """
import numpy as np, torch, workbench as wb
with wb.open_study({folder!r}, create=False) as study:
    edit = study.get_run({run!r}).edits["eraser"]
    rows = torch.from_numpy(np.load({rows!r}))[None]
    np.save({rows!r}, edit(rows)[0].numpy())
    print(edit.kind, edit.site, edit.record()["source"], type(edit.arguments["reader"]).__name__)
"""


def test_an_eraser_takes_out_what_a_linear_probe_reads_and_is_opened_in_another_process(planted, plugin, tmp_path) -> None:
    import numpy as np

    study, acts, data, (omega, left) = planted(strength=3.0)
    folder = str(study.folder)
    test = acts.read(acts.rows("test", data))
    study.keep_dataset(data)
    study.close()
    found = [line.split() for line in in_new_process(FIT.format(folder=folder), plugin).splitlines()]
    for (run, *numbers), direction in zip(found, (omega, left), strict=True):
        before, _, after, chance = map(float, numbers)
        # What is planted is read well; once it is erased, no better than from labels that were shuffled.
        assert before > 0.85
        assert after < max(chance, 0.55)
        np.save(tmp_path / "rows.npy", test)
        said = in_new_process(OPEN.format(folder=folder, run=run, rows=str(tmp_path / "rows.npy")), plugin)
        assert said.split() == ["oblique", "resid_post.0", "{'run':", f"'{run}',", "'edit':", "'eraser'}", "Tensor"]
        erased = np.load(tmp_path / "rows.npy")
        # The map has rank one, and takes out what is along the planted direction.
        moved = test - erased
        assert np.linalg.matrix_rank(moved - moved.mean(0), tol=1e-3) == 1
        assert abs(np.corrcoef(erased @ direction, test @ direction)[0, 1]) < 0.9
    _without_the_plugin(study.folder, found[0][0])


def _without_the_plugin(folder: Path, run: str) -> None:
    """A process that lacks the kind names the package, uses all else, and leaves the run as it is."""
    before = {path: path.read_bytes() for path in (folder / "runs").rglob("*") if path.is_file()}
    with wb.open_study(folder, create=False) as study:
        fitted = study.get_run(run)
        assert list(fitted.edits) == ["eraser"]
        assert repr(fitted.edits) == "<FittedEdits: eraser (oblique)>"
        with pytest.raises(wb.errors.NotInstalledError, match=r"'oblique' can be read only where .* package 'cw-eraser'"):
            _ = fitted.edits["eraser"]
        assert any("cw-eraser" in remark for remark in fitted.remarks)
        checked = study.verify()
        assert checked["state"].tolist() == ["unchecked"] * 2
        assert checked["problem"].str.contains("cw-eraser").all()
        assert not len(study.repair())
    assert {path: path.read_bytes() for path in before} == before


EDITED = """
import json, workbench as wb
model, data = wb.load_model("scribe"), wb.load_dataset("brown", limit=200)
how = {{"sites": ["resid_post.3", "resid_post.4"]}}
label = "token:-ing verb"
with wb.open_study({folder!r}) as study:
    plain = study.capture(model, data, **how)
    run = study.run("eraser", plain.at("resid_post.3"), label=label)
    eraser = run.edits["eraser"]
    edited = study.capture(model, data, under=eraser, **how)
    same, half = (study.capture(model, data, under=f"{{run.id}}/eraser={{share}}", **how) for share in (1, 0.5))
    probes = {{}}
    for name, acts in (("plain", plain), ("edited", edited)):
        for site in how["sites"]:
            later = study.run("eraser", acts.at(site), label=label)
            probes[name + site] = later.metrics["value"][0]
    again = study.repeat(later)
    sums = lambda study: {{acts.id: acts.read(site="resid_post.4").tobytes() for acts in study.activations()}}
    study.pack({pack!r})
    with wb.unpack({pack!r}, {other!r}) as other:
        other.recapture()
        recaptured = sums(other) == sums(study)
        source = other.edits_of(other.activation_set(edited.id))[0].source
    print(json.dumps({{
        "run": run.id, "plain": plain.id, "edited": edited.id, "same": same.id, "half": half.id, "repr": repr(edited),
        "probes": probes, "agrees": again.agrees, "recaptured": recaptured, "source": dict(source), "remarks": later.remarks,
    }}))
"""


def test_the_next_layer_is_captured_under_an_eraser(plugin: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "study")
    names = {"folder": folder, "pack": f"{folder}.zip", "other": f"{folder} again"}
    told = json.loads(in_new_process(EDITED.format(**names), plugin).splitlines()[-1])
    run, edited, probes = told["run"], told["edited"], told["probes"]
    assert told["same"] == edited
    assert len({told["plain"], edited, told["half"]}) == 3
    under = f"under {run}/eraser at resid_post.3"
    assert under in told["repr"]
    assert f"Its activations were captured {under}." in told["remarks"]
    # At the erased site nothing is left for a linear probe; at the next layer less than there was.
    assert probes["editedresid_post.3"] < 0.6 < probes["plainresid_post.3"]
    assert probes["editedresid_post.4"] < probes["plainresid_post.4"] - 0.05
    assert told["agrees"]
    # A packed study leaves the rows out; they are made again under the same edit.
    assert told["recaptured"]
    assert told["source"] == {"run": run, "edit": "eraser"}
    capture = ["capture", folder, "--model", "scribe", "--data", "brown", "--limit", "20", "--sites", "resid_post.4"]
    code, out = workbench("--json", *capture, "--under", f"{run}/eraser", paths=(plugin,))
    assert code == 0, out
    assert json.loads(out)["under"] == f"{run}/eraser at resid_post.3"
    _deleted(folder, run, edited)


def _deleted(folder: str, run: str, acts: str) -> None:
    """What was captured under an edit depends on the run that the edit is of."""
    with wb.open_study(folder) as study:
        log = study.log().set_index("id")
        assert log.loc[acts, "parents"] == [run]
        assert log.loc[acts, "depth"] == log.loc[run, "depth"] + 1
        with pytest.raises(wb.errors.StudyError, match=f"{acts} .*were captured under an edit of {run}"):
            study.delete(run)
        with pytest.raises(wb.errors.NotInstalledError, match="cw-eraser"):
            study.edits_of(study.activation_set(acts))
        with pytest.raises(wb.errors.ConfigError, match="An edit of a study is named RUN/EDIT"):
            study.capture(study.model, wb.load_dataset("brown", limit=20), sites="resid_post.4", under="nothing")
        assert torch.isfinite(study.activation_set(acts).tensor(site="resid_post.4")).all()
        assert {acts, run} <= set(study.delete(run, with_dependents=True)["name"])
        assert len(study.activations()) == 1
