"""The report's section on steering: which concepts steer and which do not, with dose curves of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

from workbench.evidence.steered import CHANCE, FAILED, FEW, STEERS, UNCORRECTED, steered_concepts
from workbench.frames import records, where
from workbench.plots import steering_curves
from workbench.reports.parts import examples_html, figure_html

if TYPE_CHECKING:
    from workbench.store.concept import Concept
    from workbench.study import Study

STEERING, FAILING = 3, 2
ROWS = 40
EXAMPLES = 3


def steering_section(study: Study, holds: Callable[[str], bool]) -> dict[str, Any] | None:
    """The table of all steered concepts that ``holds`` takes, and cards of the clearest and of some that fail; or None."""
    table = steered_concepts(study)
    table = table[where(table["concept"], holds)]
    if table.empty:
        return None
    clearest = table[table["verdict"].isin([STEERS, UNCORRECTED])].sort_values(
        "verdict", key=lambda v: v.ne(STEERS), kind="stable"
    )
    shown = pd.concat([clearest.head(STEERING), contrast(table)])
    return {
        "rows": records(table.head(ROWS)),
        "total": len(table),
        "steers": int(table["verdict"].eq(STEERS).sum()),
        "uncorrected": int(table["verdict"].eq(UNCORRECTED).sum()),
        "cards": [_card(study.concept(row["concept"]), row) for row in records(shown)],
    }


def contrast(table: pd.DataFrame) -> pd.DataFrame:
    """Those that fail although they look best: of the ones that do not steer, those that detect a label best."""
    failing = table[table["verdict"].isin([CHANCE, FAILED, FEW])]
    return failing.sort_values("detects", ascending=False, na_position="last").head(FAILING)


def _card(concept: Concept, row: dict[str, Any]) -> dict[str, Any]:
    curves = concept.steering()
    figures = []
    if len(curves):
        figures = [
            figure_html(steering_curves(curves, "odds", "", "change of the log odds of its tokens, nats")),
            figure_html(steering_curves(curves, "cost", "", "relative change of the loss")),
        ]
    examples = concept.examples(EXAMPLES)
    return {
        "row": row,
        "examples": examples_html(concept, examples["example"].tolist(), examples["input"].tolist()),
        "figures": figures,
    }
