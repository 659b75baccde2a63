"""A plug-in with a kind of concept set of its own: with it everything works in a new process, and without it nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

import workbench as wb
from tests.plugins.installing import in_new_process, installed, workbench


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed("codebook", tmp_path_factory.mktemp("plugins") / "codebook")


RUN = """
import workbench as wb
with wb.open_study({folder!r}) as study:
    run = study.run("codebook", study.activation_set(), size=4)
    study.examine(run, families=("detects", "locates"))
    study.counterparts()
    print(run.id, len(run.concepts))
"""
READ = """
import workbench as wb
with wb.open_study({folder!r}) as study:
    concept = study.concept({concept!r})
    print(concept.actions, concept.method, type(concept.place[0]).__module__)
    print(len(study.counterparts()), len(study.get_run(concept.run_id).sets))
"""


def test_a_kind_of_ones_own_is_read_where_it_is_installed_and_kept_where_it_is_not(planted, plugin: Path, tmp_path: Path) -> None:
    study, acts, _, _ = planted()
    probes = study.run("linear_probe", acts, controls=False)
    folder = str(study.folder)
    study.close()
    run, count = in_new_process(RUN.format(folder=folder), plugin).split()[-2:]
    assert int(count) == 4
    # Another process that has the plug-in reads everything.
    out = in_new_process(READ.format(folder=folder, concept=f"{run}.0"), plugin)
    assert "('add', 'clamp', 'ablate') code cw_codebook" in out
    # One that has not says so, reads all else, and leaves the run alone.
    before = {path: path.read_bytes() for path in (study.folder / "runs" / run).rglob("*") if path.is_file()}
    with wb.open_study(folder, create=False) as without:
        found = without.get_run(run)
        assert "cw-codebook" in found.not_installed
        with pytest.raises(wb.errors.NotInstalledError, match="the kind 'codebook' can be read only where"):
            _ = found.sets
        assert len(found.concepts) == 4
        assert len(found.concepts.table()) == 4
        assert len(without.evidence(["detects.auroc"])) > 0
        assert without.counterparts()["method"].ne("code").all()
        checked = without.verify()
        assert not checked["state"].eq("broken").any()
        assert checked["problem"].str.contains("cw-codebook").any()
        assert not len(without.repair())
        without.examine(without.get_run(probes.id), families=("detects",))
        report = without.report(tmp_path / "report.html").read_text()
        assert "codebook" in report
    assert {path: path.read_bytes() for path in before} == before
    for command in (["show", folder], ["study", "verify", folder], ["match", folder], ["concept", folder, f"{run}.0"]):
        code, out = workbench(*command)
        assert code == 0, out
    assert in_new_process(READ.format(folder=folder, concept=f"{run}.0"), plugin)
