"""Lists come in an order that is said, whichever database the catalog is in and whatever was taken out of it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

import workbench as wb
from workbench.store import tables
from workbench.store.concept_list import concept_table

CATALOGS = ("sqlite", "postgresql")


@pytest.fixture
def listed(tmp_path, catalog):
    """A study with concepts of three runs, entered in another order than the runs began, and moved about on the disk since."""
    with wb.open_study(tmp_path / "study", catalog=catalog) as study:
        for run, second in (("b-1", 2), ("a-1", 2), ("c-1", 1)):
            blank = {"analysis": "x", "status": "done", "config": {}, "seed": 0, "inputs": {}, "provenance": {}}
            study.catalog.insert(tables.runs, [blank | {"id": run, "started": f"2026-01-01T00:00:0{second}+00:00"}])
            study.catalog.insert(tables.concepts, [concept(run, number) for number in range(12)])
            study.catalog.insert(tables.notes, [note(f"{run}.{number}") for number in range(12)])
        with study.catalog.changing() as connection:
            # PostgreSQL writes a changed row somewhere else, and fills what was taken out with what comes next.
            connection.execute(sa.update(tables.concepts).where(tables.concepts.c.number == 3).values(label="changed"))
            connection.execute(sa.update(tables.notes).where(tables.notes.c.concept == "a-1.3").values(text="changed"))
        study.catalog.remove_concepts("b-1")
        if study.catalog.postgres:
            with study.catalog.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM concepts")
        study.catalog.insert(tables.concepts, [concept("b-1", number) for number in range(12)])
        yield study


def concept(run: str, number: int) -> dict[str, object]:
    return {"id": f"{run}.{number}", "run": run, "number": number, "method": "m", "site": "s", "level": "token", "label": ""}


def note(identifier: str) -> dict[str, object]:
    return {"concept": identifier, "text": "seen", "author": "ada", "at": tables.now()}


def test_concepts_come_by_the_age_of_their_run_and_their_number(listed) -> None:
    wanted = [f"{run}.{number}" for run in ("c-1", "a-1", "b-1") for number in range(12)]
    assert concept_table(listed)["id"].tolist() == wanted
    assert listed.runs()["id"].tolist() == ["c-1", "a-1", "b-1"]
    listed.export_table("concepts", listed.folder / "concepts.csv")
    lines = (listed.folder / "concepts.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == wanted


def test_other_lists_come_in_an_order_too(listed) -> None:
    by_name = [f"{run}.{number}" for run in ("a-1", "b-1", "c-1") for number in range(12)]
    assert listed.concepts().ids == by_name
    listed.export_table("notes", listed.folder / "notes.csv")
    lines = (listed.folder / "notes.csv").read_text().splitlines()
    numbers = [int(line.split(",")[0]) for line in lines[1:]]
    assert numbers == sorted(numbers)
    assert len(numbers) == 24
