"""Many processes at once in one study: all that they write is there, once, and none of them is told of the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

import workbench as wb
from workbench.store import catalog
from workbench.store.migrations import SCHEMA_VERSION
from workbench.store.sqlite import PATIENCE_S

ROOT = Path(__file__).parents[2]
WRITERS, READERS, ROWS = 8, 2, 250


@contextmanager
def crowd(folder: Path, roles: list[str]):
    """Processes of the given roles, all begun at one moment."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    member = [sys.executable, str(Path(__file__).with_name("member.py"))]
    people = [
        subprocess.Popen(
            [*member, role, str(folder), str(number), str(ROWS)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, role in enumerate(roles)
    ]
    try:
        while not all(Path(f"{folder}.ready{number}").exists() for number in range(len(people))):
            assert all(person.poll() is None for person in people)
            time.sleep(0.01)
        Path(f"{folder}.go").touch()
        yield people
    finally:
        for person in people:
            person.kill()
            person.wait()


def said(person: subprocess.Popen) -> dict:
    out, error = person.communicate(timeout=120)
    assert person.returncode == 0, error
    assert error == ""
    return json.loads(out)


def enter_run(study) -> None:
    """A run with concepts to write about; it never had activations."""
    run = {
        "id": "crowd-0", "analysis": "crowd", "status": "done", "config": {}, "seed": 0, "inputs": {}, "provenance": {},
        "started": catalog.now(), "seconds": 0.0, "peak_mib": 0.0, "error": None,
    }  # fmt: skip
    study.catalog.insert(catalog.runs, [run])
    blank = {"run": "crowd-0", "method": "crowd", "site": "resid_post.0", "level": "token", "label": ""}
    study.catalog.insert(catalog.concepts, [blank | {"id": f"crowd-0.{n}", "number": n} for n in range(5)])


def test_many_processes_found_one_study_together(tmp_path) -> None:
    folder = tmp_path / "study"
    with crowd(folder, ["found"] * WRITERS) as people:
        for person in people:
            said(person)
    with wb.open_study(folder, create=False) as study:
        assert study.verify().empty
        rows = study.catalog.frame(sa.select(catalog.info))
    assert rows["key"].tolist() == ["schema"]


def test_many_processes_bring_one_old_study_up_together(tmp_path) -> None:
    folder = tmp_path / "study"
    with zipfile.ZipFile(Path(__file__).parent / "old" / "schema1.zip") as old:
        old.extractall(folder)
    with crowd(folder, ["found"] * WRITERS) as people:
        for person in people:
            said(person)
    with wb.open_study(folder, create=False) as study:
        assert study.verify().empty
        assert study.catalog.info("schema") == str(SCHEMA_VERSION)


def test_a_crowd_writes_and_reads_and_every_row_is_there_once(tmp_path) -> None:
    folder = tmp_path / "study"
    with wb.open_study(folder) as study:
        enter_run(study)
    with crowd(folder, ["write"] * WRITERS + ["read"] * READERS) as people:
        waits = [said(person)["longest"] for person in people[:WRITERS]]
        Path(f"{folder}.stop").touch()
        assert all(said(person)["looks"] > 0 for person in people[WRITERS:])
    # Nobody came near the end of their patience.
    assert max(waits) < PATIENCE_S / 2
    with wb.open_study(folder, create=False) as study:
        names = study.catalog.names()
        notes = study.catalog.frame(sa.select(catalog.notes))
        evidence = study.catalog.frame(sa.select(catalog.evidence))
        assert "catalog" not in set(study.verify()["part"])
    written = [*names["text"], *notes["text"], *evidence["label"]]
    assert len(written) == WRITERS * ROWS == 2000
    assert sorted(written) == sorted(f"{writer}.{row}" for writer in range(WRITERS) for row in range(ROWS))
    for table, kind in ((names["text"], 0), (notes["text"], 1), (evidence["label"], 2)):
        assert {int(text.split(".")[1]) % 3 for text in table} == {kind}
    # Of each concept, every name supersedes the one before it: no two writers superseded the same one.
    for _, chain in names.groupby("concept"):
        assert chain["supersedes"].tolist()[1:] == chain["id"].tolist()[:-1]
