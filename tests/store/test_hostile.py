"""What strangers give does no harm: hostile folders and packs are opened, checked, mended, packed and exported.

Each ends in a result or in one sentence; nothing outside the study changes, and nothing waits. A sample is run each time, and all
of them where ``WORKBENCH_FULL`` is set (``make test-full``).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import workbench as wb
from tests.store.conftest import state
from tests.store.hostile import FOLDERS
from tests.store.hostile_packs import PACKS
from tests.store.hostile_parts import PARTS
from workbench.errors import NotTrustedError, StudyError, WorkbenchError
from workbench.jobs import jobs
from workbench.reports import export_tables
from workbench.store import trust
from workbench.store.parts import problems
from workbench.study import Study

SAMPLE = 20
MOST_MEMORY = 1.5
"""How many times the memory of the honest study."""
MOST_SECONDS, WAITED_SECONDS = 10, 120
"""Of work, and of waiting for a machine that does other things as well."""


def chosen(cases: dict[str, Any]) -> list[str]:
    names = sorted(cases)
    return names if os.environ.get("WORKBENCH_FULL") else sorted(random.Random(14).sample(names, SAMPLE))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of the user's own, which nobody may touch."""
    folder = tmp_path / "own"
    (folder / "private").mkdir(parents=True)
    (folder / "victim.txt").write_text("mine")
    (folder / "private" / "secret.txt").write_text("secret")
    (folder / "private" / "labels.json").write_text("[]")
    return folder


@pytest.fixture
def copy(honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the honest study, in a folder that this user never opened."""
    monkeypatch.setattr(trust, "_HERE", {})
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    return Path(shutil.copytree(honest, tmp_path / "given"))


@contextmanager
def no_waiting() -> Iterator[None]:
    """What takes longer than it may fails, whatever it waits for."""

    def late(_signal: int, _frame: Any) -> None:
        raise AssertionError(f"It worked for more than {MOST_SECONDS} s, or waited for {WAITED_SECONDS} s.")

    timers = ((signal.ITIMER_PROF, signal.SIGPROF, MOST_SECONDS), (signal.ITIMER_REAL, signal.SIGALRM, WAITED_SECONDS))
    before = [signal.signal(sent, late) for _, sent, _ in timers]
    for timer, _, seconds in timers:
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for (timer, sent, _), handler in zip(timers, before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(sent, handler)


def attempt(work: Callable[[], Any]) -> Any:
    """What a piece of work gives, or None where it says in one sentence that it cannot be done. Anything else fails the test."""
    with no_waiting(), suppress(WorkbenchError):
        return work()
    return None


def use(study: Study, out: Path) -> None:
    """Everything that is read, checked, mended, packed, listed or exported of a study."""
    for work in (
        study.verify, study.runs, study.evidence, study.activations, study.datasets, study.model_record, study.recipes, study.log,
        study.steered, study.collections.table, study.collections.names, study.catalog.current_names,
        lambda: [(acts.under, study.edits_of(acts)) for acts in study.activations()], study.usage,
        lambda: study.concepts().table(), lambda: repr(study), lambda: jobs(study),
        lambda: study.typical_norm("resid_post.0"), lambda: [acts.read() for acts in study.activations()],
        lambda: [acts.index for acts in study.activations()], lambda: study.embedder().study,
        lambda: [study.concept(one).names() for one in study.concepts().ids], lambda: study.pack(out / "out.zip", True),
        lambda: export_tables(study, out / "tables"), lambda: study.export_table("runs", out / "runs.csv"),
        lambda: study.activation_set().export(out / "acts"), lambda: study.concepts().best().rename("again", "grace"),
    ):  # fmt: skip
        attempt(work)
    every = attempt(lambda: list(study.runs(None)["id"])) or []
    for name in every[:5]:
        if (run := attempt(lambda name=name: study.get_run(name))) is not None:
            for read in (
                lambda run=run: [run.tables[one] for one in run.tables], lambda run=run: run.sets,
                lambda run=run: run.tensors, lambda run=run: run.remarks, lambda run=run: run.config,
                lambda run=run: list(run.edits.values()), lambda run=run: repr(run.edits),
                lambda run=run: list(problems(run)),
                lambda run=run: study.dataset_of_run(run), lambda run=run: run.concepts.table(),
            ):  # fmt: skip
                attempt(read)
    attempt(study.repair)
    attempt(study.verify)


def unmended(study: Study) -> set[str]:
    """What a repair has left broken, besides copies of texts: those are for a person to restore."""
    found = study.verify()
    return set(found.loc[found["state"].eq("broken"), "part"]) - {"texts"}


def opened(folder: Path, **options: Any) -> Study | None:
    found: Study | None = attempt(lambda: wb.open_study(folder, create=False, **options))
    return found


@pytest.mark.full
@pytest.mark.parametrize("name", chosen(FOLDERS | PARTS))
def test_a_hostile_folder_does_no_harm(name: str, copy: Path, own: Path, tmp_path: Path) -> None:
    (FOLDERS | PARTS)[name](copy, own)
    before, out = state(own), tmp_path / "out"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if (study := opened(copy)) is not None:
            with study:
                use(study, out)
        made = attempt(lambda: wb.unpack(copy, tmp_path / "made"))
        if made is not None:
            with made:
                use(made, tmp_path / "out of it")
                assert unmended(made) == set()
    assert state(own) == before


@pytest.mark.full
@pytest.mark.parametrize("name", chosen(PACKS))
def test_a_hostile_pack_does_no_harm(name: str, copy: Path, own: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    PACKS[name](copy, tmp_path / "in" / "pack.zip")
    before, around = state(own), set(tmp_path.iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = attempt(lambda: wb.unpack(tmp_path / "in" / "pack.zip", tmp_path / "made" / "study"))
        if made is not None:
            with made:
                use(made, tmp_path / "out")
                assert unmended(made) == set()
    assert state(own) == before
    assert set(tmp_path.iterdir()) - around <= {tmp_path / name for name in ("made", "out", "settings")}
    assert {path.name for path in (tmp_path / "made").iterdir()} <= {"study"}


def test_there_are_enough_of_them() -> None:
    assert len(FOLDERS) + len(PACKS) >= 150


def test_an_honest_folder_of_somebody_else_opens_without_a_question(copy: Path) -> None:
    with wb.open_study(copy, create=False) as study:
        assert not study.read_only
        assert study.verify().empty
        assert study.concepts().best().name == "what is left"


def test_what_the_look_cannot_clear_is_asked_once_and_by_name(copy: Path, own: Path) -> None:
    FOLDERS["file: written ahead"](copy, own)
    with pytest.raises(NotTrustedError, match="workbench --trust") as asked:
        wb.open_study(copy)
    assert (asked.value.places, asked.value.side_files) == ((), ("catalog.db-wal",))
    # What was written ahead is read now, and what it holds is none of ours; no other question is asked.
    for yes in (True, False):
        with pytest.raises(StudyError, match="the trigger 't', which is none of ours"):
            wb.open_study(copy, trust=yes)


def test_a_place_that_a_study_names_is_asked_for_and_then_known(copy: Path, own: Path, tmp_path: Path) -> None:
    place = f"file://{tmp_path}/elsewhere"
    with wb.open_study(tmp_path / "mine", remote=place) as study:
        assert study.remote is not None
    wb.open_study(tmp_path / "mine").close()
    text = (tmp_path / "mine" / "study.json").read_text()
    (copy / "study.json").write_text(text)
    with pytest.raises(NotTrustedError, match="elsewhere") as asked:
        wb.open_study(copy)
    assert asked.value.places == (place,)
    wb.open_study(copy, trust=True).close()
    wb.open_study(copy).close()
    (copy / "study.json").write_text(text.replace("elsewhere", "nowhere"))
    with pytest.raises(NotTrustedError, match="nowhere"):
        wb.open_study(copy)


@pytest.mark.full
@pytest.mark.skipif(not os.environ.get("WORKBENCH_FULL"), reason="one of the cases of `make test-full`")
@pytest.mark.timeout(3700)
def test_no_hostile_study_takes_much_more_memory_than_the_honest_one(honest: Path, tmp_path: Path) -> None:
    names = [*chosen(FOLDERS | PARTS), *chosen(PACKS)]
    command = [sys.executable, str(Path(__file__).with_name("peaks.py")), str(honest), str(tmp_path / "place"), *names]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=3600)
    assert done.returncode == 0, done.stderr
    peaks = json.loads(done.stdout)
    assert set(peaks) == {"honest folder", "honest pack", *names}
    assert min(peaks.values()) > 0, done.stderr
    for kind, cases in (("folder", FOLDERS), ("pack", PACKS)):
        bound = MOST_MEMORY * peaks[f"honest {kind}"]
        assert {name: peak for name, peak in peaks.items() if name in cases and peak > bound} == {}
