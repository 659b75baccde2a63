"""A plug-in with heads, its own kind of head and of view: edited from Python, the command line and the app."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import workbench as wb
from tests.plugins.installing import in_new_process, installed, workbench
from workbench.reports.drawn import drawn


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed("bottleneck", tmp_path_factory.mktemp("plugins") / "bottleneck")


RUN = """
import workbench as wb
with wb.open_study({folder!r}) as study:
    run = study.run("bottleneck", study.activation_set(), label="kind", concepts=4)
    print(run.id, run.metrics["value"].iloc[0])
"""
EDIT = """
import torch, workbench as wb
with wb.open_study({folder!r}) as study:
    run = study.get_run({run!r})
    head = run.heads["label"]
    z = torch.randn(7, 4)
    assert torch.allclose(head.contributions(z).sum(-1) + head.bias, head.predict(z), atol=1e-5)
    product = run.heads["product"]
    fixed, out = product.intervene(z[:, :2], torch.zeros(7, 2), torch.tensor([[True, False]] * 7))
    assert out.abs().max() == 0 and torch.equal(fixed[:, 1], z[:, 1])
    none = study.edit_head(run, "label", mask=[0, 1, 2, 3])
    print(none.id, *none.metrics.set_index(["metric", "label"])["value"].tolist())
    assert study.repeat(none).agrees
    assert study.verify().empty, study.verify()
"""


def test_a_head_is_edited_wherever_its_plug_in_is_installed(planted, plugin: Path, tmp_path: Path) -> None:
    study, _, dataset, _ = planted()
    study.keep_dataset(dataset)
    folder = str(study.folder)
    study.close()
    run, share = in_new_process(RUN.format(folder=folder), plugin).split()[-2:]
    assert float(share) > 0.9
    edited, before, after, change, changed = in_new_process(EDIT.format(folder=folder, run=run), plugin).split()[-5:]
    # Without any concept the bias alone decides: one class for all.
    assert float(before) == pytest.approx(float(share))
    assert 0.3 < float(after) < 0.7
    assert float(change) == pytest.approx(float(after) - float(before))
    assert float(changed) >= -float(change)
    code, out = workbench(
        "--json", "edit-head", folder, run, "label", "--weight", "left:0=0", "--weight", f"right:{run}.0=0", paths=(plugin,)
    )
    assert code == 0, out
    again = json.loads(out)
    code, out = workbench("--json", "edit-head", folder, again["run"], "label", "--mask", "1,2,3", paths=(plugin,))
    assert code == 0, out
    # Two edits in a row are the one that removes all concepts.
    last = {(row["metric"], row["label"]): row["value"] for row in json.loads(out)["metrics"]}
    assert last["head.accuracy", "after"] == pytest.approx(float(after))
    for command in (["show", folder], ["study", "verify", folder], ["study", "log", folder], ["concept", folder, f"{run}.0"]):
        code, out = workbench(*command, paths=(plugin,))
        assert code == 0, out
    assert "Use" in out
    assert edited.startswith("edit_head-")


def test_without_the_plug_in_its_run_is_listed_and_left_alone(planted, plugin: Path, tmp_path: Path) -> None:
    study, _, dataset, _ = planted()
    study.keep_dataset(dataset)
    folder = str(study.folder)
    study.close()
    run = in_new_process(RUN.format(folder=folder), plugin).split()[-2]
    with wb.open_study(folder, create=False) as without:
        found = without.get_run(run)
        assert found.heads["label"].facts.label == "kind"
        with pytest.raises(wb.errors.NotInstalledError, match=r"the kind 'product'.*'cw-bottleneck'"):
            _ = found.heads["product"]
        assert [view.kind for view in found.views] == ["head", "absent"]
        checked = without.verify()
        assert checked["state"].tolist() == ["unchecked", "unchecked"]
        assert checked["problem"].str.contains("cw-bottleneck").all()
        assert not len(without.repair())
        assert "cw-bottleneck" in drawn(found.views[1], found)
        # A head of a kind that is known can be edited all the same.
        edited = without.edit_head(found, "label", {"left": {0: 0.0}})
        assert edited.heads["label"].weights[0, 0] == 0
        report = without.report(tmp_path / "report.html").read_text()
    assert "Edit of a head" in report


OTHER_VERSION = """
import json, workbench as wb
with wb.open_study({folder!r}) as study:
    found = study.verify()
    assert found["state"].eq("unchecked").all() and len(found) == 2, found
    assert not len(study.repair()) and len(study.runs()) == 1
"""


def test_what_another_version_of_a_package_made_is_no_damage(planted, plugin: Path, tmp_path: Path) -> None:
    study, _, dataset, _ = planted()
    study.keep_dataset(dataset)
    folder = str(study.folder)
    study.close()
    in_new_process(RUN.format(folder=folder), plugin)
    # A package of which the head and the view have changed, and one that can no longer be imported.
    for number, (old, new) in enumerate({"z.prod": "z.prod", "return cls(facts)": "raise KeyError('bias')"}.items()):
        changed = Path(shutil.copytree(plugin, tmp_path / f"plugin {number}"))
        source = (changed / "cw_bottleneck.py").read_text()
        assert old in source
        source = "import nowhere\n" + source if old == new else source.replace(old, new).replace("column: str", "row: str")
        (changed / "cw_bottleneck.py").write_text(source)
        in_new_process(OTHER_VERSION.format(folder=folder), changed)
