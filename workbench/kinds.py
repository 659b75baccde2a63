"""Kinds of stored things by name: those that installed packages offer, and those defined in this process.

A file names a kind, never a class or a module, and only what is installed here is looked up. A package offers a kind by an entry
point, so that every process can read what it made.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from workbench.errors import ConfigError, NotInstalledError, StudyError


class Kinds:
    """The kinds of one sort of things.

    Args:
        group: The group of entry points.
        one: What one of them is called, such as ``kind of head``.
        many: What things of a kind are called at the beginning of a sentence, such as ``Heads``.
    """

    def __init__(self, group: str, one: str, many: str) -> None:
        self.group, self.one, self.many = group, one, many
        self._defined: dict[str, Any] = {}

    def define(self, kind: str, cls: Any) -> None:
        """Take a class, or a function that makes edits, in under its kind.

        Raises:
            ConfigError: Another class has that kind. A class may be defined again, as a notebook does when a cell runs again.
        """
        before = self._defined.get(kind, cls)
        if (before.__module__, before.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ConfigError(
                f"The {self.one} '{kind}' is {before.__module__}.{before.__qualname__} already: give this one another name."
            )
        self._defined[kind] = cls

    def find(self, kind: str, package: str = "") -> Any:
        """The class of a kind; ``package`` is what made a thing of it, as its file says.

        Raises:
            NotInstalledError: Nothing that is installed here offers it, or what does cannot be imported.
        """
        if kind not in self._defined and (point := self._offered(kind)) is not None:
            # Importing defines it; what an entry point offers under another name than its own is not it.
            try:
                point.load()
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
                raise NotInstalledError(f"The package that offers the {self.one} '{kind}' cannot be imported: {why}") from error
        if kind not in self._defined:
            comes = f" It came with the package '{package}'." if package else ""
            raise NotInstalledError(f"{self.many} of the kind '{kind}' can be read only where that kind is installed.{comes}")
        return self._defined[kind]

    @property
    def defined(self) -> list[str]:
        """The kinds that this process has defined or imported."""
        return list(self._defined)

    def error(self, kind: str) -> type[StudyError]:
        """What is raised where a thing of a known kind cannot be read.

        What another package made may be whole, and of a version of it that is not the one installed here: it is no damage, and
        no repair may drop it.
        """
        return StudyError if self._defined[kind].__module__.startswith("workbench.") else NotInstalledError

    def package_of(self, kind: str) -> str:
        """The installed package that offers a kind; empty for one that only this process knows."""
        point = self._offered(kind)
        return point.dist.name if point is not None and point.dist is not None else ""

    def _offered(self, kind: str) -> EntryPoint | None:
        return next((point for point in entry_points(group=self.group) if point.name == kind), None)
