"""What takes how much room, and what is deleted: what depends on it is named first, and the record stays."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
import time
from contextlib import suppress

import fsspec
import pytest
import sqlalchemy as sa

import workbench as wb
from tests.store.axes import AXES
from tests.store.forks import Fork, Killed
from tests.store.test_remote_integrity import unused_port
from workbench.cli import main
from workbench.errors import StudyError, UnknownNameError, WorkbenchWarning
from workbench.recipes import Recipe
from workbench.store import tables
from workbench.store.texts import keep_texts

CATALOGS = ("sqlite", "postgresql")


@pytest.fixture
def made(planted):
    """A study with a set, a run, its examination, a second run of the set, and what people said of the first run's concepts."""
    study, acts, dataset, _ = planted(examples=60)
    keep_texts(study.folder, dataset)
    run, other = study.run(AXES, acts), study.run(AXES, acts, seed=1)
    examined = study.examine(run, families=("detects",), replicate=False)["run"].iloc[0]
    run.concepts[0].rename("the first", "ada")
    run.concepts[1].note("look again", "grace")
    study.collections.add("for the paper", [run.concepts[0].id, run.concepts[1].id], "ada")
    study.collections.remove("for the paper", [run.concepts[1].id], "ada")
    study.keep_recipe(Recipe.made(steps=[{"concept": run.concepts[0].id, "amount": 1.0}], name="more of it"))
    assert study.verify().empty
    return study, acts.id, run.id, other.id, examined


def folder_bytes(folder) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_every_file_of_a_study_is_counted_once(made, catalog) -> None:
    study, acts, run, other, examined = made
    (study.folder / "runs" / "axes-9.partial").mkdir()
    (study.folder / "runs" / "axes-9.partial" / "half.bin").write_bytes(b"x" * 5000)
    (study.folder / "cache" / "unfinished" / "axes-9" / "head").mkdir(parents=True)
    (study.folder / "cache" / "unfinished" / "axes-9" / "head" / "facts.json").write_bytes(b"{}")
    (study.folder / "mine.txt").write_text("mine")
    table = study.usage()
    assert table["bytes"].is_monotonic_decreasing
    in_folder = table[~(table["part"].eq("catalog") & table["name"].ne("catalog.db"))]
    assert in_folder["bytes"].sum() == folder_bytes(study.folder)
    of = table.set_index("name")
    assert of.loc[acts, "bytes"] == folder_bytes(study.folder / "activations" / acts)
    assert of.loc[run, ["part", "what"]].tolist() == ["run", AXES]
    assert of.loc["runs/axes-9.partial", ["part", "bytes"]].tolist() == ["unfinished", 5000]
    assert of.loc["cache/unfinished/axes-9", ["part", "bytes"]].tolist() == ["unfinished", 2]
    assert of.loc["mine.txt", ["part", "bytes"]].tolist() == ["other", 4]
    # A set is read by both runs and the examination; the run has that and four kinds of words.
    assert of.loc[[acts, run, other, examined], "needed_by"].tolist() == [3, 5, 0, 0]
    assert table["part"].eq("catalog").sum() == 1
    assert table.loc[table["part"].eq("catalog"), "bytes"].item() > 10_000


def test_what_depends_on_a_run_is_named_and_nothing_goes(made) -> None:
    study, acts, run, other, examined = made
    before = study.usage()
    with pytest.raises(StudyError) as refused:
        study.delete(run)
    for said in (examined, "1 names by people", "1 notes", "1 places in collections", "1 kept interventions", "with_dependents"):
        assert said in str(refused.value)
    with pytest.raises(StudyError, match=f"{run}.*{other}|{other}.*{run}"):
        study.delete(acts)
    assert study.usage().equals(before)
    dry = study.delete([acts], with_dependents=True, dry_run=True)
    assert set(dry["name"][dry["part"].ne("words")]) == {acts, run, other, examined}
    assert not dry["deleted"].any()
    assert study.usage().equals(before)


def test_a_run_that_nothing_needs_goes_and_its_record_stays(made) -> None:
    study, acts, run, other, examined = made
    done = study.delete([other[:-1] if not run.startswith(other[:-1]) else other])
    assert done[["part", "name", "deleted"]].to_numpy().tolist() == [["run", other, True]]
    assert not (study.folder / "runs" / other).exists()
    assert study.verify().empty
    log = study.log().set_index("id")
    assert log.loc[other, "status"] == "deleted"
    assert "deleted at" in study.catalog.run(other)["error"]
    assert not study.catalog.frame(sa.select(tables.concepts).where(tables.concepts.c.run == other)).shape[0]
    assert study.evidence()["run"].eq(examined).all()
    with pytest.raises(UnknownNameError):
        study.delete(other)
    # It can be run again; the record of the first stays.
    again = study.run(AXES, study.activation_set(acts), seed=1)
    assert again.id != other
    assert again.tables["numbers"].shape == (2000, 1)


def test_with_dependents_all_of_it_goes_and_what_people_said_is_in_a_file(made) -> None:
    study, acts, run, other, examined = made
    study.delete(run, with_dependents=True)
    assert study.runs()["id"].tolist() == [other]
    assert set(study.runs("deleted")["id"]) == {run, examined}
    assert study.evidence().empty
    assert study.recipes().empty
    assert study.collections.names() == []
    assert study.verify().empty
    kept = json.loads(next(study.folder.glob("dropped-*.json")).read_text())
    assert [row["text"] for row in kept["names"]] == ["the first"]
    assert [row["text"] for row in kept["notes"]] == ["look again"]
    assert [row["name"] for row in kept["interventions"]] == ["more of it"]
    assert len(kept["collections"]) == 3
    study.delete([acts, other])
    assert study.activations() == []
    log = study.log().set_index("id")
    assert log.loc[acts, ["depth", "status"]].tolist() == [0, "deleted"]
    assert log.loc[other, "depth"] == 1
    assert study.verify().empty


def test_a_set_that_was_deleted_can_be_made_again(planted, tmp_path) -> None:
    study, acts, dataset, _ = planted(examples=60)
    acts.export(tmp_path / "given")
    first = study.import_activations(tmp_path / "given", dataset=dataset)
    study.delete([first.id])
    assert study.log().set_index("id").loc[first.id, "status"] == "deleted"
    again = study.import_activations(tmp_path / "given", dataset=dataset)
    assert (again.id, again.read().tolist()) == (first.id, acts.read().tolist())
    with wb.open_study(study.folder, create=False) as opened:
        assert opened.log().set_index("id").loc[first.id, "status"] == "done"
        assert opened.activation_set(first.id).read().shape == acts.read().shape


def test_what_is_not_clearly_meant_or_still_running_is_not_deleted(made) -> None:
    study, acts, _, other, _ = made
    with pytest.raises(StudyError, match="beginning of"):
        study.delete(AXES[:5])
    with pytest.raises(UnknownNameError):
        study.delete("")
    record = study.catalog.run(other)
    from workbench.processes import identity

    study.catalog.insert(
        tables.runs, [record | {"id": "axes-running", "status": "running", "provenance": {"process": identity()}}]
    )
    with pytest.raises(StudyError, match="axes-running is still running"):
        study.delete([acts], with_dependents=True)
    assert study.activation_set(acts).read().size


def deletes(_, folder, run: str, nth: int) -> None:
    """Delete in a process that is killed at its nth step."""
    with wb.open_study(folder, create=False) as study:
        Killed(nth)
        study.delete(run, with_dependents=True)


@pytest.mark.full
@pytest.mark.parametrize("catalog", ["sqlite"], indirect=True)
def test_killed_at_any_step_all_of_it_is_there_or_none(made, tmp_path) -> None:
    study, acts, run, other, examined = made
    study.close()
    outcomes: set[bool] = set()
    # Every step in the full version, every fourth otherwise.
    for nth in range(1, 1000, 1 if os.environ.get("WORKBENCH_FULL") else 4):
        copy = tmp_path / f"killed{nth}"
        shutil.copytree(study.folder, copy)
        code = Fork(deletes, copy, acts, nth).end()
        assert code in {0, 9}
        with wb.open_study(copy, create=False) as opened:
            assert opened.verify().empty
            there = [opened.catalog.run(name)["status"] == "done" for name in (run, other, examined)]
            there += [(copy / "runs" / name).is_dir() for name in (run, other, examined)]
            there += [bool(opened.activations()), bool(len(opened.recipes())), bool(len(opened.concepts()))]
            assert len(set(there)) == 1, (nth, there)
            # What people wrote is in the catalog or in the file, and nothing of the killed process is left beside them.
            assert len(list(copy.glob("dropped-*"))) == (0 if there[0] else 1)
            assert not list(copy.rglob("*.lock")), nth
            assert not list(copy.rglob("*.partial")), nth
            outcomes.add(there[0])
        shutil.rmtree(copy)
        if code == 0:
            break
    # Some kills came before the point of no return and some after it.
    assert outcomes == {True, False}
    assert nth > 40


@pytest.mark.parametrize("catalog", ["sqlite"], indirect=True)
@pytest.mark.parametrize("remote", ["file", "s3"], indirect=True)
def test_what_is_deleted_goes_from_the_remote_and_does_not_come_back(made, remote, tmp_path) -> None:
    study, acts, run, other, _ = made
    with wb.open_study(study.folder, remote=remote) as opened:
        opened.push()
        files, base = fsspec.core.url_to_fs(remote, use_listings_cache=False)
        assert files.find(f"{base}/runs/{other}")
        opened.delete(other)
        assert not files.find(f"{base}/runs/{other}")
        assert files.find(f"{base}/runs/{run}")
        opened.delete([acts], with_dependents=True)
        assert not files.find(f"{base}/activations")
        opened.look(again=True)
        assert opened.activations() == []
        assert opened.verify(remote_content=True).empty
        assert opened.push() == []


@pytest.mark.parametrize("catalog", ["sqlite"], indirect=True)
@pytest.mark.parametrize("remote", ["s3"], indirect=True)
def test_what_could_not_be_removed_at_the_remote_goes_with_the_next_push(made, remote, monkeypatch) -> None:
    study, _, _, other, _ = made
    with wb.open_study(study.folder, remote=remote) as opened:
        opened.push()
    with monkeypatch.context() as away, wb.open_study(study.folder) as opened:
        fsspec.filesystem("s3").clear_instance_cache()
        away.setenv("AWS_MAX_ATTEMPTS", "1")
        away.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_port()}")
        with pytest.warns(WorkbenchWarning, match="workbench study push"):
            opened.delete(other)
    fsspec.filesystem("s3").clear_instance_cache()
    with wb.open_study(study.folder) as opened:
        assert opened.runs("deleted")["id"].tolist() == [other]
        assert opened.verify()["state"].tolist() == ["unfinished"]
        opened.push()
        assert opened.verify().empty


@pytest.mark.parametrize("catalog", ["postgresql"], indirect=True)
def test_what_is_deleted_on_one_machine_goes_on_another(made, tmp_path) -> None:
    study, acts, run, *_ = made
    study.close()
    shutil.copytree(study.folder, tmp_path / "elsewhere")
    with wb.open_study(study.folder) as one:
        one.delete([acts], with_dependents=True)
    with wb.open_study(tmp_path / "elsewhere", trust=True) as two:
        assert not (two.folder / "runs" / run).exists()
        assert two.activations() == []
        assert two.verify().empty


def command(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    said = capsys.readouterr()
    return ended.value.code or 0, said.out, said.err


@pytest.mark.parametrize("catalog", ["sqlite"], indirect=True)
def test_the_commands_say_the_same(made, capsys) -> None:
    study, acts, run, other, _ = made
    folder = str(study.folder)
    code, out, _ = command(capsys, "--json", "study", "usage", folder)
    assert code == 0
    assert {row["name"]: row["bytes"] for row in json.loads(out)}[acts] == folder_bytes(study.folder / "activations" / acts)
    assert acts in command(capsys, "study", "usage", folder)[1]
    code, out, error = command(capsys, "delete", folder, run)
    assert (code, "--with-dependents" in error) == (2, True)
    code, out, error = command(capsys, "delete", folder, other)
    assert (code, "--yes" in error) == (2, True)
    code, out, _ = command(capsys, "delete", folder, other, "--dry-run")
    assert (code, other in out, "Would free" in out) == (0, True, True)
    assert (study.folder / "runs" / other).is_dir()
    code, out, _ = command(capsys, "--json", "delete", folder, other, "--yes")
    assert (code, json.loads(out)[0]["name"]) == (0, other)
    assert not (study.folder / "runs" / other).exists()
    assert "deleted" in command(capsys, "study", "log", folder)[1]


@pytest.mark.parametrize("catalog", ["sqlite"], indirect=True)
@pytest.mark.parametrize("answer", ["y\n", "n\n"])
def test_on_a_terminal_there_is_a_question(made, answer) -> None:
    study, _, _, other, _ = made
    study.close()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from workbench.cli import main; main()", "delete", str(study.folder), other]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    until = time.monotonic() + 60
    while b"?" not in said and time.monotonic() < until:
        said += os.read(ours, 4096)
    os.write(ours, answer.encode())
    # What it prints is read, or it would wait.
    with suppress(OSError):
        while os.read(ours, 4096):
            pass
    os.close(ours)
    code = process.wait(60)
    assert (code, (study.folder / "runs" / other).exists()) == ((0, False) if answer == "y\n" else (2, True))
