"""What every view is: a title, the names of the parts that it shows, and a check that they are there."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from workbench.errors import DataError, NotInstalledError, StudyError, WorkbenchError
from workbench.kinds import Kinds
from workbench.paths import shown
from workbench.shapes import read_shaped, reading, validated

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

KINDS = Kinds("concept_workbench.view_kinds", "kind of view", "Views")
AGAIN = "Run the analysis again."
MOST_VIEWS, MOST_BYTES = 200, 2**22


class Parts(Protocol):
    """What holds the parts that views show, each by name: a result, or a run."""

    @property
    def tables(self) -> Any:
        """Tables."""

    @property
    def tensors(self) -> Any:
        """Tensors."""

    @property
    def graphs(self) -> Any:
        """Graphs."""

    @property
    def heads(self) -> Any:
        """Heads."""


class View(BaseModel, ABC):
    """A view of parts of a result, as a frozen pydantic model: its fields name them.

    A kind of one's own is a `FigureView`, and an entry point in the group ``concept_workbench.view_kinds``.

    Attributes:
        title: What stands above it.
        about: A sentence that says what is to be seen.
        kind: What a stored view is known by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    title: str = Field(min_length=1, max_length=200)
    about: str = Field(default="", max_length=1000)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if not inspect.isabstract(cls):
            KINDS.define(cls.kind, cls)

    @abstractmethod
    def problem(self, parts: Parts) -> str:
        """Why it cannot be drawn of these parts, as part of a sentence (``the table 'x' is not there``); empty where it can."""

    def require(self, parts: Parts) -> None:
        """See that it can be drawn.

        Raises:
            DataError: It cannot.
            NotInstalledError: It cannot by what is installed of another package.
        """
        with drawing(self):
            problem = self.problem(parts)
        if problem:
            raise _error(self)(f"The view '{self.title}' cannot be drawn: {problem}.")


@contextmanager
def drawing(view: View) -> Iterator[None]:
    """Turn whatever goes wrong while a view is drawn into one sentence: its parts may be of another type than it asks for.

    Raises:
        DataError: It cannot be drawn.
        NotInstalledError: It cannot by what is installed of another package.
    """
    with reading(f"The view '{view.title}'", AGAIN, _error(view)):
        yield


def _error(view: View) -> type[WorkbenchError]:
    return DataError if KINDS.error(view.kind) is StudyError else NotInstalledError


class FigureView(View):
    """A view that is a figure of plotly. Whatever it makes of texts from data, pages and reports show no link or picture of."""

    @abstractmethod
    def figure(self, parts: Parts) -> Figure:
        """The figure, of parts in which `problem` found none."""


class AbsentView(View):
    """A view of a kind that is not installed here."""

    kind: ClassVar[str] = "absent"
    why: str = ""

    def problem(self, parts: Parts) -> str:
        """Nothing is wrong with it."""
        return ""


class Stored(BaseModel):
    """A view as a run keeps it; ``package`` is what offered its kind, empty where it is not known."""

    kind: str = Field(max_length=200)
    package: str = Field(default="", max_length=200)
    view: dict[str, Any]


def save_views(views: Sequence[View], path: Path) -> None:
    """Write views as JSON."""
    stored = [Stored(kind=view.kind, package=KINDS.package_of(view.kind), view=view.model_dump(mode="json")) for view in views]
    path.write_bytes(TypeAdapter(list[Stored]).dump_json(stored, indent=1))


def read_views(path: Path) -> list[View]:
    """The views that :func:`save_views` wrote; an `AbsentView` in the place of one whose kind is not installed here.

    Raises:
        StudyError: The file holds something else.
    """
    stored = read_shaped(path, list[Stored], AGAIN, most=MOST_BYTES)
    if len(stored) > MOST_VIEWS:
        raise StudyError(f"The list of views has {len(stored):,}, more than {MOST_VIEWS}. {AGAIN}")
    found: list[View] = []
    for one in stored:
        try:
            cls = KINDS.find(one.kind, one.package)
            with reading(f"The view of the kind {shown(one.kind)}", AGAIN, KINDS.error(one.kind)):
                found.append(validated(one.view, cls))
        except NotInstalledError as error:
            title = one.view.get("title")
            found.append(AbsentView(title=str(title)[:200] or one.kind[:200] or "View", about="", why=str(error)))
    return found


def lacks(parts: Parts, table: str, texts: Sequence[str] = (), numbers: Sequence[str] = ()) -> str:
    """What a table lacks for a view, as part of a sentence; empty where it has it. Columns without a name are not asked for."""
    from pandas.api.types import is_numeric_dtype

    if table not in parts.tables:
        return f"the table '{table}' is not there"
    there: pd.DataFrame = parts.tables[table]
    for column in filter(None, [*texts, *numbers]):
        if column not in there:
            return f"the table '{table}' has no column '{column}'"
        if column in numbers and not is_numeric_dtype(there[column]):
            return f"the column '{column}' of the table '{table}' holds no numbers"
    return ""


def lacks_tensor(parts: Parts, name: str, dimensions: Sequence[int]) -> str:
    """What is wrong with a tensor for a view, as part of a sentence; empty where nothing is."""
    import torch

    if name not in parts.tensors:
        return f"the tensor '{name}' is not there"
    tensor = parts.tensors[name]
    if tensor.ndim not in dimensions:
        return f"the tensor '{name}' has {tensor.ndim} dimensions, not {' or '.join(map(str, dimensions))}"
    if tensor.is_complex() or (tensor.is_floating_point() and not torch.isfinite(tensor).all()):
        return f"the tensor '{name}' holds what is no finite number"
    return "" if tensor.numel() else f"the tensor '{name}' is empty"
