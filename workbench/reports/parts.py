"""Parts that several sections of a report have: figures, and examples with their activation."""

from __future__ import annotations

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


def example_html(concept: Concept, example: int, text: Any) -> Markup:
    """One of a concept's examples, with its activation over the tokens."""
    if not isinstance(text, str):
        return Markup("<em>image {}</em>").format(example)
    tokens = concept.over_tokens(example)
    marks = zip(tokens["start"].tolist(), tokens["end"].tolist(), tokens["value"].tolist(), strict=True)
    return Markup(highlight(text, marks))
