"""A study of any version that there was opens, is read and is written to; one of a later version is refused and left alone."""

from __future__ import annotations

import re
import sqlite3
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

import workbench as wb
from tests.store.conftest import unprepared
from workbench.errors import StudyError
from workbench.store import migrations, tables

CATALOGS = ("sqlite", "postgresql")
OLD = sorted((Path(__file__).parent / "old").glob("schema*.zip"))


def extracted(path: Path, folder: Path) -> Path:
    """The study as it lies, before anything opens it."""
    with zipfile.ZipFile(path) as old:
        old.extractall(folder)
    return folder


def schema(folder: Path) -> tuple[str, list[tuple[str, str]]]:
    """The version of a catalog, and its tables and indexes as SQL without regard to spaces; of PostgreSQL, as it tells them."""
    if not (folder / "catalog.db").exists():
        with unprepared(folder) as connection:
            version = connection.exec_driver_sql("select value from info where key = 'schema'").scalar_one()
            look = sa.inspect(connection)
            names = sorted(look.get_table_names())
            return version, [(name, f"{look.get_columns(name)} {look.get_indexes(name)}") for name in names]
    with closing(sqlite3.connect(folder / "catalog.db")) as connection:
        version = connection.execute("select value from info where key = 'schema'").fetchone()[0]
        parts = connection.execute("select name, coalesce(sql, '') from sqlite_master order by name").fetchall()
    return version, [(name, re.sub(r"\s+|IF NOT EXISTS", "", sql)) for name, sql in parts if not name.startswith("sqlite_")]


def test_there_is_a_study_of_every_version_before_this_one() -> None:
    versions = [int(path.stem.removeprefix("schema")) for path in OLD]
    assert versions == list(range(migrations.FIRST_VERSION, migrations.SCHEMA_VERSION))
    assert sorted(migrations.STEPS) == list(range(migrations.FIRST_VERSION + 1, migrations.SCHEMA_VERSION + 1))
    assert all(path.stat().st_size < 60_000 for path in OLD)


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_an_old_study_opens_is_read_and_is_written_to(path, tmp_path) -> None:
    folder = extracted(path, tmp_path / "study")
    assert schema(folder)[0] == path.stem.removeprefix("schema")
    with wb.open_study(folder, create=False) as study:
        assert study.verify().empty
        concept = study.concepts("what is left").best()
        assert concept.names()["author"].tolist()[-1] == "ada"
        assert concept.notes()["text"].tolist() == ["seen in every example"]
        assert study.collections["kept"].ids == [concept.id]
        assert concept.evidence().query("metric == 'detects.auroc'")["value"].max() > 0.9
        acts = study.activation_set()
        assert acts.read().shape == (320, 4)
        assert np.isfinite(acts.read()).all()
        run = study.get_run("linear_probe")
        # Its options are read by their names of today, and its set of activations is found by its examples.
        assert run.record["config"]["target"] == run.config["labels"] == "kind"
        assert "target" not in run.config
        data = study.dataset_of_run(run)
        assert acts.manifest.request.format == 1
        assert acts.manifest.is_of(data)
        repeated = study.repeat(run.id)
        assert any("version 1" in remark for remark in repeated.remarks)
        assert repeated.run.config["labels"] == "kind"
        # One direction where there were two mirror images: not the same run, so it is made.
        assert study.run("linear_probe", acts, labels="kind").id != run.id
        concept.rename("to the left", "grace")
        again = study.run("linear_probe", acts, labels="kind", seed=7)
        study.examine(again, families=("detects",))
        assert study.verify().empty
    with wb.open_study(folder, create=False) as study:
        assert study.concept(concept.id).name == "to the left"
        assert len(study.runs()) == 6


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_an_old_catalog_becomes_what_a_new_one_is(path, tmp_path) -> None:
    old, new = extracted(path, tmp_path / "old"), tmp_path / "new"
    wb.open_study(old).close()
    wb.open_study(new).close()
    assert schema(old) == schema(new)
    assert schema(new)[0] == str(migrations.SCHEMA_VERSION)
    before = schema(old)
    wb.open_study(old).close()
    assert schema(old) == before


def test_an_upgrade_that_is_cut_short_was_never_begun(old_study, monkeypatch) -> None:
    folder = old_study()
    before = schema(folder)

    def stopped(connection) -> None:
        connection.execute(sa.text("ALTER TABLE notes ADD COLUMN mood TEXT"))
        raise KeyboardInterrupt

    monkeypatch.setitem(migrations.STEPS, migrations.SCHEMA_VERSION, stopped)
    with pytest.raises(KeyboardInterrupt):
        wb.open_study(folder)
    assert schema(folder) == before
    monkeypatch.undo()
    with wb.open_study(folder) as study:
        assert study.verify().empty


def test_a_study_of_a_later_version_is_refused_and_left_alone(tmp_path, catalog) -> None:
    folder = tmp_path / "study"
    wb.open_study(folder, catalog=catalog).close()
    later = migrations.SCHEMA_VERSION + 1
    with unprepared(folder) as connection:
        connection.exec_driver_sql(f"update info set value = '{later}' where key = 'schema'")
        # A table that this version has and the later one no longer.
        connection.exec_driver_sql("drop table interventions")
        connection.commit()
    before = schema(folder)
    with pytest.raises(StudyError, match=f"schema {later}, this one knows {migrations.SCHEMA_VERSION}.*Upgrade"):
        wb.open_study(folder)
    assert schema(folder) == before


def test_the_tables_of_this_version_are_those_that_a_new_study_has(tmp_path, catalog) -> None:
    wb.open_study(tmp_path / "study", catalog=catalog).close()
    assert set(tables.metadata.tables) <= {name for name, _ in schema(tmp_path / "study")[1]}
