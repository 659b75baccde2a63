"""A concept of a causal model and the vocabulary: its own tokens, and those that its direction raises and lowers by itself."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app.components.charts import chart
from app.components.page import heading
from app.components.text import escape, number, short
from workbench.plots import steering_curves
from workbench.store.concept import Concept


def vocabulary(concept: Concept) -> None:
    """What it has to do with tokens, and what steering it does to them; nothing where the model writes no text."""
    tokens, effects = concept.tokens(), concept.effects()
    if not tokens.empty or not effects.empty:
        heading(
            "Tokens", "Its own: those that come next where it is present, in data. Raised and lowered: by its direction alone."
        )
        parts = {"own": tokens, **{side: effects[effects["side"].eq(side)] for side in ("raises", "lowers")}}
        for head, rows in parts.items():
            if not rows.empty:
                st.html(f'<div class="cw-item"><span class="cw-soft">{head}</span> {_listed(rows)}</div>')
    table = concept.steering()
    if not table.empty:
        heading("Steering its own tokens", "Added at every position of held-out texts, against directions of the same norm.")
        chart(steering_curves(table, "odds", "", "log odds of its tokens, nats"), f"steering odds {concept.id}")
        chart(steering_curves(table, "cost", "", "relative change of the loss"), f"steering cost {concept.id}")
        _side(concept)


def _listed(rows: pd.DataFrame) -> str:
    chips = [
        f'<span class="cw-chip">{escape(repr(short(token, 30)))} <span class="cw-soft">{number(z)}</span></span>'
        for token, z in zip(rows["token"], rows["z"], strict=True)
    ]
    return f'<span class="cw-chips" style="display:inline-flex">{"".join(chips)}</span>'


def _side(concept: Concept) -> None:
    side = concept.side_effects()
    side = side[side["other"].ne(concept.id) & side["times_null"].gt(1)] if len(side) else side
    if side.empty:
        return
    heading(
        "What else fires",
        "Concepts whose mean activation moves most at the recommended dose, and the level that 5% of random pushes exceed.",
    )
    names = {i: concept.study.concept(i).name for i in side["other"]}
    shown = side.assign(name=side["other"].map(names))[["name", "base", "steered", "null_high", "other"]].head(8)
    st.dataframe(shown, hide_index=True, column_config={"null_high": "chance, 95th percentile", "other": "id"})
