"""Parts of a run that lie in a folder each: graphs, heads, models; and what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from workbench.errors import NotInstalledError, StudyError, UnknownNameError, WorkbenchError
from workbench.paths import child, named
from workbench.store.run_kinds import HEAD_EDIT
from workbench.views import AbsentView

if TYPE_CHECKING:
    from workbench.store.runs import Run

T = TypeVar("T")
PARTS = ("graphs", "heads", "models")
"""Folders of a run; each part has one of its own in them."""


class PartsOf(Mapping[str, T]):
    """Parts of one sort, read when they are asked for and then kept.

    Args:
        folder: Where each has its folder.
        what: What one is called, such as ``graph``.
        load: Reads one from its folder.
    """

    def __init__(self, folder: Path, what: str, load: Callable[[Path], T]) -> None:
        self.folder, self.what, self._load = folder, what, load
        self._read: dict[str, T] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(named(path, self.folder) for path in self.folder.glob("*") if path.is_dir()))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in set(self)

    def __getitem__(self, name: str) -> T:
        if name not in self._read:
            if name not in self:
                raise UnknownNameError(self.what, name, self)
            self._read[name] = self._load(child(self.folder, name))
        return self._read[name]

    def __repr__(self) -> str:
        return f"<{self.what.capitalize()}s: {', '.join(self) or 'none'}>"


def concepts_run(run: Run) -> Run:
    """The run that found the concepts which the heads of a run read: itself, or the one whose head was edited first.

    Raises:
        StudyError: There is none.
    """
    seen: set[str] = set()
    while run.analysis == HEAD_EDIT:
        if run.id in seen:
            raise StudyError(f"The run {run.id} is recorded as an edit of itself: `workbench study verify` says what is damaged.")
        seen.add(run.id)
        run = run.study.get_run(str(run.config.get("run")))
    return run


def problems(run: Run) -> Iterator[tuple[str, bool, str]]:
    """What of a run's parts cannot be read: the file or folder, whether it is only not installed here, and why."""
    for kind in (*PARTS, "edits"):
        parts: Mapping[str, object] = getattr(run, kind)
        for name in parts:
            try:
                parts[name]
            except NotInstalledError as error:
                yield f"{kind}/{name}", True, str(error)
            except WorkbenchError as error:
                yield f"{kind}/{name}", False, str(error)
    try:
        views = run.views
    except WorkbenchError as error:
        yield "views.json", False, str(error)
        return
    for view in views:
        if isinstance(view, AbsentView):
            yield "views.json", True, view.why
            continue
        try:
            view.require(run)
        except NotInstalledError as error:
            yield "views.json", True, str(error)
        except WorkbenchError as error:
            yield "views.json", False, str(error)
