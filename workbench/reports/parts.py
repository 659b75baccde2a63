"""Parts that several sections of a report have: figures, examples with their activation, and what had to be left out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from markupsafe import Markup

from workbench.errors import (
    ConfigError,
    DiskFullError,
    LeftOutError,
    MissingExtraError,
    NotTrustedError,
    UnknownNameError,
    WorkbenchError,
)
from workbench.plots import read_figure
from workbench.progress import Progress, silent
from workbench.reports.highlight import highlight

if TYPE_CHECKING:
    from workbench.store.concept import Concept

log = logging.getLogger(__name__)
T = TypeVar("T")


NOT_HERE = (LeftOutError, MissingExtraError, NotTrustedError, ConfigError, UnknownNameError)
"""Errors that mean something is missing rather than damaged: rows that were not packed, a package or analysis not installed."""


class LeftOut(list[tuple[str, str]]):
    """What is left out of a report because it is broken: what it is, and why.

    Attributes:
        missing: The same for what is missing rather than broken.
    """

    def __init__(self) -> None:
        super().__init__()
        self.missing: list[tuple[str, str]] = []

    def unless_broken(self, what: str, make: Callable[[], T], otherwise: T) -> T:
        """What ``make`` gives; ``otherwise``, and a note of it, where a file of the study is not here or not what it should be.

        Raises:
            DiskFullError: There is no room.
        """
        try:
            return make()
        except DiskFullError:
            raise
        except NOT_HERE as error:
            self.missing.append((what, str(error)))
        except WorkbenchError as error:
            self.append((what, str(error)))
        except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            # A file of somebody else's may hold anything: other columns, other types.
            log.warning("%s was left out of a report", what, exc_info=error)
            self.append((what, f"It does not hold what it should ({type(error).__name__}: {error})."))
        return otherwise


def figure_html(figure: Any) -> Markup:
    """A figure as a part of a page that has Plotly already. Plotly writes ``<``, ``>`` and ``/`` in its data as escapes.

    Raises:
        DataError: It would load something from an address.
    """
    config = {
        "displaylogo": False,
        "responsive": True,
        "modeBarButtonsToRemove": ["sendDataToCloud", "lasso2d", "select2d"],
    }
    shown = read_figure(figure.to_json())
    return Markup(shown.to_html(full_html=False, include_plotlyjs=False, config=config, default_width="100%"))


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


def each(
    items: Sequence[T], called: Callable[[T], str], make: Callable[[T], Any], out: Any, wanted: bool, progress: Progress = silent
) -> list[Any]:
    """The result of ``make`` for each item, without those that are broken."""
    pieces = []
    for place, item in enumerate(items if wanted else []):
        progress(place, len(items), called(item))
        pieces.append(out(called(item), partial(make, item), None))
    return [one for one in pieces if one is not None]
