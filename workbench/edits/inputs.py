"""Edits that bring in activations from elsewhere: another input, or draws from data."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.edits.edit import Edit, Pass, PlacedEdit
from workbench.edits.kinds import edit_kind
from workbench.edits.linear import as_tensor, as_vector, fitting
from workbench.errors import ConfigError
from workbench.seeds import check_seed
from workbench.sites import Site

MOST_POSITIONS = 1 << 16


@edit_kind("patch", strength="strength")
def patch(site: str | Site, rows: Float[Tensor, "t d"], start: int = 0, strength: float = 1.0) -> Edit:
    """Put the rows of another input in: row i stands at position ``start + i``, others stay (activation patching).

    Take the rows from ``model.activations(batch, [site])[site][0]``. At strength .5 the activation goes half of the way.
    Special tokens keep their own rows; ``.at(None, special=True)`` patches them as well.
    """
    values = as_tensor(rows)
    if values.dim() != 2 or not len(values) or not bool(torch.isfinite(values).all()):
        raise ConfigError(f"Rows to patch in are finite numbers of shape [t, d], not {tuple(values.shape)}.")
    if start < 0:
        raise ConfigError(f"Patched rows start at a position from 0 up, not {start}.")

    def transform(h_btd: Tensor, here: Pass) -> Tensor:
        own, first = fitting(values, h_btd), here.first
        low, high = max(start, first), min(start + len(own), first + h_btd.shape[1])
        if low >= high:
            return h_btd
        out = h_btd.clone()
        place = slice(low - first, high - first)
        out[:, place] = h_btd[:, place] + strength * (own[low - start : high - start] - h_btd[:, place])
        return out

    return PlacedEdit(Site.parse(site), transform, "patch", {"rows": values, "start": start, "strength": strength})


@edit_kind("resample", strength="strength")
def resample(
    site: str | Site,
    pool: Float[Tensor, "n d"],
    direction: Float[Tensor, d] | None = None,
    seed: int = 0,
    strength: float = 1.0,
) -> Edit:
    """Replace activations by rows drawn from data (resample ablation); with a direction, only their coordinate along it.

    Each position draws one row of ``pool``, the same for all inputs of a batch and at every call with this seed, so that
    two passes differ by nothing else.
    """
    values = as_tensor(pool)
    if values.dim() != 2 or not len(values) or not bool(torch.isfinite(values).all()):
        raise ConfigError(f"A pool of rows is finite numbers of shape [n, d], not {tuple(values.shape)}.")
    check_seed(seed)
    along = None if direction is None else as_vector(direction, "direction to resample")
    unit = None if along is None else _unit(along)
    drawn = torch.randint(len(values), (MOST_POSITIONS,), generator=torch.Generator().manual_seed(seed))

    def transform(h_btd: Tensor, here: Pass) -> Tensor:
        other = fitting(values[drawn[here.first : here.first + h_btd.shape[1]]], h_btd)
        change = other - h_btd
        if unit is not None:
            u = fitting(unit, h_btd)
            change = (change @ u)[..., None] * u
        return h_btd + strength * change

    arguments: dict[str, Any] = {"pool": values, "direction": along, "seed": seed, "strength": strength}
    return PlacedEdit(Site.parse(site), transform, "resample", arguments)


def _unit(vector: Float[Tensor, d]) -> Float[Tensor, d]:
    if float(vector.norm()) == 0:
        raise ConfigError("A direction of length zero has no coordinate to resample: give another direction.")
    return vector / vector.norm()
