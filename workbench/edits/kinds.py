"""The kinds of edits: a kind is a function that makes an edit of a site and arguments, and a name by which files know it.

A file names a kind and never a function or a module, and only what is installed here is looked up. A package offers a kind by an
entry point in the group ``concept_workbench.edit_kinds``, so that every process can read the edits that it fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from workbench.errors import NotInstalledError, UnknownNameError
from workbench.kinds import Kinds

if TYPE_CHECKING:
    from workbench.edits.edit import Edit
    from workbench.sites import Site

EDITS = Kinds("concept_workbench.edit_kinds", "kind of edit", "Edits")
_STRENGTH: dict[str, str] = {}


def edit_kind(name: str, strength: str) -> Callable[[Callable[..., Edit]], Callable[..., Edit]]:
    """Declare a maker of edits ``maker(site, **arguments) -> Edit``: its kind, and which of its arguments is the strength.

    The arguments are tensors, numbers and texts: they are what is stored of an edit, and make it again.

    Raises:
        ConfigError: Another function has that kind. A function may be declared again, as a notebook does when a cell runs again.
    """

    def declare(maker: Callable[..., Edit]) -> Callable[..., Edit]:
        EDITS.define(name, maker)
        _STRENGTH[name] = strength
        return maker

    return declare


def is_kind(name: str) -> bool:
    """Whether edits of this kind can be made here."""
    try:
        EDITS.find(name)
    except NotInstalledError:
        return False
    return True


def require_kind(name: str, package: str = "") -> None:
    """See that edits of a kind can be made here; ``package`` is what made one of it, as its file says.

    Raises:
        NotInstalledError: Nothing that is installed here offers it, or what does cannot be imported.
    """
    EDITS.find(name, package)


def make_edit(kind: str, site: str | Site, arguments: Mapping[str, Any]) -> Edit:
    """The edit of this kind; lists stand for tensors.

    Raises:
        UnknownNameError: There is no such kind.
    """
    if not is_kind(kind):
        raise UnknownNameError("edit", kind, EDITS.defined)
    made: Edit = EDITS.find(kind)(site, **arguments)
    return made


def strength_of(kind: str) -> str:
    """The name of the argument that is the strength; empty for an edit that has none, such as a function of one's own."""
    return _STRENGTH.get(kind, "")


def package_of(kind: str) -> str:
    """The installed package that offers a kind; empty for one that only this process knows."""
    return EDITS.package_of(kind)
