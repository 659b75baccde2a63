"""Runs in a process of their own: they can be watched and stopped, and outlive the program that started them.

A job is a folder ``jobs/<id>`` in the study: what was asked (``job.json``), which process does it (``process.json``), how far it
is (``progress.json``), what it printed (``log.txt``), and how it ended (``end.json``, written last).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import psutil
from pydantic import Field
from typing_extensions import TypedDict

from workbench.errors import StudyError, UnknownNameError, WorkbenchError, disk_errors
from workbench.paths import inside, is_file, listed
from workbench.processes import Identity, find_process, has_ended, identity
from workbench.progress import TimeLeft, with_time_left
from workbench.shapes import read_shaped
from workbench.store import tables
from workbench.store.ended import CUT_OFF, sweep
from workbench.writing import write_beside

if TYPE_CHECKING:
    from workbench.study import Study

FOLDER = "jobs"
LOG_SHOWN = 20_000
PROGRESS_SECONDS = 0.2
STOPPED = "It was stopped before it was done."


class Asked(TypedDict, total=False):
    """What a job was asked for, in ``job.json``."""

    analysis: str
    activations: str
    sites: list[str]
    options: dict[str, Any]
    seed: int
    force: bool
    repeats: str
    tolerance: float
    started: str


class Stage(TypedDict, total=False):
    """How far a job is, in ``progress.json``."""

    done: int
    total: Annotated[int, Field(ge=1)]
    text: str


class End(TypedDict, total=False):
    """How a job ended, in ``end.json``."""

    status: Literal["done", "failed", "cancelled"]
    run: str
    error: str
    agrees: bool | None
    remarks: list[str]


@dataclass(frozen=True)
class Job:
    """A run that was started in a process of its own; a snapshot, read from its folder.

    Attributes:
        id: Also the folder's name under ``jobs/``.
        asked: ``analysis, activations, sites, options, seed, force, started``; of one that repeats a run ``repeats``, its id, and
            ``tolerance`` in the place of ``activations``, ``options`` and ``force``.
        status: ``running``, ``done``, ``failed`` or ``cancelled``.
        done, total, text: How far it is.
        run: Id of the run that it made, once it is done.
        error: The sentence that says why it failed.
        agrees: Of one that repeated a run, whether it found the same.
        remarks: Sentences about what it found.
    """

    id: str
    folder: Path
    asked: dict[str, Any]
    status: str
    done: int = 0
    total: int = 1
    text: str = ""
    run: str = ""
    error: str = ""
    agrees: bool | None = None
    remarks: tuple[str, ...] = ()

    def log(self) -> str:
        """The end of what it printed."""
        path = self.folder / "log.txt"
        with suppress(OSError):
            if is_file(path):
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - LOG_SHOWN))
                    return file.read().decode(errors="replace")
        return ""


def start_job(
    study: Study, analysis: str, activations: str, sites: Sequence[str] = (), options: dict[str, Any] | None = None,
    seed: int = 0, force: bool = False,
) -> Job:  # fmt: skip
    """Start an analysis in a process of its own.

    Args:
        study: The study.
        analysis: Its name.
        activations: Id of the activation set.
        sites: The sites to read; all of the set when empty.
        options: The analysis's own.
        seed: Every random choice comes from it.
        force: Run again although a finished run is there.

    Raises:
        UnknownNameError: No such analysis, activation set or site.
        ConfigError: An option does not fit.
    """
    from workbench.analysis import find_analysis
    from workbench.analysis.inputs import find_inputs

    # Errors in the arguments are raised here rather than in the new process.
    kind = find_analysis(analysis)
    own, given = kind.split_options(options or {})
    kind.configured(own)
    find_inputs(study, analysis, kind.inputs, given)
    chosen = study.activation_set(activations)
    if sites:
        chosen.select(list(sites))
    asked = {
        "analysis": analysis, "activations": chosen.id, "sites": list(sites), "options": options or {}, "seed": seed,
        "force": force,
    }  # fmt: skip
    return _begin(study, asked)


def start_repetition(study: Study, run: str, tolerance: float = 0.0) -> Job:
    """Do a run again in a process of its own, and hold what it finds against the first; see :meth:`workbench.Study.repeat`.

    Raises:
        UnknownNameError: There is no such run.
        ConfigError: It did not finish, or the tolerance is no share.
    """
    from workbench.repeating import require_repeatable

    first = study.get_run(run)
    require_repeatable(first, tolerance)
    facts = {"analysis": first.analysis, "sites": first.record["inputs"].get("sites") or [], "seed": int(first.record["seed"])}
    return _begin(study, {"repeats": first.id, "tolerance": tolerance, **facts})


def _begin(study: Study, asked: dict[str, Any]) -> Job:
    study.require_writable("the study")
    folder = inside(study.folder, FOLDER, f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{uuid.uuid4().hex[:6]}")
    with disk_errors("the job"):
        folder.mkdir(parents=True)
        _write(folder / "job.json", asked | {"started": tables.now()})
    source = str(Path(__file__).resolve().parents[1])
    paths = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_DISABLE_TELEMETRY": "1", "WANDB_MODE": "disabled"}
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workbench.jobs", str(folder)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
        )  # fmt: skip
    # The process may have ended already; then end.json says how.
    with suppress(psutil.Error):
        _write(folder / "process.json", identity(process.pid))
    return find_job(study, folder.name)


def find_job(study: Study, identifier: str) -> Job:
    """How a job stands.

    Raises:
        UnknownNameError: There is none of that id.
    """
    # Looked up in a listing rather than joined, so that an id can never be a path to elsewhere.
    folders = {folder.name: folder for folder in _folders(study)}
    if identifier not in folders:
        raise UnknownNameError("job", identifier, folders)
    return _read(study, folders[identifier])


def jobs(study: Study) -> list[Job]:
    """Every job of the study, newest first."""
    return [_read(study, folder) for folder in reversed(_folders(study))]


def cancel_job(study: Study, identifier: str, wait: float = 15) -> Job:
    """Stop a job: its run is recorded as cancelled and what was half done is removed.

    Raises:
        UnknownNameError: There is no such job.
        StudyError: It runs on another machine.
    """
    job = find_job(study, identifier)
    if job.status != "running":
        return job
    known = _load(job.folder / "process.json", Identity)
    process = find_process(known)
    if known and process is None and not has_ended(known):
        raise StudyError(f"Job {job.id} runs on the machine {known.get('host')}; stop it there.")
    if process is not None:
        process.terminate()
        try:
            process.wait(wait)
        except psutil.TimeoutExpired:
            for one in [*process.children(recursive=True), process]:
                with suppress(psutil.Error):
                    one.kill()
            process.wait(wait)
    if not (job.folder / "end.json").exists():
        _end(job.folder, "cancelled", error=STOPPED)
    sweep(study, "cancelled", STOPPED)
    return find_job(study, identifier)


def _folders(study: Study) -> list[Path]:
    return [folder for folder in listed(study.folder, FOLDER) if is_file(folder / "job.json")]


def _read(study: Study, folder: Path) -> Job:
    asked, end, progress = (
        _load(folder / "job.json", Asked),
        _load(folder / "end.json", End),
        _load(folder / "progress.json", Stage),
    )
    if not end and has_ended(_load(folder / "process.json", Identity)):
        # It may have written end.json between the two checks.
        end = _load(folder / "end.json", End)
        if not end:
            end = {"status": "failed", "error": CUT_OFF}
            # With read-only access the end is only reported, not recorded.
            if not study.read_only:
                _end(folder, "failed", error=CUT_OFF)
                sweep(study)
    return Job(
        folder.name, folder, asked, end.get("status", "running"), progress.get("done", 0), progress.get("total", 1),
        progress.get("text", ""), end.get("run", ""), end.get("error", ""), end.get("agrees"), tuple(end.get("remarks", ())),
    )  # fmt: skip


def _load(path: Path, shape: type[Any]) -> dict[str, Any]:
    """The content of one of a job's files; empty if it is missing or invalid."""
    with suppress(StudyError):
        return dict(read_shaped(path, shape))
    return {}


def _write(path: Path, value: dict[str, Any]) -> None:
    write_beside(path, json.dumps(value))


def _end(folder: Path, status: str, run: str = "", error: str = "", **found: Any) -> None:
    _write(folder / "end.json", {"status": status, "run": run, "error": error, **found})


class _Worker:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = 0.0
        self.left = TimeLeft()

    def show(self, done: int, total: int, text: str) -> None:
        self.left.update(done, total, text)
        if done < total and time.monotonic() - self.last < PROGRESS_SECONDS:
            return
        self.last = time.monotonic()
        shown = with_time_left(text, self.left.seconds)
        _write(self.folder / "progress.json", {"done": done, "total": max(total, 1), "text": shown})

    def work(self) -> None:
        from workbench.opening import open_study
        from workbench.repeating import agreement

        asked = read_shaped(self.folder / "job.json", Asked)
        # The process that started the job had the study open, so it is trusted.
        with open_study(self.folder.parent.parent, create=False, trust=True) as study:
            if "repeats" in asked:
                repetition = study.repeat(asked["repeats"], asked["tolerance"], self.show)
                remarks = [agreement(repetition.table, repetition.tolerance), *repetition.remarks]
                _end(self.folder, "done", run=repetition.run.id, agrees=repetition.agrees, remarks=remarks)
                return
            acts = study.activation_set(asked["activations"])
            chosen = acts.select(asked["sites"]) if asked["sites"] else acts
            run = study.run(
                asked["analysis"], chosen, seed=asked["seed"], force=asked["force"], progress=self.show, **asked["options"]
            )
        _end(self.folder, "done", run=run.id)


def _stop(_signal: int, _frame: Any) -> None:
    # A second signal must not interrupt the clean-up that the first began.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _main(folder: Path) -> int:
    signal.signal(signal.SIGTERM, _stop)
    _write(folder / "process.json", identity())
    try:
        _Worker(folder).work()
    except KeyboardInterrupt:
        _end(folder, "cancelled", error=STOPPED)
        return 130
    except WorkbenchError as error:
        _end(folder, "failed", error=str(error))
        return error.exit_code
    except Exception as error:
        _end(folder, "failed", error=f"{type(error).__name__}: {error}"[:2000])
        raise
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
