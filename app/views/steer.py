"""Steer: text with and without an intervention, side by side, with the controls that say whether it is the concept."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import state
from app.components.charts import chart
from app.components.page import empty, heading, sentences, title
from app.components.steps import add_step, choose_steps, replace_steps, steps_of
from app.components.text import escape, literal, short
from app.tables import steered
from app.writer import writer_of
from workbench.errors import ConfigError
from workbench.evidence.steered import counts_of
from workbench.frames import records
from workbench.numbers import corrected_p
from workbench.plots import steering_curves
from workbench.recipes import Recipe
from workbench.study import Study

PROMPT = "The people of this country"
SHIFTS = 12
REPAINT_S = 0.2


def render(study: Study) -> None:
    """The playground of the study's model."""
    title("Steer", "Add concepts to the model while it writes, and see what changes beside what it would have written.")
    known = study.known_model()
    if not known or known["kind"] != "decoder":
        what = known["name"] if known else "no model yet"
        empty(f"This study is about {what}, which writes no text. Open a study of a causal language model.", "workbench demo")
        return
    left, right = st.columns([2, 3], gap="large")
    with left, sentences():
        _asked_for(study)
        recipe = _recipe(study)
    with right, sentences():
        texts = _texts(study, recipe)
        _keep(study, recipe, texts)
    with sentences():
        _curves(study, recipe)
    with sentences():
        _steered(study)
    with sentences():
        _kept(study)


def _asked_for(study: Study) -> None:
    """A link from a concept's page puts that concept on the list, once."""
    asked = st.query_params.get("steer")
    if asked:
        if asked not in [step["concept"] for step in steps_of(study)]:
            add_step(study, asked)
        del st.query_params["steer"]


def _recipe(study: Study) -> Recipe:
    kept = st.session_state.get(f"recipe of {study.folder}", {})
    version = st.session_state.get("steps version", 0)
    prompt = st.text_area("Prompt", kept.get("prompt", PROMPT), max_chars=2000, height=90, key=f"prompt {version}")
    choose_steps(study)
    with st.expander("How text is drawn", icon=":material/tune:"):
        tokens = st.number_input("New tokens", 1, 200, kept.get("max_new_tokens", 40), key=f"tokens {version}")
        heat = st.slider("Temperature", 0.0, 2.0, float(kept.get("temperature", 0.0)), 0.1, key=f"temperature {version}")
        seed = st.number_input("Seed", 0, 10**6, kept.get("seed", 0), key=f"seed {version}")
    recipe = Recipe.made(
        steps=steps_of(study), **_opening_options(prompt, kept), max_new_tokens=int(tokens), temperature=heat, seed=int(seed)
    )  # fmt: skip
    return recipe.bound(study)


def _opening_options(prompt: str, kept: dict[str, Any]) -> dict[str, Any]:
    """The prompt, or the messages of a kept recipe as long as nobody wrote a prompt in their place."""
    return {"prompt": prompt} if prompt.strip() or not kept.get("messages") else {"messages": kept["messages"]}


def _texts(study: Study, recipe: Recipe) -> list[str]:
    """Base and edited text, growing side by side; what was written before is shown at once."""
    places = [column.empty() for column in st.columns(2)]
    cache: dict[str, tuple[list[str], pd.DataFrame]] = st.session_state.setdefault("generated", {})
    key = f"{study.folder} {recipe.model_dump_json(exclude={'name'})}"
    if key not in cache:
        texts, shifts, painted = ["", ""], pd.DataFrame(), 0.0
        with state.model_lock(study), state.one_thread(study):
            for step in recipe.stream(study):
                if shifts.empty:
                    shifts = next_token_shifts(study, step.logits)
                texts = [text + piece for text, piece in zip(texts, step.pieces, strict=True)]
                # To paint every token costs server and browser more than to find it.
                if time.monotonic() - painted > REPAINT_S:
                    _show(places, recipe.opening, texts)
                    painted = time.monotonic()
        cache.clear()
        cache[key] = (texts, shifts)
    texts, shifts = cache[key]
    _show(places, recipe.opening, texts)
    heading("The next token", "Probability of the first new token without and with the intervention; the largest changes.")
    columns = {
        "base": st.column_config.NumberColumn("Base", format="percent"),
        "edited": st.column_config.NumberColumn("Edited", format="percent"),
        "change": st.column_config.NumberColumn("Change", format="percent"),
    }
    st.dataframe(shifts, hide_index=True, column_config=columns, height=240)
    return texts


def next_token_shifts(study: Study, logits: object) -> pd.DataFrame:
    """The tokens whose probability the edit changes most: ``token, base, edited, change``."""
    import torch

    assert isinstance(logits, torch.Tensor)
    base, edited = logits.float().softmax(-1)[:2]
    most = (edited - base).abs().topk(SHIFTS).indices.tolist()
    vocabulary = state.vocabulary(study)
    rows = [
        {"token": repr(short(vocabulary[i], 40)), "base": float(base[i]), "edited": float(edited[i]),
         "change": float(edited[i] - base[i])}
        for i in most
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _show(places: Sequence[DeltaGenerator], prompt: str, texts: list[str]) -> None:
    for place, head, text in zip(places, ("Base", "Edited"), texts, strict=True):
        place.html(
            f'<div class="cw-family">{head}</div><div class="cw-text"><span class="cw-soft">{escape(prompt, 2000)}</span>'
            f"<bdi>{escape(text, 20_000)}</bdi></div>"
        )


def _keep(study: Study, recipe: Recipe, texts: list[str]) -> None:
    heading("Recipe", "The same intervention in Python and on the command line.")
    st.html(f'<code class="cw-code">workbench steer {escape(study.name)} --recipe recipe.json</code>')
    name = st.text_input("Name of the recipe", max_chars=200, key="recipe name")
    named = recipe.model_copy(update={"name": name.strip()})
    with st.container(horizontal=True):
        st.download_button("Download recipe", named.to_json(), "recipe.json", "application/json", icon=":material/download:")
        writer = writer_of(study)
        if writer is not None and st.button("Keep in the study", icon=":material/bookmark:"):
            if not name.strip():
                raise ConfigError("Give the recipe a name, then keep it.")
            writer.keep_recipe(named, texts, st.session_state.get("author", "someone"))
            st.toast(literal(f"Kept: {name}"))


def _curves(study: Study, recipe: Recipe) -> None:
    for identifier in dict.fromkeys(step.concept for step in recipe.steps):
        concept = study.concept(identifier)
        table = concept.steering()
        if table.empty:
            command = f"workbench examine {study.name} {concept.run_id} --concept {concept.number}"
            empty(f"{short(concept.name, 60)} has no dose curve yet: nobody has compared it with random directions.", command)
            continue
        heading(
            f"{short(concept.name, 60)}: dose and controls",
            "Change of the log odds of its own tokens, and what it costs on held-out text, against directions of the same norm.",
        )
        tokens = ", ".join(repr(short(t, 20)) for t in concept.tokens()["token"])
        st.html(f'<div class="cw-soft cw-small">Its own tokens: {escape(tokens, 400)}</div>')
        odds, cost = st.columns(2)
        with odds:
            chart(steering_curves(table, "odds", "", "log odds of its tokens, nats"), f"odds {identifier}")
        with cost:
            chart(steering_curves(table, "cost", "", "relative change of the loss"), f"cost {identifier}")


def _steered(study: Study) -> None:
    """What is known of every concept that was steered; a row that is chosen joins the intervention."""
    table = steered(study)
    if table.empty:
        return
    heading(
        "Concepts that were steered",
        "Effect on their own tokens at the recommended dose, and how many times the level that 5% of random directions of that"
        " norm exceed; what the dose costs, and what random directions cost."
        f" {counts_of(table)} Choose a row to add it.",
    )
    shown = table.assign(p_corrected=list(map(corrected_p, table["p"], table["p_corrected"])))[
        [
            "name",
            "method",
            "site",
            "tokens",
            "times_null",
            "odds",
            "null_high",
            "p",
            "p_corrected",
            "cost",
            "random_cost",
            "dose",
            "unit",
            "verdict",
        ]
    ]
    columns: dict[str, Any] = {
        "name": "Concept", "method": "Method", "site": "Site", "tokens": "Own tokens", "verdict": "Verdict",
        "times_null": st.column_config.NumberColumn("Times random", format="%.1f"),
        "odds": st.column_config.NumberColumn("Effect, nats", format="%.2f"),
        "null_high": st.column_config.NumberColumn("Random, 95% level", format="%.2f"),
        "p": st.column_config.NumberColumn("p", format="%.2g"), "p_corrected": "Corrected p",
        "cost": st.column_config.NumberColumn("Loss", format="percent"),
        "random_cost": st.column_config.NumberColumn("Loss, random", format="percent"),
        "dose": st.column_config.NumberColumn("Dose", format="%.3g"),
        "unit": "Unit of the dose",
    }  # fmt: skip
    place = st.session_state.get("steps version", 0)
    event = st.dataframe(
        shown, hide_index=True, column_config=columns, on_select="rerun", selection_mode="single-row", key=f"steered {place}"
    )
    for row in event["selection"]["rows"]:
        add_step(study, str(table["concept"].iloc[row]))
        st.session_state["steps version"] = place + 1
        st.rerun()


def _kept(study: Study) -> None:
    table = study.recipes()
    with st.expander(f"Recipes: {len(table)} kept in this study, or one from a file", icon=":material/bookmarks:"):
        given = st.file_uploader("A recipe file", type=["json"], max_upload_size=1)
        if given is not None and st.button("Use this file"):
            _use(study, Recipe.parse(given.getvalue().decode("utf-8", "replace")))
        for row in records(table.iloc[::-1].head(30)):
            # A recipe that cannot be used here leaves the others on the page.
            with sentences(), st.container(horizontal=True, vertical_alignment="center"):
                line = f"{short(row['name'], 80)}, by {short(row['author'], 40)}, {row['at']}"
                st.html(f'<div class="cw-item">{escape(line, 300)}</div>', width="stretch")
                if st.button("Use", key=f"recipe {row['id']}"):
                    _use(study, Recipe.parse(json.dumps(row["recipe"])))


def _use(study: Study, recipe: Recipe) -> None:
    # Refused here when it belongs to another model, with the reason.
    recipe.edits(study)
    replace_steps(study, recipe.steps)
    st.session_state[f"recipe of {study.folder}"] = recipe.model_dump(
        include={"prompt", "messages", "max_new_tokens", "temperature", "seed"}
    )
    st.rerun()
