"""The command that shows and changes the labels, groups and splits of captured data, without capturing again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import STATE, open_study, say, show_json, show_table
from workbench.cli.options import Encoding, Group, Labels, Missing, Split, StudyPath, many
from workbench.frames import records


def labels(
    study: StudyPath,
    table: Annotated[
        Path | None, typer.Argument(help="A table with further columns: .csv, .tsv, .jsonl or .parquet.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="The column that table and data share and that tells the example of a row, such as an id; the text when"
                          " left out."),
    ] = None,
    labels: Labels = None,
    group: Group = None,
    split: Split = None,
    missing: Missing = None,
    encoding: Encoding = None,
    acts: Annotated[str | None, typer.Option(help="The activation set's id; the newest when left out.")] = None,
) -> None:  # fmt: skip
    """Show the columns that a study keeps of its data, or choose other labels, groups or splits; nothing is captured again."""
    options = {"key": key, "labels": many(labels), "group": group, "split": split, "missing": many(missing), "encoding": encoding}
    options = {name: value for name, value in options.items() if value is not None}
    with open_study(study, create=False) as opened:
        found = opened.activation_set(acts)
        before = opened.dataset_of(found)
        data = opened.relabel(table, found, **options) if options or table is not None else before
    notes = [note for note in data.notes if note not in before.notes]
    columns = data.columns()
    if STATE.json:
        facts: dict[str, Any] = {"activations": found.id, "data": data.name, "hash": data.hash, "notes": notes}
        show_json(facts | {"splits": data.describe()["splits"], "columns": records(columns)})
        return
    say(repr(replace(data, notes=tuple(notes) if notes or data is not before else data.notes)))
    if data is not before:
        say("The activations are as they were; the next runs read these labels, groups and splits.")
    show_table(columns)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(labels)
