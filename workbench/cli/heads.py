"""The command that edits a head."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench.cli.console import STATE, open_study, say, show_json, show_metrics
from workbench.cli.options import SEVERAL, StudyPath, many
from workbench.errors import ConfigError
from workbench.frames import records


def edit_head(
    study: StudyPath,
    run: Annotated[str, typer.Argument(help="The run of the head.")],
    head: Annotated[str, typer.Argument(help="The name of the head.")],
    weight: Annotated[
        list[str] | None,
        typer.Option(help="A new weight, OUTPUT:CONCEPT=NUMBER, with the number or id of the concept; may be repeated."),
    ] = None,
    mask: Annotated[list[str] | None, typer.Option(help=f"Concepts that no longer count for any output; {SEVERAL}.")] = None,
) -> None:
    """Edit a head: other weights, or concepts that no longer count. The edit is a run of its own, with what it does."""
    from workbench.registry import declared_metrics

    weights = parse_weights(weight or [])
    with open_study(study, create=False) as opened:
        done = opened.edit_head(run, head, weights, many(mask) or [])
        metrics, remarks = done.metrics, done.remarks
    if STATE.json:
        show_json({"run": done.id, "metrics": records(metrics), "remarks": remarks})
        return
    say(f"{done.id}, made from {done.config['run']}")
    show_metrics(metrics, {metric.key: metric for metric in declared_metrics(done.analysis)})
    for remark in remarks:
        say(remark)


def parse_weights(items: list[str]) -> dict[str, dict[int | str, float]]:
    """``OUTPUT:CONCEPT=NUMBER`` items as weights by output and concept.

    Raises:
        ConfigError: An item is of another form.
    """
    weights: dict[str, dict[int | str, float]] = {}
    for item in items:
        place, _, value = item.rpartition("=")
        output, _, concept = place.rpartition(":")
        try:
            weights.setdefault(output, {})[concept] = float(value)
        except ValueError:
            concept = ""
        if not output or not concept:
            raise ConfigError(f"'{item}' is no weight; write --weight OUTPUT:CONCEPT=NUMBER.")
    return weights


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(edit_head)
