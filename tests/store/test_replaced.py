"""A study that its user knows, in whose place another was put: what is dangerous in it is looked for each time."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import struct
from contextlib import closing

import pytest

import workbench as wb
from workbench.cli.console import STATE, console, say
from workbench.errors import NotTrustedError, StudyError
from workbench.store import trust
from workbench.store.unpacking import Member, _copy

MAGIC = bytes.fromhex("d9d505f920a163d7")


@pytest.fixture
def known(tmp_path, monkeypatch):
    """A study that was opened before, closed with all of its catalog in one file."""
    monkeypatch.setattr(trust, "_HERE", {})
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
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
        _copy(tmp_path / "both.zip", member, tmp_path / "a.parquet" / "b.parquet", lambda _bytes: None)


def test_a_catalog_without_its_schema_is_refused(known) -> None:
    (known / "study.json").write_text('{"format": 2, "name": "x", "catalog": "postgresql+psycopg://h@127.0.0.1:9/x"}')
    with pytest.raises(StudyError, match="names a catalog without its schema"):
        wb.open_study(known, trust=True)


def test_a_sentence_steers_no_terminal(monkeypatch) -> None:
    monkeypatch.setattr(STATE, "json", False)
    with console.capture() as said:
        say("<Concept '\x1b[31mred\u202e'>\nsecond")
    assert said.get() == "<Concept '·[31mred·'>\nsecond\n"


@pytest.fixture
def still(known, monkeypatch):
    """A known study that has lain still for longer than it takes to be known by its files."""
    monkeypatch.setattr(trust, "_STILL_S", -1.0)
    wb.open_study(known).close()
    return known


def with_a_log(folder) -> sqlite3.Connection:
    """A connection that has written something ahead, which stays so until it is closed."""
    connection = sqlite3.connect(folder / "catalog.db", isolation_level=None)
    connection.execute("pragma journal_mode=wal")
    connection.execute("INSERT INTO info VALUES ('a', 'b')")
    return connection


def test_another_catalog_in_a_known_study_is_looked_at_again(still, tmp_path) -> None:
    other = tmp_path / "other.db"
    other.write_bytes((still / "catalog.db").read_bytes())
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("INSERT INTO info VALUES ('model', '[]')")
        connection.commit()
    other.replace(still / "catalog.db")
    with pytest.raises(StudyError, match="record of the model cannot be read"):
        wb.open_study(still)


def test_another_study_file_with_the_same_id_is_another_study(still, tmp_path) -> None:
    with closing(with_a_log(still)):
        wb.open_study(still).close()
        text = (still / "study.json").read_text()
        (still / "study.json").unlink()
        (still / "study.json").write_text(text)
        with pytest.raises(NotTrustedError) as asked:
            wb.open_study(still)
        assert asked.value.side_files == ("catalog.db-wal",)
        wb.open_study(still, trust=True).close()
        wb.open_study(still).close()


def test_a_copy_that_is_put_back_opens_without_a_question(still, tmp_path) -> None:
    shutil.copy(still / "catalog.db", tmp_path / "kept.db")
    shutil.copy(tmp_path / "kept.db", tmp_path / "back.db")
    (tmp_path / "back.db").replace(still / "catalog.db")
    for _ in range(2):
        with wb.open_study(still) as study:
            assert study.verify().empty


def test_what_the_workbench_changes_itself_stays_known(still, tmp_path) -> None:
    with closing(with_a_log(still)):
        wb.open_study(still, remote=f"file://{tmp_path}/elsewhere").close()
        for _ in range(2):
            with wb.open_study(still) as study:
                assert study.remote is not None


def test_a_record_from_before_files_were_kept_is_still_known(known) -> None:
    for home in trust._homes():
        for path in home.glob("*.json"):
            record = json.loads(path.read_text())
            path.write_text(json.dumps({key: value for key, value in record.items() if key != "files"}))
    trust._HERE.clear()
    with closing(with_a_log(known)):
        wb.open_study(known).close()
