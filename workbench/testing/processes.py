"""Checks of an analysis that need another process, or see what a process opens and how much memory it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.registry import GROUP

if TYPE_CHECKING:
    from workbench.analysis import Analysis, Context, Result
    from workbench.store.runs import Run
    from workbench.testing.conformance import Conformance

READS = ("activations", "datasets", "cache")
"""Folders of a study in which an analysis may open files, by way of its context."""
STATUS = Path("/proc/self/status")
FEW_ROWS, WIDTH, WORDS = 20_000, 128, 100
COPIES = 12
"""How many copies of the rows an analysis may hold that declares no largest number of rows."""
ROOM_MIB = 48.0
"""Memory by which two runs of the same size differ."""

READ = """
import sys
from pathlib import Path
import workbench as wb
from workbench.reports import export_run
folder, name, scratch, tolerance = sys.argv[1:]
with wb.open_study(folder, create=False) as study:
    run = study.get_run(name)
    assert study.verify().empty, study.verify().to_string()
    assert all(bool(one.directions().isfinite().all()) for one in run.sets), "a direction is not finite"
    [run.tables[table] for table in run.tables], [run.figures[figure] for figure in run.figures], run.tensors
    found = study.repeat(run, float(tolerance))
    assert found.agrees, found.table[~found.table["agrees"]].to_string()
    study.report(Path(scratch, "report.html"), runs=[run.id])
    export_run(run, Path(scratch, "exported"))
"""
PEAK = """
import sys, threading, time
import workbench as wb
from workbench.shapes import parse_json
from workbench.testing.processes import anonymous_mib
folder, name, options = sys.argv[1:]
with wb.open_study(folder, create=False) as study:
    acts, seen, ended = study.activation_set(), [], threading.Event()
    def watch():
        while not ended.is_set():
            seen.append(anonymous_mib())
            time.sleep(0.005)
    watching = threading.Thread(target=watch)
    watching.start()
    try:
        study.run(name, acts, **parse_json(options))
    finally:
        ended.set()
    watching.join()
    print(max(seen))
"""


def is_installed(name: str) -> bool:
    """Whether a new process knows the analysis: an installed package offers it."""
    return any(point.name == name for point in entry_points(group=GROUP))


def in_new_process(code: str, *arguments: Any) -> str:
    """What Python code prints in a new process, with as many threads as this one: they decide how sums are rounded.

    Raises:
        AssertionError: It failed; the message is the end of what it printed.
    """
    import torch

    code = f"import torch\ntorch.set_num_threads({torch.get_num_threads()})\n{code}"
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"a new process failed: {done.stderr[-1500:]}")
    return done.stdout


def read_elsewhere(folder: Path, run: str, scratch: Path, tolerance: float) -> None:
    """Read, verify, repeat, report and export a run in a new process, where one knows the analysis."""
    if is_installed(run.rpartition("-")[0]):
        in_new_process(READ, folder, run, scratch, tolerance)


def opened_by(kind: type[Analysis], folder: Path, work: Callable[[], Run]) -> list[Path]:
    """Files of a study that an analysis opens while it runs, other than activations, data and runs that are its inputs."""
    opened: list[Path] = []
    running = False

    def seen(event: str, arguments: tuple[Any, ...]) -> None:
        if not running or event not in {"open", "sqlite3.connect"} or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = Path(os.path.realpath(os.fsdecode(arguments[0])))
        if path.is_relative_to(home) and path.relative_to(home).parts[:1] not in {(name,) for name in READS}:
            opened.append(path.relative_to(home))

    def run(self: Analysis, context: Context) -> Result:
        nonlocal running
        running = True
        try:
            return original(self, context)
        finally:
            running = False

    home, original, own = Path(os.path.realpath(folder)), kind.run, "run" in vars(kind)
    sys.addaudithook(seen)
    kind.run = run  # type: ignore[method-assign]
    try:
        inputs = work().record["inputs"].get("parents", [])
    finally:
        if own:
            kind.run = original  # type: ignore[method-assign]
        else:
            del kind.run
    return sorted({path for path in opened if path.parts[:2] not in {("runs", name) for name in inputs}}, key=str)


def memory_is_bounded(trial: Conformance) -> None:
    """Compare the memory of a run with that of one of twice the rows, in new processes.

    Raises:
        AssertionError: It grows by more than the analysis declares.
    """
    if not is_installed(trial.name) or not STATUS.exists():
        return
    rows = FEW_ROWS if trial.kind.most_rows is None else 2 * trial.kind.most_rows
    width = WIDTH if trial.kind.most_rows is None else 2 * WIDTH
    peaks, sizes = [], []
    for times in (1, 2):
        world = trial.world(f"rows{times}", examples=times * rows // WORDS, words=WORDS, width=width)
        sizes.append(world.activations.n_rows * sum(world.activations.at(s).width() for s in world.activations.sites) * 4 / 2**20)
        world.study.close()
        options = json.dumps(trial.options)
        peaks.append(float(in_new_process(PEAK, world.study.folder, trial.name, options)))
    more, grew = sizes[1] - sizes[0], peaks[1] - peaks[0]
    most = ROOM_MIB + (COPIES * more if trial.kind.most_rows is None else more / 2)
    if grew > most:
        raise AssertionError(f"with {more:.0f} MiB more of rows it takes {grew:.0f} MiB more memory, and may take {most:.0f}.")


def anonymous_mib() -> float:
    """Memory of this process that is no file's, in MiB; files that are mapped come and go as the system likes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("RssAnon:"))
    return float(line.split()[1]) / 1024
