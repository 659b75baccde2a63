"""The concepts that a person intervenes with: added one by one, each with an action and a strength."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app import state
from app.components.text import literal, short
from workbench.edits.actions import ACTIONS
from workbench.recipes import RecipeStep
from workbench.store.concept import Concept
from workbench.study import Study

FOUND = 20
UNTRIED = 0.1
NAMES = {"add": "Add", "clamp": "Hold along direction", "ablate": "Ablate", "set": "Hold latent at", "scale": "Scale latent"}
DOSE = "Dose, in deviations of the activations from their mean"
COSTS = {
    "loss": "cost about {share} of the next-token loss",
    "divergence": "move the class distribution by about {cost} nats",
    "angle": "turn the sentence vector to one minus cosine of about {cost}",
}
Steps = list[dict[str, Any]]


def steps_of(study: Study) -> Steps:
    """The steps of this session, as dictionaries of `RecipeStep`; the page writes into them."""
    found: Steps = st.session_state.setdefault(f"steps of {study.folder}", [])
    return found


def replace_steps(study: Study, steps: tuple[RecipeStep, ...]) -> None:
    """Take the steps of a recipe; the sliders start anew."""
    st.session_state[f"steps of {study.folder}"] = [step.model_dump() for step in steps]
    st.session_state["steps version"] = st.session_state.get("steps version", 0) + 1


def add_step(study: Study, concept: str) -> None:
    """Put a concept on the list, at the dose that its trial recommends. Where there is none: at one at which random directions
    cost about 3% of the loss, or at a tenth of a deviation where that is not known either."""
    steps_of(study).append(RecipeStep(concept=concept, amount=_dose(study.concept(concept))).model_dump())


def _dose(concept: Concept) -> float:
    if (push := concept.recommended_push) is not None:
        return _rounded(push)
    known = concept.study.doses(concept.site)
    return _rounded(known.unit * known.found[1] if known else concept.dose_unit * UNTRIED)


def _rounded(amount: float) -> float:
    """To four digits, however small: deviations of models differ by orders of magnitude."""
    return float(f"{amount:.4g}")


def choose_steps(study: Study) -> None:
    """The search for concepts, and a row of controls for each that was chosen."""
    with (
        st.form("add a concept", border=False, clear_on_submit=False),
        st.container(horizontal=True, vertical_alignment="bottom"),
    ):
        words = st.text_input("Find a concept", placeholder="a word of its name or meaning", max_chars=300, key="steer search")
        st.form_submit_button("Search", icon=":material/search:")
    if words.strip():
        ids, _ = state.find(study, "query", words.strip(), FOUND)
        names = state.names_of(study)
        chosen = st.selectbox("Found", ids, format_func=lambda i: f"{short(names.get(i, i), 60)} · {i}", key="steer found")
        if chosen and st.button("Add this concept", icon=":material/add:"):
            add_step(study, chosen)
            st.rerun()
    steps = steps_of(study)
    for place, step in enumerate(list(steps)):
        _row(study, steps, place, step)


def _row(study: Study, steps: Steps, place: int, step: dict[str, Any]) -> None:
    concept = study.concept(step["concept"])
    key = f"{place} {step['concept']} {st.session_state.get('steps version', 0)} {len(steps)}"
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.page_link(
                state.page("concept"),
                label=literal(concept.name, 60),
                query_params=state.link(concept.id),
                icon=":material/label:",
            )
            if st.button("Remove", icon=":material/close:", key=f"remove {key}", type="tertiary"):
                steps.pop(place)
                st.rerun()
        actions = list(concept.actions)
        action = st.selectbox(
            "What is done", actions, index=actions.index(step["action"]), format_func=lambda a: NAMES[a], key=f"action {key}",
            help=_explained(actions), label_visibility="collapsed",
        )  # fmt: skip
        if action != step["action"]:
            step |= {"action": action, "amount": _start(concept, action)}
        step["amount"] = _amount(concept, action, float(step["amount"]), key)
        step["special"] = st.checkbox(
            "Special tokens too", bool(step.get("special")), key=f"special {key}",
            help="Also change special tokens, such as the one that begins the prompt. Captures leave them out.",
        )  # fmt: skip


def _explained(actions: Sequence[str]) -> str:
    return " · ".join(f"{NAMES[action]}: {literal(text)}" for action, text in ACTIONS.items() if action in actions)


def _start(concept: Concept, action: str) -> float:
    starts = {"add": _dose(concept), "clamp": 0.0, "ablate": 1.0, "set": _top(concept), "scale": 2.0}
    return _rounded(starts[action])


def _top(concept: Concept) -> float:
    summary = concept.summary()
    return float(summary["top"]) if len(summary) else 10.0


def _amount(concept: Concept, action: str, value: float, key: str) -> float:
    """A slider in the unit that the action is understood in; the recipe keeps the raw number."""
    if action in {"add", "clamp"}:
        unit, known = concept.dose_unit, concept.study.doses(concept.site)
        now = value / unit
        # The slider ends at the largest dose that was tried, because usable doses differ between models.
        most = max(2 * known.found[-1] if known else 1.0, abs(now))
        step = float(f"{most / 100:.1g}")
        dose = st.slider(DOSE, -most, most, now, step, format="%.3g", key=f"dose {action} {key}")
        if action == "add" and known is not None:
            what = COSTS[known.measure].format(cost=f"{known.cost_at(dose):.2g}", share=f"{known.cost_at(dose):.1%}")
            st.caption(f"Adds a vector of norm {abs(dose) * unit:.3g}. Random directions of that size {what}.")
        return _rounded(dose * unit)
    low, high, step = {"ablate": (0.0, 1.0, 0.05), "set": (0.0, max(2 * _top(concept), value), 0.1), "scale": (-2.0, 8.0, 0.1)}[
        action
    ]
    label = {"ablate": "How much of it is taken out", "set": "Activation", "scale": "Factor"}[action]
    return float(st.slider(label, low, max(high, value), value, step, key=f"amount {action} {key}"))
