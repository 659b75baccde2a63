"""Commands that move a study: into one file, out of it, and back to its activations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.cli.console import STATE, open_study, progress, say, show_json
from workbench.cli.options import CatalogUrl, StudyPath


def pack(
    study: StudyPath,
    file: Annotated[Path | None, typer.Argument(help="The file to write; STUDY.zip when left out.")] = None,
    activations: Annotated[bool, typer.Option(help="Put the activations in as well.")] = False,
) -> None:
    """Write a study into one file, without its activations."""
    with open_study(study, create=False) as opened, progress() as show:
        path = opened.pack(file or Path(f"{opened.name}.zip"), activations, show)
    size = path.stat().st_size
    if STATE.json:
        show_json({"file": str(path), "bytes": size})
    else:
        say(f"Wrote {path}, {size / 2**20:.1f} MiB.")


def unpack(
    file: Annotated[
        str,
        typer.Argument(help="A file that `workbench pack` wrote, the folder of a study, or the name of a bundled one: steer."),
    ],
    study: Annotated[Path | None, typer.Argument(help="The folder to make; studies/NAME when left out.")] = None,
    catalog: CatalogUrl = None,
) -> None:
    """Make a study of a packed one, or of the folder of somebody else's: only what belongs to a study is taken."""
    from workbench.opening import unpack as make

    with progress() as show, make(file, study or Path("studies") / Path(file).stem, catalog, show) as opened:
        if STATE.json:
            show_json({"study": str(opened.folder)})
        else:
            say(f"{opened!r} in {opened.folder}")


def recapture(study: StudyPath) -> None:
    """Capture the activations again that were left out when the study was packed."""
    with open_study(study, create=False) as opened, progress() as show:
        captured = opened.recapture(show)
    if STATE.json:
        show_json({"activations": [acts.id for acts in captured]})
        return
    for acts in captured:
        say(repr(acts))
    if not captured:
        say("Nothing was left out: all activations are there.")


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    root.command()(pack)
    root.command()(unpack)
    root.command()(recapture)
