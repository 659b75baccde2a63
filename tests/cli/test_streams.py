"""Commands whose output is closed, full, or has no word for a character, end with a code and at most a sentence."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import workbench as wb
from tests.fuzz.readers import PACK
from workbench.cli import main
from workbench.cli.console import STATE, show_json

COMMAND = [sys.executable, "-c", "from workbench.cli import main; main()"]
NAME = "naïve – 概念 \U0001f600"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose first concept has a name of many scripts."""
    folder = tmp_path_factory.mktemp("streams") / "study"
    with zipfile.ZipFile(PACK) as archive:
        archive.extractall(folder)
    with wb.open_study(folder, create=False) as study:
        study.concepts()[0].rename(NAME, "ada")
    return folder


def run(folder: Path, redirect: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    # The shell alone can close a stream, or end a pipe early.
    command = " ".join(f"'{part}'" for part in [*COMMAND, *arguments])
    bash = [shutil.which("bash") or "bash", "-c", f"{command} {redirect}"]
    return subprocess.run(bash, capture_output=True, check=False, env=os.environ | environment, timeout=300)


def test_closed_streams_write_into_no_file_of_the_study(folder) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = run(folder, "<&- >&- 2>&-", "concepts", str(folder))
    assert done.returncode == 0
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("form", [["concepts"], ["--json", "concepts"]])
def test_a_full_output_is_one_sentence(folder, form) -> None:
    done = run(folder, ">/dev/full", *form, str(folder))
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.decode().splitlines() == [
        "Error: There is no room for what is written: free some space and run the same command again."
    ]
    assert run(folder, ">/dev/full 2>/dev/full", *form, str(folder)).returncode == 3


@pytest.mark.parametrize("form", [["concepts"], ["--json", "concepts"]])
def test_who_has_read_enough_is_no_error(folder, form) -> None:
    done = run(folder, "| true; exit ${PIPESTATUS[0]}", *form, str(folder))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_without_utf_8_nothing_is_lost(folder) -> None:
    plain = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}
    done = run(folder, "", "--json", "concepts", str(folder), **plain)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout.decode("ascii"))[0]["name"] == NAME
    done = run(folder, "", "concepts", str(folder), **plain)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"na\\xefve" in done.stdout


HIDDEN = "\u202e\u2066\u200b\ufeff\x7f\x9b\u2028\U000e0001 plain é 概念"


def test_json_shows_no_sign_that_turns_a_line_or_cannot_be_seen(capsys) -> None:
    value = {HIDDEN: [HIDDEN, {"a": HIDDEN}], "n": 1.5}
    show_json(value)
    text = capsys.readouterr().out
    assert text[:-1].isprintable()
    assert "plain é 概念" in text
    assert json.loads(text) == value


def test_an_error_in_json_shows_none_either(capsys, tmp_path, monkeypatch) -> None:
    # Put back when the test ends: the option is one of the process.
    monkeypatch.setattr(STATE, "json", False)
    with pytest.raises(SystemExit, match="2"):
        main(["--json", "show", str(tmp_path / "no\u202estudy")])
    text = capsys.readouterr().out
    assert text[:-1].isprintable()
    assert "error" in json.loads(text)
