"""The kinds of edits: a kind is a function that makes an edit of a site and arguments, and a name by which files know it.

A file names a kind and never a function or a module, and only what is installed here is looked up. A package offers a kind by an
entry point in the group ``concept_workbench.edit_kinds``, so that every process can read the edits that it fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from workbench.errors import ConfigError, NotInstalledError, UnknownNameError

if TYPE_CHECKING:
    from workbench.edits.edit import Edit
    from workbench.sites import Site

GROUP = "concept_workbench.edit_kinds"
_MAKERS: dict[str, Callable[..., Edit]] = {}
_STRENGTH: dict[str, str] = {}


def edit_kind(name: str, strength: str) -> Callable[[Callable[..., Edit]], Callable[..., Edit]]:
    """Declare a maker of edits ``maker(site, **arguments) -> Edit``: its kind, and which of its arguments is the strength.

    The arguments are tensors, numbers and texts: they are what is stored of an edit, and make it again.

    Raises:
        ConfigError: Another function has that kind. A function may be declared again, as a notebook does when a cell runs again.
    """

    def declare(maker: Callable[..., Edit]) -> Callable[..., Edit]:
        before = _MAKERS.get(name, maker)
        if (before.__module__, before.__qualname__) != (maker.__module__, maker.__qualname__):
            raise ConfigError(
                f"The kind of edit '{name}' is {before.__module__}.{before.__qualname__} already: give this one another name."
            )
        _MAKERS[name], _STRENGTH[name] = maker, strength
        return maker

    return declare


def is_kind(name: str) -> bool:
    """Whether edits of this kind can be made here."""
    if name not in _MAKERS and (point := _offered(name)) is not None:
        # Importing declares it; what an entry point offers under another name than its own is not it.
        point.load()
    return name in _MAKERS


def require_kind(name: str, package: str = "") -> None:
    """See that edits of a kind can be made here; ``package`` is what made one of it, as its file says.

    Raises:
        NotInstalledError: Nothing that is installed here offers it.
    """
    if not is_kind(name):
        comes = f" It came with the package '{package}'." if package else ""
        raise NotInstalledError(f"Edits of the kind '{name}' can be made only where that kind is installed.{comes}")


def make_edit(kind: str, site: str | Site, arguments: Mapping[str, Any]) -> Edit:
    """The edit of this kind; lists stand for tensors.

    Raises:
        UnknownNameError: There is no such kind.
    """
    if not is_kind(kind):
        raise UnknownNameError("edit", kind, _MAKERS)
    return _MAKERS[kind](site, **arguments)


def strength_of(kind: str) -> str:
    """The name of the argument that is the strength; empty for an edit that has none, such as a function of one's own."""
    return _STRENGTH.get(kind, "")


def package_of(kind: str) -> str:
    """The installed package that offers a kind; empty for one that only this process knows."""
    point = _offered(kind)
    return point.dist.name if point is not None and point.dist is not None else ""


def _offered(kind: str) -> EntryPoint | None:
    return next((point for point in entry_points(group=GROUP) if point.name == kind), None)
