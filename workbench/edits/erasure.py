"""Linear concept erasure: after it no linear map reads the concept from the activations better than a constant.

LEACE (Belrose et al. 2023, arXiv:2306.03819) by the authors' package ``concept-erasure``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.edits.edit import Edit
from workbench.edits.kinds import edit_kind
from workbench.edits.linear import as_tensor, fitting
from workbench.errors import ConfigError, DataError
from workbench.sites import Site


@dataclass(frozen=True)
class Eraser:
    """A fitted eraser: ``x - (x - bias) @ right.T @ left.T``, in float64.

    Attributes:
        left: ``[d, k]``.
        right: ``[k, d]``.
        bias: ``[d]``, the mean of the rows it was fitted to; their mean stays.
    """

    left: Float[Tensor, "d k"]
    right: Float[Tensor, "k d"]
    bias: Float[Tensor, d]

    def at(self, site: str | Site, strength: float = 1.0) -> Edit:
        """The edit that erases at a site."""
        return erase(site, self.left, self.right, self.bias, strength)


def fit_eraser(rows: Float[Tensor, "n d"], labels: Float[Tensor, "n k"]) -> Eraser:
    """Fit LEACE to rows and their labels, in float64.

    Args:
        rows: ``[n, d]`` activations.
        labels: ``[n]`` or ``[n, k]``: one column a concept; 0 and 1, or any numbers.

    Raises:
        DataError: Rows and labels differ in number, hold what is not finite, or a label never varies.
    """
    from concept_erasure import LeaceFitter

    x = torch.as_tensor(rows).detach().to(torch.float64)
    z = torch.as_tensor(labels).detach().to(torch.float64)
    z = z[:, None] if z.dim() == 1 else z
    if x.dim() != 2 or z.dim() != 2 or len(x) != len(z) or len(x) < 2:
        raise DataError(
            f"Erasure needs rows [n, d] and labels [n, k] of the same n > 1, not {list(x.shape)} and {list(z.shape)}."
        )
    if not bool(torch.isfinite(x).all()) or not bool(torch.isfinite(z).all()):
        raise DataError("Rows and labels must be finite: leave out the rows whose label is not known.")
    if bool((z.std(0) == 0).any()):
        raise DataError("A label is the same in every row, so there is nothing to erase: give rows of both kinds.")
    # The package drops small singular values of the cross-covariance for stability in float32, and a trace would stay.
    fitted = LeaceFitter.fit(x, z, svd_tol=1e-12).eraser
    bias = fitted.bias if fitted.bias is not None else x.mean(0)
    return Eraser(fitted.proj_left, fitted.proj_right, bias)


@edit_kind("erase", strength="strength")
def erase(site: str | Site, left: Any, right: Any, bias: Any, strength: float = 1.0) -> Edit:
    """Apply a fitted eraser at every position; see `fit_eraser`."""
    p, q, mean = (as_tensor(part, torch.float64) for part in (left, right, bias))
    shaped = p.dim() == 2 and q.shape == p.T.shape and mean.shape == p.shape[:1]
    if not shaped or not all(bool(torch.isfinite(part).all()) for part in (p, q, mean)):
        found = [tuple(x.shape) for x in (p, q, mean)]
        raise ConfigError(f"An eraser is left [d, k], right [k, d] and bias [d] of finite numbers, not {found}.")

    def transform(rows: Tensor) -> Tensor:
        centred = rows.double() - fitting(mean, rows).double()
        traced = centred @ q.to(rows.device).T @ p.to(rows.device).T
        return (rows.double() - strength * traced).to(rows.dtype)

    return Edit(Site.parse(site), transform, "erase", {"left": p, "right": q, "bias": mean, "strength": strength})
