"""Commands that look after a study: is it whole, drop what is broken, how did it come to be."""

from __future__ import annotations

import sys
from typing import Annotated

import pandas as pd
import typer

from workbench.cli.console import STATE, open_study, progress, say, show_json, show_table, visible
from workbench.cli.options import RemoteUrl, StudyPath
from workbench.errors import ConfigError
from workbench.frames import records
from workbench.memory import size_text

BROKEN = 1
RemoteContent = Annotated[
    bool, typer.Option("--remote-content", help="Read every byte at the study's remote too, not only what is there and how long.")
]

app = typer.Typer(name="study", help="Look after a study.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def verify(study: StudyPath, remote_content: RemoteContent = False) -> None:
    """Read every byte of a study and say what is wrong, at its remote too; exit code 1 when something is broken."""
    with open_study(study, create=False) as opened, progress() as show:
        found = opened.verify(remote_content, show)
    if STATE.json:
        show_json(records(found))
    for row in records(found) if not STATE.json else []:
        where = "/".join(visible(part) for part in (row["name"], row["file"]) if part)
        say(f"{row['state']}: {row['part']} {where}: {visible(row['problem'], 300)}")
    broken = found["state"].eq("broken").any()
    say("Something is broken; `workbench study repair` mends or drops it." if broken else "Nothing is broken.")
    raise typer.Exit(BROKEN if broken else 0)


@app.command()
def repair(study: StudyPath, remote_content: RemoteContent = False) -> None:
    """Drop what is broken, put again what is damaged at the remote, and say so; exit code 1 when something needs a person."""
    with open_study(study, create=False) as opened, progress() as show:
        done = opened.repair(remote_content, show)
    if STATE.json:
        show_json(records(done))
    for row in records(done) if not STATE.json else []:
        say(f"{row['part']} {visible(row['name'])}: {visible(row['action'], 300)}")
    if done.empty:
        say("Nothing is broken.")
    raise typer.Exit(0 if done["mended"].all() else BROKEN)


@app.command()
def log(study: StudyPath) -> None:
    """Show activation sets and runs, each below what it came from."""
    with open_study(study, create=False) as opened:
        table = opened.log()
    if STATE.json:
        show_json(records(table))
        return
    indented = ["  " * depth + name for depth, name in zip(table["depth"], table["id"], strict=True)]
    show_table(table.assign(id=indented)[["id", "what", "status", "seed", "seconds", "peak_mib", "started"]])


@app.command()
def usage(study: StudyPath) -> None:
    """Show what takes how much room: runs, activations, data sets, the cache, the catalog, and what was cut short."""
    with open_study(study, create=False) as opened:
        table = opened.usage()
    if STATE.json:
        show_json(records(table))
        return
    show_table(table.assign(bytes=[f"{n:,}" for n in table["bytes"]], needed_by=[n or "" for n in table["needed_by"]]))
    say(f"{size_text(table['bytes'].sum())} in {table['files'].sum():,} files.")


def delete(
    study: StudyPath,
    ids: Annotated[list[str], typer.Argument(help="Ids of runs and activation sets, or their first characters.")],
    with_dependents: Annotated[
        bool, typer.Option("--with-dependents", help="Delete what depends on them as well: runs, and what people wrote on those.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
) -> None:
    """Delete runs and activation sets that nothing needs; `workbench study log` still shows that they were."""
    from workbench.store.deleting import require_deletable

    with open_study(study, create=False) as opened:
        table = opened.delete(ids, with_dependents, dry_run=True)
        if not dry_run:
            # What may not be deleted is refused before anything is asked.
            require_deletable(opened, ids, with_dependents)
            if not yes:
                _ask(table)
            table = opened.delete(ids, with_dependents)
    if STATE.json:
        show_json(records(table))
        return
    _list(table)
    say(f"{'Would free' if dry_run else 'Deleted'}: {size_text(table['bytes'].sum())}.")


def _list(table: pd.DataFrame) -> None:
    show_table(table.assign(bytes=[f"{n:,}" for n in table["bytes"]])[["part", "name", "what", "bytes", "why"]])


def _ask(table: pd.DataFrame) -> None:
    """A yes or no, where somebody can give it."""
    if STATE.json or not sys.stdin.isatty():
        raise ConfigError("Nothing was deleted: say --yes to delete without being asked, or --dry-run to see what would go.")
    _list(table)
    if not typer.confirm(f"Delete these, {size_text(table['bytes'].sum())} in all?"):
        raise ConfigError("Nothing was deleted.")


@app.command()
def push(study: StudyPath, remote: RemoteUrl = None) -> None:
    """Copy what is whole in the study's folder to its remote, where it is not there yet."""
    with open_study(study, create=False, remote=remote) as opened:
        _moved(opened.push(), "Everything is there already.")


@app.command()
def pull(study: StudyPath) -> None:
    """Fetch what is at the study's remote and not in its folder."""
    with open_study(study, create=False) as opened:
        _moved(opened.pull(), "Everything is here already.")


def _moved(names: list[str], nothing: str) -> None:
    if STATE.json:
        show_json(names)
    for name in names or [nothing]:
        say(name)


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    root.add_typer(app)
    root.command()(delete)
