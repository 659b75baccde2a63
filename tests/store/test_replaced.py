"""A study that its user knows, in whose place another was put: what is dangerous in it is looked for each time."""

from __future__ import annotations

import io
import sqlite3
import struct

import pytest

import workbench as wb
from workbench.cli.console import console, say
from workbench.errors import StudyError
from workbench.store.unpacking import Member, _copy

MAGIC = bytes.fromhex("d9d505f920a163d7")


@pytest.fixture
def known(tmp_path):
    """A study that was opened before, closed with all of its catalog in one file."""
    wb.open_study(tmp_path / "study").close()
    with sqlite3.connect(tmp_path / "study" / "catalog.db") as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    return tmp_path / "study"


@pytest.mark.parametrize("trust", [False, True])
def test_a_journal_that_names_another_file_is_never_obeyed(known, tmp_path, trust) -> None:
    victim = tmp_path / "letters.txt"
    victim.write_text("Dear Ada")
    name = str(victim).encode()
    end = name + struct.pack(">II", len(name), sum(name)) + MAGIC
    (known / "catalog.db-journal").write_bytes(MAGIC + bytes(504) + struct.pack(">I", 3) + end)
    with pytest.raises(StudyError, match="names a journal of several databases"):
        wb.open_study(known, trust=trust)
    assert victim.read_text() == "Dear Ada"


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    "strange",
    [
        "CREATE TRIGGER strange AFTER INSERT ON names BEGIN DELETE FROM names; END",
        "CREATE VIEW strange AS SELECT 1",
        "CREATE VIRTUAL TABLE strange USING fts5(content)",
    ],
)
@pytest.mark.parametrize("ahead", [False, True])
def test_what_runs_by_itself_in_a_known_study_is_refused(known, strange, trust, ahead) -> None:
    connection = sqlite3.connect(known / "catalog.db")
    connection.execute(strange)
    connection.commit()
    if not ahead:
        connection.execute("pragma wal_checkpoint(truncate)")
        connection.close()
    try:
        with pytest.raises(StudyError, match=r"strange.*which is none of ours"):
            wb.open_study(known, trust=trust)
    finally:
        connection.close()


def test_a_member_below_one_that_is_a_file_is_refused(tmp_path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"")
    member = Member("tables/a.parquet/b.parquet", 0, lambda: io.BytesIO(b""))
    with pytest.raises(StudyError, match=r"b\.parquet' is there twice in .*: it is not opened"):
        _copy(tmp_path / "both.zip", member, tmp_path / "a.parquet" / "b.parquet")


def test_a_catalog_without_its_schema_is_refused(known) -> None:
    (known / "study.json").write_text('{"format": 2, "name": "x", "catalog": "postgresql+psycopg://h@127.0.0.1:9/x"}')
    with pytest.raises(StudyError, match="names a catalog without its schema"):
        wb.open_study(known, trust=True)


def test_a_sentence_steers_no_terminal() -> None:
    with console.capture() as said:
        say("<Concept '\x1b[31mred\u202e'>\nsecond")
    assert said.get() == "<Concept '·[31mred·'>\nsecond\n"
