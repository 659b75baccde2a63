"""Every reader takes changed files: a result, or one sentence, and nothing else. `make fuzz SECONDS=…` runs many more cases."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.checking import Checker
from tests.fuzz.fuzz import ROOT, keep
from tests.fuzz.mutate import STRUCTURED, changed, mutated
from tests.fuzz.readers import CORPUS, READERS, Reader
from workbench.errors import StudyError

# A case of a slow reader opens a whole study.
SLOW = [name for name, reader in READERS.items() if reader.fresh]
QUICK = [name for name in READERS if name not in SLOW]


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Checker:
    with pytest.MonkeyPatch.context() as patch:
        # It sets these for the whole process.
        for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
            patch.setenv(name, os.environ.get(name, ""))
        patch.setattr("tempfile.tempdir", None)
        yield Checker(tmp_path_factory.mktemp("fuzz") / "place")


@pytest.mark.parametrize("name", READERS)
def test_the_honest_file_is_read(checker, name) -> None:
    reader = READERS[name]
    folder = checker.work / f"honest {name}"
    reader.honest(folder)
    reader.read(folder)


@pytest.mark.parametrize(("names", "cases"), [(QUICK, 250), (SLOW, 12)], ids=["quick", "slow"])
def test_a_changed_file_is_read_or_refused_in_one_sentence(checker, names, cases) -> None:
    @settings(max_examples=cases, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(names), st.integers(0, 2**32))
    def one(name: str, seed: int) -> None:
        reader = READERS[name]
        content = checker.case(reader, random.Random(seed))
        assert checker.check(reader, content) == "", (name, seed)

    one()


def test_what_readers_may_not_do_is_found(checker, tmp_path) -> None:
    def reader(read) -> Reader:
        return Reader("bad", "recipes", "recipe.json", read)

    def outside(_folder: Path) -> None:
        (checker.own / "new.txt").write_text("x")

    def unclear(_folder: Path) -> None:
        error = StudyError("x")
        error.args = ("two\nlines",)
        raise error

    assert checker.check(reader(lambda folder: folder), b"x") == ""
    assert "ZeroDivisionError" in checker.check(reader(lambda _: 1 / 0), b"x")
    assert "reached outside" in checker.check(reader(outside), b"x")
    (checker.own / "new.txt").unlink()
    assert "not one line" in checker.check(reader(unclear), b"x")
    assert "reached outside" in checker.check(reader(lambda _: subprocess.run(["true"], check=False)), b"x")
    assert "SystemExit" in checker.check(reader(lambda _: sys.exit(3)), b"x")
    os.utime(checker.own / "victim.txt", (1, 1))
    assert "changed a file" in checker.check(reader(lambda folder: folder), b"x")
    os.utime(checker.own / "victim.txt", ns=(checker._before[-1][3],) * 2)
    keep(tmp_path / "kept", "a reader", b"case", "what went wrong")
    assert {path.read_bytes()[:4] for path in (tmp_path / "kept").iterdir()} == {b"case", b"a re"}


@given(st.integers(0, 2**32), st.sampled_from(sorted(STRUCTURED)))
@settings(max_examples=60, derandomize=True, database=None)
def test_a_change_is_the_same_again_and_rarely_none(seed, suffix) -> None:
    path = next(path for path in sorted(CORPUS.rglob("*")) if path.suffix == (".zip" if suffix == ".db" else suffix))
    content = path.read_bytes()
    if suffix == ".db":
        with zipfile.ZipFile(path) as archive:
            content = archive.read("catalog.db")
    one, two = (mutated(content, suffix, random.Random(seed), [content]) for _ in range(2))
    assert one == two or suffix in {".zip", ".db"}
    assert isinstance(changed({"a": [1, {"b": None}]}, random.Random(seed)), object)


def test_it_runs_in_processes_and_says_what_it_did(tmp_path) -> None:
    command = [
        sys.executable, "-m", "tests.fuzz.fuzz", "--seconds", "12", "--processes", "1", "--seed", "5", "--failures",
        str(tmp_path / "kept"), "--readers", "recipe,study file,cfg.json",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 kinds of failures" in done.stdout
