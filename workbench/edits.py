"""Interventions: pure functions on the activations of one site.

An edit takes rows ``[b, t, d]`` and gives rows of the same shape. Nothing is changed in place.
``model.edited(edit)`` applies it while the model runs; ``a + b`` is both, ``a`` first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import ConfigError, UnknownNameError
from workbench.models.sites import Site

Transform = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Edit:
    """A change of the activations at ``site``; ``kind`` and ``arguments`` describe it for a record.

    ``transform`` maps ``[b, t, d]`` to ``[b, t, d]``. An edit of kind ``custom`` runs like any other, but
    cannot be written as JSON.
    """

    site: Site
    transform: Transform = field(repr=False, compare=False)
    kind: str = "custom"
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", Site.parse(self.site))

    def __call__(self, rows: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """The edited rows."""
        return self.transform(rows)

    def __add__(self, other: Edit | Edits) -> Edits:
        return Edits((self, other))

    def strength(self, value: float) -> Edit:
        """The same edit at another strength.

        For `steer` the multiple of the direction, for `clamp` the coordinate, for `project_out`, `zero` and
        `mean` the fraction of the change (1 is the whole). A custom edit has none: `ConfigError`.
        """
        if self.kind not in _STRENGTH:
            raise ConfigError(f"An edit of kind '{self.kind}' has no strength: make a new edit instead.")
        return make_edit(self.kind, self.site, {**self.arguments, _STRENGTH[self.kind]: float(value)})

    def to_dict(self) -> dict[str, Any]:
        """A JSON description; tensors become lists. `ConfigError` for a custom edit."""
        if self.kind not in _MAKERS:
            raise ConfigError("An edit made from a function of your own cannot be written down: use the named ones.")
        arguments = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in self.arguments.items()}
        return {"kind": self.kind, "site": str(self.site), "arguments": arguments}

    @staticmethod
    def from_dict(description: Mapping[str, Any]) -> Edit:
        """The edit that `to_dict` described."""
        return make_edit(description["kind"], description["site"], description["arguments"])


class Edits(tuple[Edit, ...]):
    """Several edits, applied in this order."""

    __slots__ = ()

    def __new__(cls, edits: Any = ()) -> Edits:
        """Flatten edits and groups of edits into one."""
        flat: list[Edit] = []
        for edit in edits:
            flat.extend(edit if isinstance(edit, Edits) else (edit,))
        return super().__new__(cls, flat)

    def __add__(self, other: Any) -> Edits:
        return Edits((self, other))

    def strength(self, value: float) -> Edits:
        """Every edit at this strength."""
        return Edits(edit.strength(value) for edit in self)

    def to_dict(self) -> dict[str, Any]:
        """A JSON description."""
        return {"edits": [edit.to_dict() for edit in self]}

    @staticmethod
    def from_dict(description: Mapping[str, Any]) -> Edits:
        """The edits that `to_dict` described."""
        return Edits(Edit.from_dict(edit) for edit in description["edits"])


def steer(site: str | Site, direction: Float[Tensor, d], strength: float = 1.0) -> Edit:
    """Add ``strength * direction`` at every position; the direction is taken as given, not normalised."""
    vector = _vector(direction, "steering direction")

    def transform(rows: Tensor) -> Tensor:
        return rows + strength * _fit(vector, rows)

    return Edit(Site.parse(site), transform, "steer", {"direction": vector, "strength": strength})


def project_out(site: str | Site, directions: Float[Tensor, "k d"], strength: float = 1.0) -> Edit:
    """Remove the part of the rows that lies in the span of the directions: ``h - strength * h Q Q^T``.

    ``directions`` is ``[d]`` or ``[k, d]`` and need not be orthogonal; Q is an orthonormal base of its span.
    """
    vectors = torch.atleast_2d(_tensor(directions))
    if vectors.dim() != 2 or not bool(torch.isfinite(vectors).all()):
        raise ConfigError(f"Directions to project out are finite numbers of shape [k, d], not {tuple(vectors.shape)}.")
    base = _orthonormal(vectors)

    def transform(rows: Tensor) -> Tensor:
        q = _fit(base, rows)
        return rows - strength * (rows @ q.T) @ q

    return Edit(Site.parse(site), transform, "project_out", {"directions": vectors, "strength": strength})


def ablate(site: str | Site, direction: Float[Tensor, d], strength: float = 1.0) -> Edit:
    """`project_out` under the name that people look for."""
    return project_out(site, direction, strength)


def clamp(site: str | Site, direction: Float[Tensor, d], value: float) -> Edit:
    """Set the coordinate along the unit direction to ``value`` at every position."""
    vector = _vector(direction, "direction to clamp")
    if float(vector.norm()) == 0:
        raise ConfigError("A direction of length zero has no coordinate to clamp: give another direction.")
    unit = vector / vector.norm()

    def transform(rows: Tensor) -> Tensor:
        u = _fit(unit, rows)
        return rows + (value - rows @ u)[..., None] * u

    return Edit(Site.parse(site), transform, "clamp", {"direction": vector, "value": value})


def zero(site: str | Site, strength: float = 1.0) -> Edit:
    """Replace the activations by zero (at strength .5, by half of them)."""

    def transform(rows: Tensor) -> Tensor:
        return rows * (1 - strength)

    return Edit(Site.parse(site), transform, "zero", {"strength": strength})


def mean(site: str | Site, mean: Float[Tensor, d], strength: float = 1.0) -> Edit:
    """Replace the activations by a mean row (at strength .5, go half of the way)."""
    vector = _vector(mean, "mean")

    def transform(rows: Tensor) -> Tensor:
        return rows + strength * (_fit(vector, rows) - rows)

    return Edit(Site.parse(site), transform, "mean", {"mean": vector, "strength": strength})


_MAKERS: dict[str, Callable[..., Edit]] = {
    "steer": steer,
    "project_out": project_out,
    "clamp": clamp,
    "zero": zero,
    "mean": mean,
}
_STRENGTH = {
    "steer": "strength",
    "project_out": "strength",
    "clamp": "value",
    "zero": "strength",
    "mean": "strength",
}


def make_edit(kind: str, site: str | Site, arguments: Mapping[str, Any]) -> Edit:
    """The edit of this kind; lists stand for tensors."""
    if kind not in _MAKERS:
        raise UnknownNameError("edit", kind, _MAKERS)
    return _MAKERS[kind](site, **arguments)


def _tensor(values: Any) -> Tensor:
    # A copy: an edit stays what it was when the caller's array changes.
    return torch.as_tensor(values).detach().to(torch.float32, copy=True)


def _vector(values: Any, what: str) -> Float[Tensor, d]:
    vector = _tensor(values)
    if vector.dim() != 1 or not bool(torch.isfinite(vector).all()):
        raise ConfigError(f"A {what} is finite numbers of shape [d], not {tuple(vector.shape)}.")
    return vector


def _orthonormal(vectors: Float[Tensor, "k d"]) -> Float[Tensor, "r d"]:
    _, values, base = torch.linalg.svd(vectors.double(), full_matrices=False)
    tolerance = max(vectors.shape) * torch.finfo(torch.float32).eps * values.max() if values.numel() else 0.0
    return base[values > tolerance].float()


def _fit(vectors: Float[Tensor, "... d"], rows: Float[Tensor, "b t d"]) -> Float[Tensor, "... d"]:
    if vectors.shape[-1] != rows.shape[-1]:
        raise ConfigError(f"The edit has {vectors.shape[-1]} numbers and the site {rows.shape[-1]}: use one of that width.")
    return vectors.to(rows)
