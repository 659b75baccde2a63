"""The `workbench` command."""

from __future__ import annotations

from typing import Any


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line and exit with its code."""
    from workbench.cli import streams

    # Before anything is opened or looks at the streams.
    streams.prepare()
    from workbench.cli.root import main as run

    return run(arguments)
