"""Kinds of concept sets by name: those that installed packages offer, and those defined in this process.

A stored set names its kind, never a class or a module, and only what is installed here is looked up. A package offers a kind by
an entry point in the group ``concept_workbench.concept_kinds``, so that every process can read the sets that it made.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from workbench.errors import ConfigError, NotInstalledError

GROUP = "concept_workbench.concept_kinds"
_defined: dict[str, type[Any]] = {}


def define(kind: str, cls: type[Any]) -> None:
    """Take a class in under its kind.

    Raises:
        ConfigError: Another class has that kind. A class may be defined again, as a notebook does when a cell runs again.
    """
    before = _defined.get(kind, cls)
    if (before.__module__, before.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ConfigError(
            f"The kind of concept set '{kind}' is {before.__module__}.{before.__qualname__} already: give this one another name."
        )
    _defined[kind] = cls


def find_kind(kind: str, package: str = "") -> type[Any]:
    """The class of a kind; ``package`` is what made a set of it, as its file says.

    Raises:
        NotInstalledError: Nothing that is installed here offers it.
    """
    if kind not in _defined and (point := _offered(kind)) is not None:
        # Importing defines it; what an entry point offers under another name than its own is not it.
        point.load()
    if kind not in _defined:
        comes = f" It came with the package '{package}'." if package else ""
        raise NotInstalledError(f"Concepts of the kind '{kind}' can be read only where that kind is installed.{comes}")
    return _defined[kind]


def package_of(kind: str) -> str:
    """The installed package that offers a kind; empty for one that only this process knows."""
    point = _offered(kind)
    return point.dist.name if point is not None and point.dist is not None else ""


def _offered(kind: str) -> EntryPoint | None:
    return next((point for point in entry_points(group=GROUP) if point.name == kind), None)
