"""Commands that intervene: steer text by concepts of a study, replay a recipe, look through the logit lens."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.console import STATE, open_study, say, show_json, show_table
from workbench.cli.options import Check, Dtype, Sites, StudyPath, loaded_model, many
from workbench.conversations import POSITIONS_HELP, check_positions
from workbench.errors import ConfigError
from workbench.evidence.steered import counts_of
from workbench.frames import records
from workbench.numbers import corrected_p

if TYPE_CHECKING:
    from workbench.recipes import RecipeStep
    from workbench.study import Study


def steer(
    study: StudyPath,
    concept: Annotated[
        list[str] | None,
        typer.Option(help="ID=AMOUNT or ID=ACTION:AMOUNT; may be repeated. Actions: add, clamp, ablate, set, scale."),
    ] = None,
    prompt: Annotated[str, typer.Option(help="What is continued.")] = "",
    chat: Annotated[
        bool, typer.Option("--chat", help="The prompt is a message of the user, which a chat model answers.")
    ] = False,
    system: Annotated[str, typer.Option(help="With --chat: a message of the system before it.")] = "",
    positions: Annotated[str, typer.Option(help=POSITIONS_HELP + " Everywhere when left out.")] = "",
    recipe: Annotated[Path | None, typer.Option(help="Replay this recipe instead.")] = None,
    tokens: Annotated[int, typer.Option(help="At most so many new tokens.")] = 40,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token; above, tokens are drawn.")] = 0.0,
    top_k: Annotated[int | None, typer.Option(help="Draw among the likeliest so many.")] = None,
    seed: Annotated[int, typer.Option(help="Of the drawing.")] = 0,
    special: Annotated[bool, typer.Option("--special", help="Also change special tokens, such as the prompt's first.")] = False,
    save: Annotated[Path | None, typer.Option(help="Write the recipe here, as JSON.")] = None,
) -> None:
    """Continue a prompt with and without concepts of a study, side by side (causal language models)."""
    from workbench.models.generation import collect
    from workbench.recipes import Recipe

    if (recipe is None) == (not concept):
        raise ConfigError("Give either --recipe FILE, or --concept ID=AMOUNT with a --prompt.")
    if recipe is not None:
        if special:
            raise ConfigError("A recipe says itself whether special tokens are changed: leave --special out.")
        loaded = Recipe.load(recipe)
    else:
        if positions:
            check_positions(positions)
        steps = [parse_step(item) | {"special": special, "positions": positions} for item in concept or []]
        loaded = Recipe.made(
            steps=steps,
            **_opening_options(prompt, chat, system),
            max_new_tokens=tokens,
            temperature=temperature,
            top_k=top_k,
            seed=seed,
        )
    with open_study(study, create=False) as opened:
        loaded = loaded if loaded.weights_hash else loaded.bound(opened)
        found = collect(loaded.opening, loaded.stream(opened))
        lines = [_step_text(opened, step) for step in loaded.steps]
    if save is not None:
        loaded.save(save)
    if STATE.json:
        show_json({"base": found.texts[0], "edited": found.texts[1], "recipe": loaded.model_dump()})
        return
    start = f"{loaded.opening}\n\nassistant: " if loaded.messages else loaded.prompt
    for line in lines:
        say(line)
    say(f"\nBase:   {start}{found.texts[0]}\n\nEdited: {start}{found.texts[1]}")
    if save is not None:
        print(f"Wrote {save}", file=sys.stderr)


def _step_text(study: Study, step: RecipeStep) -> str:
    """A step in words; what is added also on both scales of a dose, where the study knows them."""
    concept = study.concept(step.concept)
    line = f"{step.action} {step.amount:g}: '{concept.name}' ({step.concept})"
    doses = study.doses(concept.site)
    if step.action != "add" or doses is None:
        return line
    dose = step.amount / doses.unit
    return (
        f"{line}\n  a dose of {dose:.3g} deviations of the activations at {concept.site}; random directions of that size cost"
        f" about {doses.cost_at(dose):.1%} of the next-token loss"
    )


def _opening_options(prompt: str, chat: bool, system: str) -> dict[str, Any]:
    """The prompt, or the messages that it is."""
    if system and not chat:
        raise ConfigError("A message of the system is for a chat model: give --chat too.")
    before = [{"role": "system", "content": system}] if system else []
    return {"messages": [*before, {"role": "user", "content": prompt}]} if chat else {"prompt": prompt}


def steered(study: StudyPath) -> None:
    """List the concepts that were steered: effect on their own tokens, price, and what random directions reach."""
    with open_study(study, create=False) as opened:
        table = opened.steered()
    if STATE.json:
        show_json(records(table))
        return
    if table.empty:
        say(f"No concept has been steered yet: `workbench examine {study} RUN` steers those of a causal language model.")
        return
    columns = [
        "name",
        "method",
        "tokens",
        "dose",
        "odds",
        "null_high",
        "times_null",
        "p",
        "p_corrected",
        "cost",
        "verdict",
        "concept",
    ]
    show_table(table.assign(p_corrected=list(map(corrected_p, table["p"], table["p_corrected"])))[columns])
    say(counts_of(table))


def lens(
    model: Annotated[str, typer.Argument(help="A causal language model: bundled name, hub name, or local folder.")],
    text: Annotated[str, typer.Argument(help="What it reads.")],
    sites: Sites = None,
    dtype: Dtype = "float32",
    check: Check = True,
) -> None:
    """Show what a causal model would say next if it ended at each layer (the logit lens)."""
    from workbench.tokens.direct import logit_lens

    table = logit_lens(loaded_model(model, check, dtype), text, many(sites) or "resid_post.*")
    if STATE.json:
        show_json(records(table))
        return
    layers = list(dict.fromkeys(table["site"]))
    wide = table.assign(said=table["said"].map(repr)).pivot(index="position", columns="site", values="said")[layers]
    wide.insert(0, "token", table.drop_duplicates("position").set_index("position")["token"].map(repr))
    show_table(wide.reset_index(), limit=24)


def parse_step(item: str) -> dict[str, Any]:
    """A step from ``ID=AMOUNT`` or ``ID=ACTION:AMOUNT``.

    Raises:
        ConfigError: It is neither.
    """
    concept, sign, rest = item.rpartition("=")
    action, colon, amount = rest.rpartition(":")
    try:
        value = float(amount)
    except ValueError:
        value = math.nan
    if not sign or not concept or not math.isfinite(value):
        raise ConfigError(f"'{item}' is no step; write ID=AMOUNT, such as sparse_autoencoder-1a2b3c4d.17=6, or ID=scale:2.")
    return {"concept": concept, "action": action if colon else "add", "amount": value}


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (steer, steered, lens):
        app.command()(command)
