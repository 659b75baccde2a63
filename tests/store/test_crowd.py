"""Many processes at once in one study: all that they write is there, once, and none of them is told of the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

import workbench as wb
from workbench.store import tables
from workbench.store.migrations import SCHEMA_VERSION
from workbench.store.sqlite import PATIENCE_S

ROOT = Path(__file__).parents[2]
CATALOGS = ("sqlite", "postgresql")
WRITERS, READERS = 8, 2
# In PostgreSQL they take turns by the same lock to found a study and to bring it up, and to write.
FOUNDERS = {"sqlite": WRITERS, "postgresql": 4}
ROWS = {"sqlite": 250, "postgresql": 60}


@contextmanager
def crowd(
    folder: Path, roles: list[str], rows: int = 0, catalog: str | None = None, environment: dict[str, str] | None = None,
    before: Callable[[], None] | None = None,
):  # fmt: skip
    """Processes of the given roles, all begun at one moment."""
    told = [catalog] if catalog else []
    environment = (environment or dict(os.environ)) | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    member = [sys.executable, str(Path(__file__).with_name("member.py"))]
    people = [
        subprocess.Popen(
            [*member, role, str(folder), str(number), str(rows), *told],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=before,  # noqa: PLW1509
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
        "started": tables.now(), "seconds": 0.0, "peak_mib": 0.0, "error": None,
    }  # fmt: skip
    study.catalog.insert(tables.runs, [run])
    blank = {"run": "crowd-0", "method": "crowd", "site": "resid_post.0", "level": "token", "label": ""}
    study.catalog.insert(tables.concepts, [blank | {"id": f"crowd-0.{n}", "number": n} for n in range(5)])


def test_many_processes_found_one_study_together(tmp_path, catalog) -> None:
    folder, founders = tmp_path / "study", FOUNDERS["postgresql" if catalog else "sqlite"]
    with crowd(folder, ["found"] * founders, catalog=catalog) as people:
        for person in people:
            said(person)
    with wb.open_study(folder, create=False) as study:
        assert study.verify().empty
        rows = study.catalog.frame(sa.select(tables.info))
    assert rows["key"].tolist() == ["schema"]


def test_many_processes_bring_one_old_study_up_together(old_study) -> None:
    folder = old_study()
    with crowd(folder, ["found"] * WRITERS) as people:
        for person in people:
            said(person)
    with wb.open_study(folder, create=False) as study:
        assert study.verify().empty
        assert study.catalog.info("schema") == str(SCHEMA_VERSION)


def test_a_crowd_writes_and_reads_and_every_row_is_there_once(tmp_path, catalog) -> None:
    crowded(tmp_path / "study", ROWS["postgresql" if catalog else "sqlite"], catalog)


def crowded(folder: Path, rows: int, catalog: str | None = None, **how) -> None:
    """Let a crowd write and read; ``how`` is that of :func:`crowd`."""
    with wb.open_study(folder, catalog=catalog) as study:
        enter_run(study)
    with crowd(folder, ["write"] * WRITERS + ["read"] * READERS, rows, catalog=None, **how) as people:
        waits = [said(person)["longest"] for person in people[:WRITERS]]
        Path(f"{folder}.stop").touch()
        assert all(said(person)["looks"] > 0 for person in people[WRITERS:])
    # Nobody came near the end of their patience.
    assert max(waits) < PATIENCE_S / 2
    with wb.open_study(folder, create=False) as study:
        names = study.catalog.names()
        notes = study.catalog.frame(sa.select(tables.notes))
        evidence = study.catalog.frame(sa.select(tables.evidence))
        assert "catalog" not in set(study.verify()["part"])
    written = [*names["text"], *notes["text"], *evidence["label"]]
    assert len(written) == WRITERS * rows
    assert sorted(written) == sorted(f"{writer}.{row}" for writer in range(WRITERS) for row in range(rows))
    for table, kind in ((names["text"], 0), (notes["text"], 1), (evidence["label"], 2)):
        assert {int(text.split(".")[1]) % 3 for text in table} == {kind}
    # Of each concept, every name supersedes the one before it: no two writers superseded the same one.
    for _, chain in names.groupby("concept"):
        assert chain["supersedes"].tolist()[1:] == chain["id"].tolist()[:-1]
