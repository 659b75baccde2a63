"""Parts that several sections of a report have: figures, and examples with their activation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from workbench.reports.highlight import highlight

if TYPE_CHECKING:
    from workbench.store.concept import Concept


def figure_html(figure: Any) -> Markup:
    """A figure as a part of a page that has Plotly already. Plotly writes ``<``, ``>`` and ``/`` in its data as escapes."""
    config = {
        "displaylogo": False,
        "responsive": True,
        "modeBarButtonsToRemove": ["sendDataToCloud", "lasso2d", "select2d"],
    }
    return Markup(figure.to_html(full_html=False, include_plotlyjs=False, config=config, default_width="100%"))


def examples_html(concept: Concept, examples: Sequence[int], inputs: Sequence[Any]) -> list[Markup]:
    """Some of a concept's examples, each with its activation over the tokens."""
    texts = [example for example, given in zip(examples, inputs, strict=True) if isinstance(given, str)]
    tables = dict(zip(texts, concept.over_tokens_of(texts), strict=True)) if texts else {}
    parts = []
    for example, given in zip(examples, inputs, strict=True):
        if example not in tables:
            parts.append(Markup("<em>image {}</em>").format(example))
            continue
        tokens = tables[example]
        marks = zip(tokens["start"].tolist(), tokens["end"].tolist(), tokens["value"].tolist(), strict=True)
        parts.append(Markup(highlight(given, marks)))
    return parts
