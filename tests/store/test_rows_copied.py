"""What is made of a catalog that lacks something: the rest of its rows, or the true reason; and errors name what was given."""

from __future__ import annotations

import shutil
import sqlite3
import warnings
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from tests.store.hostile import sql
from tests.store.hostile_packs import packed
from workbench.errors import StudyError, WorkbenchWarning
from workbench.store.catalog import Catalog

NOTES = "CREATE TABLE notes (id INTEGER PRIMARY KEY, concept TEXT, text TEXT AS ('made up'), author TEXT, at TEXT)"
ADD = "INSERT INTO notes (concept, author, at) SELECT id, 'a', 'b' FROM concepts"


@pytest.fixture
def folder(honest: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(honest, tmp_path / "theirs"))


def copied(folder: Path, place: Path) -> list[str]:
    """Make a study of one that is refused as it is; what was said of rows."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with wb.unpack(folder, place) as study:
            assert study.verify().empty
            assert study.concepts().best().name == "what is left"
            assert len(study.runs()) == 1
            study.concepts().best().note("mine", "ada")
            study.usage()
    return [str(one.message) for one in said if issubclass(one.category, WorkbenchWarning)]


def test_a_table_that_lacks_what_it_needs_is_left_out_and_the_rest_copied(folder, tmp_path) -> None:
    sql("DROP TABLE notes", NOTES, ADD)(folder, tmp_path)
    with pytest.raises(StudyError, match=r"none of ours.*workbench unpack"):
        wb.open_study(folder)
    (said,) = copied(folder, tmp_path / "mine")
    assert "1 rows of 'notes'" in said
    with wb.open_study(tmp_path / "mine") as study:
        assert study.concepts().best().notes()["text"].to_list() == ["mine"]


@pytest.mark.parametrize("column", ["confidence", "run", "supersedes"])
def test_a_column_that_may_be_empty_is_left_empty(folder, tmp_path, column) -> None:
    before = ["DROP INDEX ix_names_run"] if column == "run" else []
    sql(*before, f"ALTER TABLE names DROP COLUMN {column}")(folder, tmp_path)
    with pytest.raises(StudyError):
        wb.open_study(folder)
    assert copied(folder, tmp_path / "mine") == []
    with wb.open_study(tmp_path / "mine") as study:
        assert study.catalog.names()[column].isna().all()


def test_numbers_of_rows_are_given_anew(folder, tmp_path) -> None:
    plain = "CREATE TABLE notes (concept TEXT, text TEXT, author TEXT, at TEXT)"
    sql("CREATE TEMP TABLE old AS SELECT * FROM notes", "DROP TABLE notes", plain,
        "INSERT INTO notes SELECT concept, text, author, at FROM old")(folder, tmp_path)  # fmt: skip
    assert copied(folder, tmp_path / "mine") == []
    with wb.open_study(tmp_path / "mine") as study:
        assert set(study.concepts().best().notes()["text"]) == {"seen everywhere", "mine"}


@pytest.mark.parametrize(("table", "column"), [("runs", "status"), ("concepts", "label"), ("info", "value"), ("runs", "id")])
def test_what_nothing_can_be_copied_without_is_named(folder, tmp_path, table, column) -> None:
    with closing(sqlite3.connect(folder / "catalog.db")) as catalog:
        names = [row[1] for row in catalog.execute(f"PRAGMA table_info({table})") if row[1] != column]
    sql(f"CREATE TABLE other AS SELECT {', '.join(names)} FROM {table}", f"DROP TABLE {table}",
        f"ALTER TABLE other RENAME TO {table}")(folder, tmp_path)  # fmt: skip
    with pytest.raises(StudyError, match=f"'{table}' in the catalog of .*theirs has no column '{column}'"):
        wb.unpack(folder, tmp_path / "mine")
    assert not (tmp_path / "mine").exists()


def test_a_catalog_that_was_copied_has_the_indexes_of_a_new_one(folder, tmp_path) -> None:
    wb.unpack(folder, tmp_path / "mine").close()
    Catalog(f"sqlite:///{tmp_path}/new.db").close()

    def indexes(path: Path) -> set[str]:
        with closing(sqlite3.connect(path)) as catalog:
            return {name for (name,) in catalog.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}

    assert indexes(tmp_path / "mine" / "catalog.db") == indexes(tmp_path / "new.db")


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "not JSON"), ('{"format": true}', "format True"), ('{"format": 1.0}', "format 1.0"), (" " * 100_000, "100,000 bytes"),
     ('{"format": 1, "name": [1]}', "'name'"), ('{"format": 2, "catalog": "sqlite:///x"}', "PostgreSQL")],
)  # fmt: skip
def test_a_study_file_that_cannot_be_read_is_named_as_it_was_given(folder, tmp_path, text, said) -> None:
    (folder / "study.json").write_text(text)
    packed(folder, tmp_path / "theirs.zip")
    for source in (tmp_path / "theirs.zip", folder):
        with pytest.raises(wb.WorkbenchError, match=said) as refused:
            wb.unpack(source, tmp_path / "mine" / "study")
        # Not the copy beside the new study, which is gone when the sentence is read.
        assert str(tmp_path / "mine") not in str(refused.value)
        assert said == "PostgreSQL" or source.name in str(refused.value)
    assert not list((tmp_path / "mine").iterdir())


def test_a_name_that_no_disk_takes_is_said(folder, tmp_path) -> None:
    packed(folder, tmp_path / "theirs.zip")
    run = next((folder / "runs").iterdir()).name
    with zipfile.ZipFile(tmp_path / "theirs.zip", "a") as archive:
        archive.writestr(f"runs/{run}/tables/{'概' * 150}.parquet", b"")
    with pytest.raises(StudyError, match=r"in .*theirs.zip has a longer name than files can have"):
        wb.unpack(tmp_path / "theirs.zip", tmp_path / "mine")


TEXTS = "concept VARCHAR(160), text TEXT, source VARCHAR(16), author TEXT, at VARCHAR(32), run VARCHAR(128)"
OTHERS = f"supersedes INTEGER, {TEXTS}"


@pytest.mark.parametrize(
    "columns",
    [
        f"id INTEGER, confidence FLOAT, {OTHERS}, PRIMARY KEY (concept)", f"id INTEGER, confidence FLOAT, {OTHERS}",
        f"id INTEGER, confidence FLOAT NOT NULL, {OTHERS}, PRIMARY KEY (id)",
        f"id INTEGER, confidence TEXT, {OTHERS}, PRIMARY KEY (id)",
        f"id INTEGER, confidence FLOAT, {OTHERS.replace('text TEXT', 'text INTEGER')}, PRIMARY KEY (id)",
        f"id INTEGER, confidence FLOAT, {OTHERS}, PRIMARY KEY (id), FOREIGN KEY(author) REFERENCES runs (id)",
    ],
)  # fmt: skip
def test_a_table_with_other_keys_or_types_is_refused_and_its_rows_are_copied(folder, tmp_path, columns: str) -> None:
    named = "id, concept, text, source, author, at, run, supersedes"
    sql(
        "CREATE TABLE keep AS SELECT * FROM names", "DROP TABLE names", f"CREATE TABLE names ({columns})",
        f"INSERT OR IGNORE INTO names ({named}, confidence) SELECT {named}, coalesce(confidence, 0) FROM keep", "DROP TABLE keep",
    )(folder, tmp_path)  # fmt: skip
    with pytest.raises(StudyError, match=r"not as the workbench makes it: .*names.*workbench unpack"):
        wb.open_study(folder)
    with warnings.catch_warnings():
        # Of names that other types have changed it says that they are left out.
        warnings.simplefilter("ignore", WorkbenchWarning)
        wb.unpack(folder, tmp_path / "mine").close()
    with wb.open_study(tmp_path / "mine") as study:
        assert study.verify().empty
        study.concepts().best().rename("mine", "ada")


@pytest.mark.parametrize("number", ["9e999", "-9e999"])
def test_an_infinite_number_is_left_out(folder, tmp_path, number: str) -> None:
    columns = "concept, metric, label, value, n, dataset, run, status"
    one = f"INSERT INTO evidence ({columns}) SELECT id, 'detects.auroc', '', {number}, 1, 'd', run, 'ok' FROM concepts LIMIT 1"
    sql(one)(folder, tmp_path)
    (said,) = copied(folder, tmp_path / "mine")
    assert "1 rows of 'evidence'" in said
    with wb.open_study(tmp_path / "mine") as study:
        assert np.isfinite(study.evidence()["value"].dropna()).all()


def test_a_study_that_comes_with_damaged_files_says_so(folder, tmp_path) -> None:
    file = next((folder / "runs").rglob("*.parquet"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)
    with pytest.warns(WorkbenchWarning, match=r"1 part of the study is damaged: `workbench study verify"):
        wb.unpack(folder, tmp_path / "mine").close()
