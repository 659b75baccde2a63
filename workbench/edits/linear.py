"""Edits that are linear in the activations: along one direction, within a span, or of the whole row."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.edits.edit import Edit
from workbench.edits.kinds import edit_kind
from workbench.errors import ConfigError
from workbench.sites import Site


@edit_kind("steer", strength="strength")
def steer(site: str | Site, direction: Float[Tensor, d], strength: float = 1.0) -> Edit:
    """Add ``strength * direction`` at every position; the direction is taken as given, not normalised."""
    vector = as_vector(direction, "steering direction")

    def transform(rows: Tensor) -> Tensor:
        return rows + strength * fitting(vector, rows)

    return Edit(Site.parse(site), transform, "steer", {"direction": vector, "strength": strength})


@edit_kind("project_out", strength="strength")
def project_out(site: str | Site, directions: Float[Tensor, "k d"], strength: float = 1.0) -> Edit:
    """Remove the part of the rows that lies in the span of the directions: ``h - strength * h Q Q^T``.

    ``directions`` is ``[d]`` or ``[k, d]`` and need not be orthogonal; Q is an orthonormal base of its span.
    """
    vectors = torch.atleast_2d(as_tensor(directions))
    if vectors.dim() != 2 or not bool(torch.isfinite(vectors).all()):
        raise ConfigError(f"Directions to project out are finite numbers of shape [k, d], not {tuple(vectors.shape)}.")
    base = _orthonormal(vectors)

    def transform(rows: Tensor) -> Tensor:
        q = fitting(base, rows)
        return rows - strength * (rows @ q.T) @ q

    return Edit(Site.parse(site), transform, "project_out", {"directions": vectors, "strength": strength})


def ablate(site: str | Site, direction: Float[Tensor, d], strength: float = 1.0) -> Edit:
    """`project_out` under the name that people look for."""
    return project_out(site, direction, strength)


@edit_kind("clamp", strength="value")
def clamp(site: str | Site, direction: Float[Tensor, d], value: float) -> Edit:
    """Set the coordinate along the unit direction to ``value`` at every position."""
    vector = as_vector(direction, "direction to clamp")
    if float(vector.norm()) == 0:
        raise ConfigError("A direction of length zero has no coordinate to clamp: give another direction.")
    unit = vector / vector.norm()

    def transform(rows: Tensor) -> Tensor:
        u = fitting(unit, rows)
        return rows + (value - rows @ u)[..., None] * u

    return Edit(Site.parse(site), transform, "clamp", {"direction": vector, "value": value})


@edit_kind("zero", strength="strength")
def zero(site: str | Site, strength: float = 1.0) -> Edit:
    """Replace the activations by zero (at strength .5, by half of them)."""

    def transform(rows: Tensor) -> Tensor:
        return rows * (1 - strength)

    return Edit(Site.parse(site), transform, "zero", {"strength": strength})


@edit_kind("mean", strength="strength")
def mean(site: str | Site, mean: Float[Tensor, d], strength: float = 1.0) -> Edit:
    """Replace the activations by a mean row (at strength .5, go half of the way)."""
    vector = as_vector(mean, "mean")

    def transform(rows: Tensor) -> Tensor:
        return rows + strength * (fitting(vector, rows) - rows)

    return Edit(Site.parse(site), transform, "mean", {"mean": vector, "strength": strength})


def as_tensor(values: Any, dtype: torch.dtype = torch.float32) -> Tensor:
    """A detached copy."""
    # A copy: an edit stays what it was when the caller's array changes.
    return torch.as_tensor(values, dtype=dtype).detach().clone()


def as_vector(values: Any, what: str) -> Float[Tensor, d]:
    """Finite numbers ``[d]``, or a `ConfigError`."""
    vector = as_tensor(values)
    if vector.dim() != 1 or not bool(torch.isfinite(vector).all()):
        raise ConfigError(f"A {what} is finite numbers of shape [d], not {tuple(vector.shape)}.")
    return vector


def _orthonormal(vectors: Float[Tensor, "k d"]) -> Float[Tensor, "r d"]:
    _, values, base = torch.linalg.svd(vectors.double(), full_matrices=False)
    tolerance = max(vectors.shape) * torch.finfo(torch.float32).eps * values.max() if values.numel() else 0.0
    return base[values > tolerance].float()


def fitting(vectors: Float[Tensor, "... d"], rows: Float[Tensor, "b t d"]) -> Float[Tensor, "... d"]:
    """The vectors on the rows' device and in their type. `ConfigError` when the widths differ."""
    if vectors.shape[-1] != rows.shape[-1]:
        raise ConfigError(f"The edit has {vectors.shape[-1]} numbers and the site {rows.shape[-1]}: use one of that width.")
    return vectors.to(rows)
