"""A form made from an analysis's own fields: their types, bounds, defaults and descriptions; it knows no analysis."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.components.text import literal, short
from app.tables import set_label
from workbench.analysis import Analysis
from workbench.analysis.inputs import described
from workbench.store.run_kinds import of_analyses
from workbench.study import Study

LEFT_OUT = "(left out)"


def option_fields(analysis: type[Analysis], prefix: str, choices: dict[str, list[str]]) -> dict[str, Any]:
    """Draw a widget for every option and read them; an option that is left blank is left out.

    Args:
        analysis: Whose options.
        prefix: Makes the widgets' keys unlike those of another form.
        choices: What there is to choose from, for the fields that say so (``labels``, ``columns``).
    """
    properties = analysis.model_json_schema().get("properties", {})
    found: dict[str, Any] = {}
    columns: Any = ()
    for place, (name, schema) in enumerate(properties.items()):
        # Columns a row, so that on a phone the fields stand below one another in their order.
        columns = st.columns(2) if place % 2 == 0 else columns
        with columns[place % 2]:
            value = _field(name, schema, f"{prefix} {analysis.name} {name}", choices)
            if value is not None:
                found[name] = value
    return found


def input_fields(study: Study, analysis: type[Analysis], prefix: str) -> dict[str, Any]:
    """Draw a chooser for everything that the analysis reads besides its activations, and give the ids that were chosen."""
    found: dict[str, Any] = {}
    for one in analysis.inputs:
        known, label, key = _known(study, one.kind), f"input {one.name}", f"{prefix} {analysis.name} input {one.name}"
        about = literal(f"{described(one)}.", 600)
        common: dict[str, Any] = {
            "placeholder": LEFT_OUT, "help": about, "key": key, "format_func": known.__getitem__
        }  # fmt: skip
        found[one.name] = (
            st.multiselect(label, list(known), **common) if one.many else st.selectbox(label, list(known), index=None, **common)
        )
    return {name: chosen for name, chosen in found.items() if chosen}


def _known(study: Study, kind: str) -> dict[str, str]:
    """What there is of a kind of input in a study, the newest first: ids, and how each is shown."""
    if kind == "activations":
        return {acts.id: set_label(acts) for acts in reversed(study.activations())}
    if kind == "dataset":
        return {data.hash: f"{short(data.name, 64)} ({data.hash[:8]})" for data in reversed(study.datasets())}
    runs = study.runs()
    if kind == "head":
        heads = [f"{run}/{name}" for run in runs["id"][::-1] for name in study.get_run(run).heads]
        return {head: short(head, 128) for head in heads}
    runs = runs[of_analyses(runs)] if kind == "concepts" else runs
    return {run: short(run, 128) for run in runs["id"][::-1]}


def _field(name: str, schema: dict[str, Any], key: str, choices: dict[str, list[str]]) -> Any:
    about = literal(schema.get("description", ""), 600) or None
    # A field's name is an identifier, so it needs no escaping, and a screen reader would read the escapes.
    label = name
    kinds = {part.get("type") for part in schema.get("anyOf", [schema])}
    default = schema.get("default")
    if "enum" in schema:
        options = schema["enum"]
        return st.selectbox(label, options, index=options.index(default) if default in options else 0, help=about, key=key)
    if kinds == {"boolean"}:
        return st.toggle(label, value=bool(default), help=about, key=key)
    if kinds & {"integer", "number"} and kinds <= {"integer", "number", "null"}:
        return _number(label, schema, kinds, key, about)
    if "array" in kinds and "string" in kinds:
        known = choices.get(schema.get("choices", ""), [])
        several = st.multiselect(label, known, accept_new_options=True, placeholder=LEFT_OUT, help=about, key=key)
        return [str(item) for item in several] or None
    if kinds <= {"string", "null"} and schema.get("choices") in choices:
        return st.selectbox(label, choices[schema["choices"]], index=None, placeholder=LEFT_OUT, help=about, key=key)
    return _text(label, schema, key, about)


def _number(label: str, schema: dict[str, Any], kinds: set[str], key: str, about: str | None) -> int | float | None:
    part = next(part for part in schema.get("anyOf", [schema]) if part.get("type") in {"integer", "number"})
    kind: Any = float if "number" in kinds else int
    numbers: dict[str, Any] = {
        name: None if value is None else kind(value)
        for name, value in {
            "min_value": part.get("minimum"), "max_value": part.get("maximum"), "value": schema.get("default")
        }.items()
    }  # fmt: skip
    step, shown = (None, "%g") if kind is float else (1, None)
    value: int | float | None = st.number_input(label, **numbers, step=step, format=shown, help=about, key=key)
    return value


def _text(label: str, schema: dict[str, Any], key: str, about: str | None) -> Any:
    """Anything else: text, read as JSON where it is JSON, as the command line reads it."""
    from workbench.cli.work import parse_options

    default = schema.get("default")
    written = st.text_input(label, value="" if default is None else str(default), placeholder=LEFT_OUT, help=about, key=key)
    return parse_options([f"value={written}"])["value"] if written.strip() else None
