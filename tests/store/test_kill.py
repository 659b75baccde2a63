"""Killed at any instant, a study goes on and ends as one that was never killed: nothing lost, nothing held twice."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import workbench as wb

ROOT = Path(__file__).parents[2]
KILLS = 40
# Tables that name concepts by their run, which has another number after a kill.
NAMING_RUNS = {"evidence", "curves", "labels", "detection"}


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def known_as(study) -> dict[str, str]:
    """Finished runs by what they are: a run that was killed before is recorded, so the next one has another number."""
    runs = study.runs()
    parents = [",".join(inputs.get("parents", [])) for inputs in runs["inputs"]]
    plain = dict(zip(runs["id"], runs["analysis"] + " " + runs["seed"].astype(str), strict=True))
    return {
        run: f"{name} of {plain.get(parent, 'activations')}" for (run, name), parent in zip(plain.items(), parents, strict=True)
    }


def said(study, table: pd.DataFrame, columns: list[str]) -> Counter:
    """Rows of the catalog, with each concept as the run's analysis, seed and number."""
    called = known_as(study)
    where = [(called[concept.rsplit(".", 1)[0]], concept.rsplit(".", 1)[1]) for concept in table["concept"]]
    rows = table[columns].astype(object).where(table[columns].notna(), None).itertuples(index=False, name=None)
    return Counter(zip(where, rows, strict=True))


@pytest.mark.slow
def test_what_is_killed_at_any_instant_ends_as_what_was_never_killed(tmp_path: Path) -> None:
    report = killed(tmp_path, KILLS, dict(os.environ))
    assert min(report["kills"].values()) >= 4, report
    ends_as_what_was_never_killed(tmp_path, report)


def killed(
    place: Path, kills: int, environment: dict[str, str], before: Callable[[], None] | None = None, seed: int = 0
) -> dict[str, Any]:
    """Do the work, and kill it so many times."""
    command = [sys.executable, str(Path(__file__).with_name("victim.py")), str(place), str(seed), str(kills)]
    done = subprocess.run(
        command, env=environment | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, check=False,
        timeout=3600, preexec_fn=before,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    report: dict[str, Any] = json.loads(done.stdout)
    assert sum(report["kills"].values()) == kills, report
    return report


def ends_as_what_was_never_killed(place: Path, report: dict[str, Any]) -> None:
    with wb.open_study(place / "undisturbed", create=False) as whole:
        assert whole.verify().empty
        assert len(whole.runs()) == 8
        cut_off = 0
        # One write a process: the two files of the data set and the folder of the activations, at least.
        assert report["writes"] >= 3
        with wb.open_study(place / "writes", create=False) as study:
            same(study, whole)
        for folder in report["folders"]:
            with wb.open_study(folder, create=False) as study:
                same(study, whole)
                cut_off += len(study.runs("failed"))
    # Kills fell into the middle of runs, not only between them.
    assert cut_off > 0


def same(study, whole) -> None:
    assert study.verify().empty
    assert digests(study.folder / "activations") == digests(whole.folder / "activations")
    assert digests(study.folder / "datasets") == digests(whole.folder / "datasets")
    # Every run once, with the same tables and tensors; of those that were killed the record alone.
    mine, theirs = ({name: run for run, name in known_as(s).items()} for s in (study, whole))
    assert len(mine) == len(study.runs())
    assert set(mine) == set(theirs)
    assert {path.name for path in (study.folder / "runs").iterdir()} == set(mine.values())
    assert set(study.runs(None)["status"]) <= {"done", "failed"}
    for name in mine:
        ours, other = study.get_run(mine[name]), whole.get_run(theirs[name])
        assert set(ours.tables) == set(other.tables)
        for table in set(ours.tables) - NAMING_RUNS:
            pd.testing.assert_frame_equal(ours.tables[table], other.tables[table])
        assert digests(ours.folder / "concepts") == digests(other.folder / "concepts")
    assert len(study.concepts()) == len(whole.concepts())
    columns = ["text", "source", "author", "confidence"]
    assert said(study, study.catalog.names(), columns) == said(whole, whole.catalog.names(), columns)
    columns = ["metric", "label", "status", "value", "n"]
    assert said(study, study.evidence(), columns) == said(whole, whole.evidence(), columns)
    assert len(study.catalog.frame(_all_evidence())) == len(study.evidence())


def _all_evidence():
    import sqlalchemy as sa

    from workbench.store import tables

    return sa.select(tables.evidence.c.id)
