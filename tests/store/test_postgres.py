"""A catalog in PostgreSQL: texts come back as from SQLite, studies do not mix, what cannot be reached is said in a sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile

import pytest
import sqlalchemy as sa

import workbench as wb
from workbench.cli import main
from workbench.errors import ConfigError, StudyError
from workbench.store import postgres as store
from workbench.store import tables
from workbench.store.members import STUDY_FILE
from workbench.store.texts import keep_texts

CATALOGS = ("sqlite", "postgresql")
TEXTS = (
    "plain",
    "a\0b",
    "\0",
    "\ufdd0",
    "\ufdd00\ufdd01",
    "\ufdd0\0",
    "<b>' \"; DROP TABLE notes --",
    "\u202eabc",
    "😀",
    "%s %(x)s",
    "",
)


def enter(study) -> str:
    """A run with one concept, of hostile words and numbers that only SQLite could be thought to hold."""
    run = {
        "id": "run-0", "analysis": "none", "status": "done", "config": {"a": float("inf"), "b": ["\0", "\ud800"]}, "seed": 2**40,
        "inputs": {}, "provenance": {}, "started": tables.now(), "error": None,
    }  # fmt: skip
    study.catalog.insert(tables.runs, [run])
    concept = {"id": "run-0.0", "run": "run-0", "number": 0, "method": "m" * 300, "site": "s" * 300, "level": "token"}
    study.catalog.insert(tables.concepts, [concept | {"label": "is\0odd"}])
    return "run-0.0"


@pytest.fixture
def study(tmp_path, catalog):
    with wb.open_study(tmp_path / "study", catalog=catalog) as made:
        yield made


def test_any_text_and_number_comes_back_as_it_went_in(study) -> None:
    concept = study.concept(enter(study))
    for text in TEXTS:
        concept.note(text, author=text or "nobody")
    notes = concept.notes()
    assert notes["text"].tolist() == list(TEXTS)
    assert notes["author"].tolist()[:-1] == list(TEXTS)[:-1]
    assert study.catalog.run("run-0")["config"] == {"a": float("inf"), "b": ["\0", "\ud800"]}
    assert study.catalog.run("run-0")["seed"] == 2**40
    assert study.concepts(label="is\0odd").ids == [concept.id]
    assert study.concepts(label="is").ids == []


def test_texts_are_ordered_by_their_code_points(study) -> None:
    words = ["_a", "B", "a", "Z", "ä", "-", "a-b", "ab"]
    for word in words:
        study.catalog.set_info(f"word {word}", word)
    found = study.catalog.frame(sa.select(tables.info.c.key).where(tables.info.c.key.like("word %")).order_by(tables.info.c.key))
    assert [key.removeprefix("word ") for key in found["key"]] == sorted(words)


def test_who_waits_for_a_writer_too_long_is_told_so(tmp_path, catalog, monkeypatch) -> None:
    from workbench.store import sqlite

    monkeypatch.setattr(sqlite, "PATIENCE_S", 0.3)
    monkeypatch.setattr(store, "PATIENCE_S", 0.3)
    with wb.open_study(tmp_path / "study", catalog=catalog) as study, wb.open_study(study.folder) as other:
        with study.catalog.changing() as connection:
            connection.execute(sa.insert(tables.info), [{"key": "mine", "value": "1"}])
            with pytest.raises(StudyError, match="has been writing into the study's catalog"):
                other.catalog.set_info("other", "1")
            # Who reads does not wait, and sees nothing that is not whole.
            assert other.catalog.info("mine") is None
        other.catalog.set_info("other", "1")
        assert study.catalog.info("other") == study.catalog.info("mine") == "1"


def test_a_study_packs_into_a_file_that_opens_anywhere_and_moves_with_it(study, tmp_path, catalog) -> None:
    concept = study.concept(enter(study))
    concept.note("a\0b", "ada")
    concept.rename("kept", "ada")
    study.collections.add("chosen", [concept.id])
    (study.folder / "runs" / "run-0").mkdir()
    study.pack(tmp_path / "packed.zip")
    with zipfile.ZipFile(tmp_path / "packed.zip") as archive:
        assert json.loads(archive.read(STUDY_FILE)) == {"format": 1, "name": "study"}
    with wb.unpack(tmp_path / "packed.zip", tmp_path / "here") as here:
        assert not here.catalog.postgres
        with wb.unpack(tmp_path / "packed.zip", tmp_path / "there", catalog=catalog) as there:
            for name, table in tables.metadata.tables.items():
                first = study.catalog.frame(sa.select(table).order_by(*table.primary_key))
                for other in (here, there):
                    again = other.catalog.frame(sa.select(table).order_by(*table.primary_key))
                    assert again.to_dict("records") == first.to_dict("records"), name
            # What is new has numbers that were not given before.
            there.concept(concept.id).rename("anew", "grace")
            assert there.catalog.names()["supersedes"].tolist()[-1] == there.catalog.names()["id"].tolist()[0]
            assert there.concept(concept.id).name == "anew"
            if catalog:
                assert not list(there.folder.glob("catalog.db*"))
                with pytest.raises(StudyError, match="another study in the database"):
                    wb.unpack(
                        tmp_path / "packed.zip",
                        tmp_path / "taken",
                        json.loads((there.folder / STUDY_FILE).read_text())["catalog"],
                    )
                assert not (tmp_path / "taken").exists()


def test_studies_of_one_database_do_not_mix_and_two_folders_may_share_one(postgres, tmp_path) -> None:
    one, two = (wb.open_study(tmp_path / place / "study", catalog=postgres) for place in ("a", "b"))
    enter(one)
    assert len(two.concepts()) == 0
    enter(two)
    kept = json.loads((one.folder / STUDY_FILE).read_text())
    assert kept["format"] == 2
    assert not list(one.folder.glob("catalog.db*"))
    with wb.open_study(tmp_path / "c", catalog=kept["catalog"]) as same:
        same.concept("run-0.0").note("from afar", "ada")
    assert one.concept("run-0.0").notes()["text"].tolist() == ["from afar"]
    assert two.concept("run-0.0").notes().empty
    for study in (one, two):
        study.close()
    # It is opened without being told again, or being told, but nowhere else.
    wb.open_study(one.folder, create=False, catalog=postgres).close()
    with pytest.raises(StudyError, match="is at postgresql"):
        wb.open_study(one.folder, catalog=f"{kept['catalog']}x")
    wb.open_study(tmp_path / "lite").close()
    with pytest.raises(StudyError, match=r"is at catalog\.db in its folder"):
        wb.open_study(tmp_path / "lite", catalog=postgres)


def test_a_study_of_others_does_not_lead_to_their_server(study, tmp_path) -> None:
    study.pack(tmp_path / "packed.zip")
    theirs = json.dumps({"format": 2, "name": "study", "catalog": "postgresql://ada@127.0.0.1:1/x", "remote": "file:///theirs"})
    with zipfile.ZipFile(tmp_path / "packed.zip") as archive, zipfile.ZipFile(tmp_path / "theirs.zip", "w") as changed:
        for name in archive.namelist():
            changed.writestr(name, theirs if name == STUDY_FILE else archive.read(name))
    with wb.unpack(tmp_path / "theirs.zip", tmp_path / "here") as here:
        said = json.loads((here.folder / STUDY_FILE).read_text())
        assert said == {"format": 1, "name": "study", "id": said["id"]}
        assert here.remote is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://ada:secret@127.0.0.1/x", "Leave the password out"),
        ("postgresql://ada@127.0.0.1/x?password=secret", "Leave the password out"),
        ("postgresql://ada@127.0.0.1/x?passfile=/etc/x", "Leave the password out|unknown option"),
        ("postgresql://ada@127.0.0.1/x?service=x", "unknown option 'service'"),
        ("postgresql://ada@127.0.0.1/x?schema=a;b", "small letters"),
        ("postgresql://ada@127.0.0.1/x?schema=pg_catalog", "small letters"),
        ("postgresql://ada@127.0.0.1", "no database"),
        ("mysql://ada@127.0.0.1/x", "or in PostgreSQL"),
        ("nonsense", "no URL"),
    ],
)
def test_a_url_that_cannot_be_used_makes_no_study(url: str, words: str, tmp_path) -> None:
    with pytest.raises(ConfigError, match=words) as told:
        wb.open_study(tmp_path / "study", catalog=url)
    assert "secret" not in str(told.value)
    assert not (tmp_path / "study").exists()
    # Nor is one opened that came with it.
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / STUDY_FILE).write_text(json.dumps({"format": 2, "name": "study", "catalog": url}))
    with pytest.raises(ConfigError, match=words):
        wb.open_study(tmp_path / "study")


def test_a_server_that_cannot_be_reached_is_named_and_nothing_is_made(postgres, tmp_path, monkeypatch) -> None:
    with pytest.raises(StudyError, match="cannot be reached"):
        wb.open_study(tmp_path / "study", catalog="postgresql+psycopg://ada@127.0.0.1:1/x")
    with pytest.raises(StudyError, match='database "nowhere" does not exist'):
        wb.open_study(tmp_path / "study", catalog=postgres.replace("/postgres", "/nowhere"))
    with monkeypatch.context() as patch:
        patch.setenv("PGPASSWORD", "wrong")
        with pytest.raises(StudyError, match=r"password authentication failed.*PGPASSWORD"):
            wb.open_study(tmp_path / "study", catalog=postgres)
    assert not (tmp_path / "study").exists()
    wb.open_study(tmp_path / "study", catalog=postgres).close()


def test_a_user_who_may_not_is_told_so(postgres, tmp_path) -> None:
    with wb.open_study(tmp_path / "study", catalog=postgres) as study, study.catalog.engine.begin() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS guest")
        connection.exec_driver_sql(f"CREATE ROLE guest LOGIN PASSWORD '{os.environ['PGPASSWORD']}'")
    guest = postgres.replace("tester", "guest")
    with pytest.raises(StudyError, match="GRANT CREATE ON DATABASE"):
        wb.open_study(tmp_path / "other", catalog=guest)
    assert not (tmp_path / "other").exists()
    file = study.folder / STUDY_FILE
    file.write_text(file.read_text().replace("tester", "guest"))
    with pytest.raises(StudyError, match=r"permission denied.*See that your user may read"):
        wb.open_study(study.folder, trust=True)


def test_a_server_that_came_back_is_met_again(postgres, tmp_path) -> None:
    with wb.open_study(tmp_path / "study", catalog=postgres) as study:
        concept = study.concept(enter(study))
        with wb.open_study(study.folder) as other, other.catalog.engine.connect() as connection:

            def end(pid: int) -> None:
                assert connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid}, 20000)").scalar_one()

            with study.catalog.engine.connect() as idle:
                idle_pid = idle.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            end(idle_pid)
            concept.note("kept", "ada")

            def cut_off() -> None:
                with study.catalog.changing() as writing:
                    end(writing.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
                    writing.execute(sa.insert(tables.notes), [{"concept": concept.id, "text": "lost", "author": "", "at": ""}])

            with pytest.raises(StudyError, match="cannot be reached"):
                cut_off()
        assert concept.notes()["text"].tolist() == ["kept"]


def call(capsys, *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return int(end.value.code or 0), capsys.readouterr().out


@pytest.mark.parametrize("catalog", ["postgresql"], indirect=True)
def test_by_commands(planted, postgres, tmp_path, capsys) -> None:
    study, acts, dataset, _ = planted()
    keep_texts(study.folder, dataset)
    study.run("linear_probe", acts, labels="kind", controls=False)
    acts.export(tmp_path / "rows")
    study.pack(tmp_path / "packed.zip", activations=True)
    folder = str(tmp_path / "moved")
    assert call(capsys, "unpack", str(tmp_path / "packed.zip"), folder, "--catalog", postgres)[0] == 0
    assert json.loads((tmp_path / "moved" / STUDY_FILE).read_text())["catalog"].startswith(f"{postgres}?schema=study_moved_")
    assert call(capsys, "study", "verify", folder) == (0, "Nothing is broken.\n")
    code, out = call(capsys, "--json", "study", "log", folder)
    assert code == 0
    assert [row["depth"] for row in json.loads(out)] == [0, 1]
    (run,) = (tmp_path / "moved" / "runs").iterdir()
    shutil.rmtree(run)
    assert call(capsys, "study", "verify", folder)[0] == 1
    assert call(capsys, "study", "repair", folder)[0] == 0
    assert call(capsys, "study", "verify", folder)[0] == 0
    assert call(capsys, "import", str(tmp_path / "new"), str(tmp_path / "rows"), "--catalog", postgres)[0] == 0
    with wb.open_study(tmp_path / "new", create=False) as made:
        assert made.catalog.postgres
        assert made.model_record()["name"] == "imported"


def test_a_study_in_its_folder_needs_no_driver(tmp_path) -> None:
    code = (
        "import sys, workbench as wb; wb.open_study(sys.argv[1]).close(); print({'psycopg', 's3fs', 'boto3'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path / "study")], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_without_a_driver_the_extra_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ImportError, match=r"pip install 'concept-workbench\[postgres\]'"):
        wb.open_study(tmp_path / "study", catalog="postgresql+psycopg://ada@127.0.0.1/x")
    assert not (tmp_path / "study").exists()
