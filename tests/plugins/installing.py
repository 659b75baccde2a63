"""Plug-ins are installed as anybody's package is, into a folder of their own, and used in new processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# Not beside the tests: their folder is on the path of a test run, where "bottleneck" would be taken for a library of pandas.
HERE = Path(__file__).parent / "packages"


def installed(name: str, into: Path) -> Path:
    """Install a plug-in of this folder into ``into``; a process that has it on its path has the plug-in."""
    command = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(into)]
    # A build writes beside its sources, which are left as they are.
    source = into.with_name(f"{name} source")
    source.mkdir(parents=True)
    for file in (HERE / name).iterdir():
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())
    subprocess.run([sys.executable, *command, str(source)], check=True, capture_output=True)
    return into


def in_new_process(code: str, *paths: Path) -> str:
    """What Python code prints in a new process with these folders on its path."""
    done = _process(code, (), paths)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def workbench(*arguments: str, paths: tuple[Path, ...] = ()) -> tuple[int, str]:
    """Exit code and output of the command line in a new process."""
    done = _process("from workbench.cli import main; main()", arguments, paths)
    return done.returncode, done.stdout + done.stderr


def _process(code: str, arguments: tuple[str, ...], paths: tuple[Path, ...]) -> subprocess.CompletedProcess[str]:
    before = os.environ.get("PYTHONPATH", "")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, paths), *filter(None, [before])])}
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
