"""Two plug-ins: maps over images, and a finite-state machine with a small model, read and shown in other processes."""

from __future__ import annotations

from pathlib import Path

import pytest

import workbench as wb
from tests.plugins.installing import in_new_process, installed, workbench

MACHINE = """
import workbench as wb
with wb.open_study({folder!r}) as study:
    run = study.run("machine", study.activation_set(), states=4)
    print(run.id, *run.metrics[["value", "null"]].iloc[0])
"""
READ = """
import torch, workbench as wb
with wb.open_study({folder!r}) as study:
    run = study.get_run({run!r})
    edges, codes = run.graphs["machine"].edges, run.tables["data"]
    shares = edges.groupby("source")["weight"].sum()
    assert ((shares - 1).abs() < 1e-6).all()
    print(edges["weight"].lt(0.02).sum() + 16 - len(edges), run.models["next"].module(torch.zeros(1, 24)).shape[1])
    assert study.repeat(run).agrees
    assert study.verify().empty
    study.report({report!r})
"""


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: installed(name, tmp_path_factory.mktemp("plugins") / name) for name in ("maps", "machine")}


def test_a_machine_is_found_and_its_model_opened_by_another_process(planted, plugins: dict[str, Path], tmp_path: Path) -> None:
    study, _, dataset, _ = planted(strength=12.0)
    study.keep_dataset(dataset)
    folder, plugin = str(study.folder), plugins["machine"]
    study.close()
    run, right, usual = in_new_process(MACHINE.format(folder=folder), plugin).split()[-3:]
    assert float(right) > float(usual) + 0.1
    report = tmp_path / "report.html"
    # A text is of one kind from end to end, so that of 4 by 4 transitions the 8 between the kinds never happen.
    never, states = in_new_process(READ.format(folder=folder, run=run, report=str(report)), plugin).split()[-2:]
    assert (int(never), int(states)) == (8, 4)
    assert "The machine" in report.read_text()
    assert 'class="fire"' in report.read_text()
    with wb.open_study(folder, create=False) as without:
        assert "cw-machine" in without.verify()["problem"].iloc[0]
        assert len(without.get_run(run).graphs["machine"]) == 4
        with pytest.raises(wb.errors.NotInstalledError, match="Models of the kind 'next-state'"):
            _ = without.get_run(run).models["next"]


def test_maps_lie_over_the_images_in_a_report(plugins: dict[str, Path], tmp_path: Path) -> None:
    folder, report = str(tmp_path / "study"), str(tmp_path / "report.html")
    with wb.open_study(folder) as study:
        images = wb.load_dataset("fashion", limit=12)
        study.capture(wb.load_model("efficientnet-lite0"), images, sites=["layer:_blocks.10"], pool="spatial")
    for command in (["run", folder, "maps", "--set", "count=2"], ["report", folder, report], ["study", "verify", folder]):
        code, out = workbench(*command, paths=(plugins["maps"],))
        assert code == 0, out
    text = Path(report).read_text()
    text = text[text.index("<main>") :]
    assert text.count("data:image/png;base64") == 8
    assert "direction 2, image" in text
    assert "How alike the maps are" in text
