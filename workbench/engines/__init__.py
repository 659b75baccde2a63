"""Engines: they run work that splits into independent pieces, in this process or on the workers of a Ray cluster.

A task is work whose pieces can be done in any order and give the same results wherever they run. An engine runs the pieces and
yields their results in order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable
from typing import Protocol, TypeVar

from workbench.errors import ConfigError

P_contra = TypeVar("P_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)
P = TypeVar("P")
R = TypeVar("R")


class Task(Protocol[P_contra, R_co]):
    """Work that splits into pieces."""

    def here(self, pieces: Iterable[P_contra], /) -> Generator[R_co, None, None]:
        """Do one piece after another in this process."""

    def elsewhere(self) -> Callable[[], Callable[[P_contra], R_co]]:
        """A function that another process calls to set up the same work: small, and independent of this process.

        Raises:
            WorkbenchError: It can only be done here.
        """


class Engine(ABC):
    """Runs the pieces of a task."""

    @abstractmethod
    def map(self, task: Task[P, R], pieces: Iterable[P]) -> Generator[R, None, None]:
        """The result of each piece, in order. Pieces are taken from the iterable as needed; closing the generator stops the
        work."""


class Local(Engine):
    """Does one piece after another in this process."""

    def map(self, task: Task[P, R], pieces: Iterable[P]) -> Generator[R, None, None]:
        """What comes of each piece, in order."""
        yield from task.here(pieces)


def find_engine(spec: str | Engine, address: str | None = None, workers: int | None = None) -> Engine:
    """An engine by its name, ``local`` or ``ray``, or the one that is given; address and workers are those of Ray.

    Raises:
        ConfigError: There is no engine of that name, or it has no workers.
        MissingExtraError: It needs a package that is not installed.
    """
    if spec == "ray":
        from workbench.engines.cluster import Ray

        return Ray(address, workers)
    if address is not None or workers is not None:
        raise ConfigError("Only the engine ray has an address and workers: say engine ray, or leave them out.")
    if isinstance(spec, Engine):
        return spec
    if spec == "local":
        return Local()
    raise ConfigError(f"The engine is local or ray, not '{spec}'.")
