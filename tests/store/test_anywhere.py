"""A study works in odd places: odd paths and locales, few open files, a clock that was set back, a disk that fills."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

import workbench as wb
from tests.store.conftest import grow
from tests.store.test_crowd import ROWS, crowd, crowded, enter_run, said
from tests.store.test_kill import KILLS, ends_as_what_was_never_killed, killed
from workbench.store import tables

ROOT = Path(__file__).parents[2]
ODD = "a study – 概念\nof mine"
NOT_UTF_8 = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
EVERY_KIB = os.environ.get("WORKBENCH_FULL") == "1"


def few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def work(folder: Path, what: str, before: Callable[[], None] | None = None, without: str = "", **environment: str) -> str:
    """Work in a process of its own; what the workbench said, which is nothing where all went well."""
    known = {name: value for name, value in os.environ.items() if name not in without.split()}
    command = [sys.executable, str(Path(__file__).with_name("anywhere.py")), str(folder), what]
    done = subprocess.run(
        command, env=known | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | environment, capture_output=True, check=False,
        timeout=900, preexec_fn=before, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)["said"]


def sound(folder: Path) -> None:
    """All of the work is there and whole."""
    for place in (folder, folder.with_name("again")):
        with wb.open_study(place, create=False) as study:
            assert study.verify().empty
            assert "naïve – 概念" in set(study.catalog.current_names()["text"])
    with wb.open_study(folder, create=False) as study:
        assert len(study.runs()) == 2
        assert len(study.runs("deleted")) == 1
    assert "naïve – 概念" in (folder / "report.html").read_text(encoding="utf-8")


def test_paths_with_spaces_unicode_and_a_line_end_few_files_and_no_home(tmp_path) -> None:
    folder = tmp_path / ODD / "study"
    assert work(folder, "all", few_files, "HOME XDG_CONFIG_HOME XDG_CACHE_HOME") == ""
    sound(folder)


def test_a_system_without_utf_8(tmp_path) -> None:
    folder = tmp_path / "a study"
    assert work(folder, "all", **NOT_UTF_8) == ""
    sound(folder)


@pytest.mark.full
@pytest.mark.skipif(not EVERY_KIB, reason="one of the cases of `make test-full`")
def test_all_of_it_at_once(tmp_path) -> None:
    folder = tmp_path / "a study\nof mine"
    assert work(folder, "all", few_files, "HOME XDG_CONFIG_HOME XDG_CACHE_HOME", DAYS_BACK="1", **NOT_UTF_8) == ""
    sound(folder)


def odd_places(tmp_path: Path, unicode: bool) -> tuple[Path, dict[str, str]]:
    """A folder on an odd path, and an odd environment; a system without UTF-8 cannot spell every path."""
    place = tmp_path / (ODD if unicode else "a study\nof mine")
    place.mkdir()
    known = {name: value for name, value in os.environ.items() if name not in {"HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"}}
    return place, known | {"DAYS_BACK": "1"} | ({} if unicode else NOT_UTF_8)


@pytest.mark.full
@pytest.mark.skipif(not EVERY_KIB, reason="one of the cases of `make test-full`")
@pytest.mark.parametrize("unicode", [True, False])
def test_kills_in_odd_places(tmp_path, unicode) -> None:
    place, environment = odd_places(tmp_path, unicode)
    report = killed(place, KILLS, environment, few_files, seed=1 + unicode)
    ends_as_what_was_never_killed(place, report)


@pytest.mark.full
@pytest.mark.skipif(not EVERY_KIB, reason="one of the cases of `make test-full`")
@pytest.mark.parametrize("unicode", [True, False])
def test_a_crowd_in_odd_places(tmp_path, unicode) -> None:
    place, environment = odd_places(tmp_path, unicode)
    crowded(place / "study", ROWS["sqlite"], environment=environment, before=few_files)


def test_a_path_that_this_system_cannot_spell_is_refused_and_nothing_is_made(tmp_path) -> None:
    assert "since it takes paths to be in ascii: set PYTHONUTF8=1" in work(tmp_path / ODD / "study", "all", **NOT_UTF_8)
    assert not (tmp_path / ODD).exists()


def test_a_clock_that_was_set_back_a_day(tmp_path) -> None:
    folder = tmp_path / "study"
    assert work(folder, "make") == ""
    assert work(folder, "more", DAYS_BACK="1") == ""
    sound(folder)


@pytest.mark.full
@pytest.mark.slow
def test_a_disk_that_fills_at_any_moment_leaves_what_is_whole(tmp_path, disk) -> None:
    assert work(tmp_path / "study", "make") == ""
    least = 1 + sum(path.stat().st_size + 4096 for path in (tmp_path / "study").rglob("*")) // 1024
    # The report is the largest file: with 400 KiB more it alone finds no room.
    said, steps = [], [*(range(least, least + 400, 25) if EVERY_KIB else (least, least + 300)), 20_000]
    for kib in steps:
        place = disk(kib)
        shutil.copytree(tmp_path / "study", place / "study")
        said.append(work(place / "study", "more"))
        assert said[-1] == "" or "full" in said[-1] or "room" in said[-1] or "free" in said[-1], said
        # There is room again: what was recorded as begun is recorded as failed with the next run, or by a repair.
        grow(place)
        with wb.open_study(place / "study", create=False) as study:
            found = study.verify()
            assert set(found["problem"]) <= {"It is recorded as running, but its process has ended."}, (
                kib,
                found.to_dict("records"),
            )
            assert study.repair()["mended"].all()
            assert study.verify().empty
        if said[-1]:
            shutil.rmtree(place / "again", ignore_errors=True)
            assert work(place / "study", "more") == ""
        if said[-1] == "":
            break
    # Some disks were too small, and the last one was not.
    assert len(said) > 1
    assert said[-1] == ""


@pytest.mark.full
@pytest.mark.skipif(not EVERY_KIB, reason="one of the cases of `make test-full`")
@pytest.mark.parametrize("kib", [600, 1200])
def test_a_crowd_on_a_disk_that_fills_is_told_and_loses_nothing_that_was_taken(disk, kib) -> None:
    folder = disk(kib) / "study"
    with wb.open_study(folder) as study:
        enter_run(study)
    with crowd(folder, ["fill"] * 4, 400) as people:
        ends = [said(person) for person in people]
    assert any("full" in end["said"] for end in ends), ends
    grow(folder.parent)
    with wb.open_study(folder, create=False) as study:
        notes = [text.split()[0] for text in study.catalog.frame(sa.select(tables.notes))["text"]]
        assert set(study.verify()["part"]) <= {"run"}
    assert sorted(notes) == sorted(name for end in ends for name in end["taken"])
