"""The command's root: its sub-commands, and how errors reach the person."""

from __future__ import annotations

import difflib
import os
import signal
import sys
import warnings
from contextlib import suppress
from functools import cache
from typing import Annotated, Any

import typer

from workbench.cli import streams
from workbench.cli.console import STATE, errors, json_text
from workbench.cli.options import RENAMED
from workbench.errors import NO_ROOM, DiskFullError, WorkbenchError, WorkbenchWarning, one_line

app = typer.Typer(
    name="workbench",
    help="Find, name, test and intervene on the concepts inside a model.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

FULL, INTERRUPTED = DiskFullError.exit_code, 130
STOPPED = "Stopped. What was finished is kept: a capture goes on from there with the same command, a run begins again."
# Typer has its own copy of click in newer versions and uses the installed one in older: the base of its usage errors is this.
UsageProblem: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


@app.callback()
def options(
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON, and nothing else, on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Open a study from elsewhere that names places to contact or was not closed: once."),
    ] = False,
) -> None:
    """Options of every command."""
    STATE.json, STATE.quiet, STATE.debug, STATE.trust = as_json, quiet, debug, trust


@cache
def _load() -> None:
    """Register the commands: once, however often a process calls :func:`main`."""
    from workbench.cli import exchange, heads, inspect, labels, serve, share, steer, work
    from workbench.cli import integrity as care

    for module in (work, heads, labels, inspect, steer, exchange, share, care, serve):
        module.add_to(app)


def main(arguments: list[str] | None = None) -> None:
    """Parse, run, and exit.

    The code is 0 when it went well, 1 when a study is broken or a repeated run differs, 2 for a mendable error, 3 for a full
    disk, 130 for Ctrl-C.
    """
    # Libraries print, and contact their makers, unless told otherwise.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("WANDB_MODE", "disabled")
    # Messages of Ray's processes would be mixed with the results on standard output.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    signal.signal(signal.SIGTERM, _terminated)
    _load()
    STATE.reset()
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except (BrokenPipeError, streams.NobodyReadsError):
        streams.let_go()
        code = 0
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        streams.let_go()
        code = _say("There is no room for what is written: free some space and run the same command again.", FULL, ended=True)
    sys.exit(code)


def _run(arguments: list[str] | None) -> int:
    """Run a command, and say what went wrong; its exit code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", WorkbenchWarning)
            warnings.showwarning = _noted
            code = app(args=arguments, standalone_mode=False)
    except UsageProblem as error:
        return _say(_usage(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        return _say(STOPPED, INTERRUPTED)
    except WorkbenchError as error:
        if STATE.debug:
            raise
        return _say(str(error), error.exit_code)
    if code == INTERRUPTED:
        return _say(STOPPED, INTERRUPTED)
    return code if isinstance(code, int) else 0


def _noted(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: str | None = None
) -> None:
    """A warning of the workbench as the sentence that it is; one of a library as Python shows it."""
    if issubclass(category, WorkbenchWarning):
        errors.print(f"Note: {one_line(str(message))}", markup=False, highlight=False, soft_wrap=True)
    else:
        (file or sys.stderr).write(warnings.formatwarning(message, category, filename, lineno, line))


def _usage(error: Exception) -> str:
    """What is wrong with how a command was called: of an unknown option, what it is called now, or the nearest that there is."""
    unknown = getattr(error, "option_name", None)
    if unknown is None or "possibilities" not in vars(error):
        return str(getattr(error, "format_message", error.__str__)())
    command = getattr(getattr(error, "ctx", None), "command", None)
    there = [name for parameter in getattr(command, "params", []) for name in getattr(parameter, "opts", []) if name[:2] == "--"]
    called = getattr(command, "name", None) or "workbench"
    if RENAMED.get(unknown) in there:
        return f"The option {unknown} of {called} is called {RENAMED[unknown]} now."
    close = difflib.get_close_matches(unknown, there, n=1, cutoff=0.5)
    meant = f" Did you mean {close[0]}?" if close else ""
    return f"{called} has no option {unknown}.{meant} `workbench {called} --help` lists them."


def _terminated(_signal: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def _say(text: str, code: int, ended: bool = False) -> int:
    """Print what went wrong, as JSON on standard output if that is asked for and still open. Returns the exit code."""
    # Arguments may be copied from elsewhere: names must not send control codes to the terminal.
    text = one_line(text)
    if STATE.json and not ended:
        print(json_text({"error": text}))
        return code
    # If even this cannot be written, the exit code remains.
    with suppress(OSError):
        errors.print(f"Error: {text}", markup=False, highlight=False, style="red", soft_wrap=True)
    return code
