"""Files that may be no longer, and kills while the disk is full: a sentence at most, and what was there before is whole."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import workbench as wb
from tests.store import anywhere
from tests.store.conftest import grow
from tests.store.forks import Fork, Killed
from workbench.errors import DiskFullError, WorkbenchError, disk_errors
from workbench.paths import is_leftover

FULL = bool(os.environ.get("WORKBENCH_FULL"))
NEVER = 10**9
LONGEST_KIB = [1, 2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128, 256, 1024, 4096] if FULL else [32, 1024]
CUT_OFF = {
    "It is recorded as running, but its process has ended.", "It is the rest of what a process was writing that was killed.",
}  # fmt: skip


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a data set and activations, where the work is still to be done."""
    folder = tmp_path_factory.mktemp("begun") / "study"
    anywhere.make(folder)
    return folder


def work(send: Callable[[tuple[str, int]], None], folder: Path, nth: int, longest: int | None) -> None:
    """Do the work, with files of at most so many KiB, until the nth step; send what was said, and how many steps it took."""
    said, count = "", Killed(nth)
    try:
        if longest is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (longest * 1024, longest * 1024))
        anywhere.more(folder)
    except WorkbenchError as error:
        said = str(error)
    except BaseException as error:
        said = f"Not a sentence: {error!r}"
    send((said, nth - count.left))


def works(folder: Path, nth: int = NEVER, longest: int | None = None) -> tuple[int, str, int]:
    """Work in a process that is killed at its nth step: how it ended, what was said, and how many steps it took."""
    process = Fork(work, folder, nth, longest)
    said, steps = process.received() or ("", nth)
    return process.end(), said, steps


def whole(folder: Path) -> None:
    """What was there is there, nothing is worse than cut off, and after a repair the work is done as if nothing had been."""
    with wb.open_study(folder, create=False) as study:
        assert study.activation_set().read().size
        assert set(study.verify()["problem"]) <= CUT_OFF
        assert study.repair()["mended"].all()
        assert study.verify().empty
    shutil.rmtree(folder.with_name("again"), ignore_errors=True)
    assert works(folder)[:2] == (0, "")
    with wb.open_study(folder, create=False) as study:
        assert study.verify().empty
        assert len(study.runs()) == 2
    assert [path for path in folder.parent.rglob("*") if is_leftover(path.name)] == []


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("kib", LONGEST_KIB)
def test_files_that_may_be_no_longer_are_a_sentence_and_nothing_is_lost(begun, tmp_path, kib) -> None:
    folder = Path(shutil.copytree(begun, tmp_path / "study"))
    code, said, _ = works(folder, longest=kib)
    assert (code, "`ulimit -f`" in said) == (0, True), said
    whole(folder)


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.7, 0.9] if FULL else [0.5])
def test_killed_while_the_disk_is_full(begun, disk, part) -> None:
    """The disk is of a size that ends the work; it is killed at its last steps before that end, when there is no more room."""
    least = sum(path.stat().st_size + 4096 for path in begun.rglob("*")) // 1024
    kib, killed = int(least + 100 + part * 400), 0
    place = disk(kib)
    shutil.copytree(begun, place / "study")
    code, said, steps = works(place / "study")
    assert (code, "full" in said or "room" in said or "free" in said) == (0, True), said
    for back in sorted(random.Random(kib).sample(range(12), 8 if FULL else 2)):
        place = disk(kib)
        shutil.copytree(begun, place / "study")
        code, said, _ = works(place / "study", nth=steps - back)
        assert code == 9 or said.startswith("The disk is full"), said
        killed += code == 9
        grow(place)
        whole(place / "study")
    assert killed > 0


def test_a_tensor_that_finds_no_room_is_a_sentence(tmp_path) -> None:
    """The library says so in its text alone."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        with pytest.raises(DiskFullError, match="of the tensors could not be written"), disk_errors("one of the tensors"):
            save_file({"one": torch.zeros(2**16)}, tmp_path / "one.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_command_ends_with_the_code_of_a_full_disk(begun, tmp_path) -> None:
    report = [sys.executable, "-c", "from workbench.cli import main; main()", "report", str(begun), str(tmp_path / "out.html")]
    limited = ["sh", "-c", 'ulimit -f 200; exec "$@"', "sh", *report]
    done = subprocess.run(limited, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert (done.returncode, "`ulimit -f`" in done.stderr, "Traceback" in done.stderr) == (3, True, False), done.stderr
    assert list(tmp_path.iterdir()) == []
