"""What the commands print: tables, JSON, progress."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from workbench.cli.streams import NobodyReadsError, only_ascii
from workbench.frames import records
from workbench.measurements import corrections, first_of_each, shown_of
from workbench.numbers import count, number, p_value
from workbench.progress import Progress as Report
from workbench.progress import TimeLeft, silent, time_text
from workbench.statistics import rows

if TYPE_CHECKING:
    from workbench.metrics import Metric
    from workbench.study import Study

ROWS = 20
"""Of metrics, about as many as are printed."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise an error of our own, on which the command's root exits as if all output had been read."""
        raise NobodyReadsError


console = _Console(width=None if sys.stdout.isatty() else 180)
errors = Console(stderr=True, width=None if sys.stderr.isatty() else 180)


LINE_EVERY_S, LEAST_TOLD_S = 60.0, 2.0
COUNTS = frozenset({*rows.COUNTS, "rows", "examples", "documents", "positive", "negative", "n_first", "n_second"})
P_VALUES = frozenset({*rows.P_VALUES, "detects.q"})
# Columns whose values are copied from the terminal into the next command.
IDS = frozenset({"id", "concept", "other", "run"})


@dataclass
class State:
    """Options of the whole command."""

    json: bool = False
    quiet: bool = False
    debug: bool = False
    trust: bool = False

    def reset(self) -> None:
        """Back to the defaults, for a second call in one process."""
        self.json = self.quiet = self.debug = self.trust = False


STATE = State()


def visible(value: Any, limit: int = 60) -> str:
    """A cell as one line of visible characters, so that no token or name can send control codes to the terminal."""
    if value is None or isinstance(value, float):
        return number(value)
    text = "".join(c if c.isprintable() else "·" for c in str(value))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _cells(column: pd.Series, limit: int) -> list[str]:
    if column.name in P_VALUES and pd.api.types.is_float_dtype(column):
        return [p_value(value) for value in column]
    # Counts become floats where a row has none.
    if column.name in COUNTS and pd.api.types.is_numeric_dtype(column):
        return [count(value) for value in column]
    return [visible(value, limit) for value in column]


def show_table(frame: pd.DataFrame, title: str = "", limit: int = 60) -> None:
    """Print a data frame: as JSON records, or as a table."""
    if STATE.json:
        show_json(records(frame))
        return
    table = Table(
        title=title or None,
        title_justify="left",
        header_style="bold",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    cells = [_cells(frame.iloc[:, place], limit) for place in range(frame.shape[1])]
    widths = {name: max(map(len, column), default=0) for name, column in zip(frame.columns, cells, strict=True) if name in IDS}
    # If columns are too wide together, those other than ids are wrapped, provided that the ids fit into a line.
    whole = sum(widths.values()) <= console.width / 2
    for column in frame.columns:
        table.add_column(
            str(column),
            justify="right" if pd.api.types.is_numeric_dtype(frame[column]) else "left",
            overflow="fold",
            no_wrap=whole and column in IDS,
        )
    for row in zip(*cells, strict=True):
        table.add_row(*[Text(cell) for cell in row])
    console.print(table)


def open_study(path: Path, **options: Any) -> Study:
    """The study of a command; see :func:`workbench.open_study`. With ``--trust``, one from elsewhere is trusted."""
    from workbench.opening import open_study as opened

    return opened(path, trust=STATE.trust, **options)


def show_json(value: Any) -> None:
    """Print JSON; numbers that are not finite become null."""
    try:
        print(json_text(value), flush=True)
    except BrokenPipeError:
        raise NobodyReadsError from None


def json_text(value: Any) -> str:
    """JSON in one line; characters that do not show, such as those that turn the direction of a line, are written as escapes."""
    text = json.dumps(_clean(value), ensure_ascii=only_ascii(), default=str)
    return text if text.isprintable() else "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in text)


def say(text: str) -> None:
    """Print a sentence, unless only JSON is wanted."""
    if not STATE.json:
        # Only our own line ends are kept; names must not send control codes to the terminal.
        lines = ("".join(c if c.isprintable() else "·" for c in line) for line in text.split("\n"))
        console.print(Text("\n".join(lines)), soft_wrap=True)


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextmanager
def progress() -> Iterator[Report]:
    """A progress callback that draws bars with the time left on standard error; each step has a bar."""
    if STATE.quiet or STATE.json:
        yield silent
        return
    if not errors.is_terminal:
        yield _plain_lines()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=errors) as bars:
        left, task = TimeLeft(), TaskID(0)

        def show(done: int, total: int, text: str) -> None:
            nonlocal task
            if left.update(done, total, text):
                task = bars.add_task(visible(text, 80), total=max(total, 1), left="")
            rest = "" if left.seconds is None else f"{time_text(left.seconds)} left"
            bars.update(task, completed=done, total=max(total, 1), description=visible(text, 80), left=rest)

        yield show


def _plain_lines() -> Report:
    """For a log file: a line for each new step, one when a tenth of a long step is done, and one a minute after that."""
    since, last_shown, tenth = time.monotonic(), 0.0, False
    left = TimeLeft()

    def show(done: int, total: int, text: str) -> None:
        nonlocal last_shown, tenth
        now = time.monotonic()
        if left.update(done, total, text):
            last_shown, tenth = now, False
            line = visible(text, 100)
        elif (
            left.seconds
            and left.elapsed >= LEAST_TOLD_S
            and (now - last_shown >= LINE_EVERY_S or (not tenth and done >= total / 10))
        ):
            last_shown, tenth = now, done >= total / 10
            line = f"{visible(text, 100)}, {done / total:.0%} done, {time_text(left.seconds)} left"
        else:
            return
        errors.print(f"{now - since:6.0f} s  {line}", markup=False, highlight=False)

    return show


def show_metrics(metrics: pd.DataFrame, declared: dict[str, Metric]) -> None:
    """Print metrics: about 20 rows, some of each metric, and which those are."""
    most = max(ROWS // max(metrics["metric"].nunique(), 1), 1) if len(metrics) > ROWS else ROWS
    found = first_of_each(metrics, declared, most)
    columns = ("metric", "site", "label", "class", "value", "standard_error", *rows.SHOWN[1:])
    shown = found[[c for c in columns if c in found and found[c].notna().any()]]
    show_table(shown.rename(columns={"standard_error": "sampling error"}))
    for sentence in filter(None, (shown_of(metrics, found, declared), *corrections(found, declared))):
        say(sentence)
