"""Random directions to hold a direction against: uniform on the sphere, and those that vary as the activations do."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def isotropic_directions(count: int, width: int, seed: int) -> Float[Tensor, "k d"]:
    """Unit vectors, uniform on the sphere."""
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(count, width, generator=generator), dim=-1)


def covariance_directions(count: int, acts_nd: Float[Tensor, "n d"], seed: int) -> Float[Tensor, "k d"]:
    """Unit vectors drawn with the covariance of some activations: they point where the activations vary.

    Each is a Gaussian combination of the centred rows, whose covariance is theirs exactly, so no matrix is factored. A direction
    that was found in data is mostly such a one by chance: held against uniform directions alone, 8 to 12% of unrelated ones
    look special at 5%.

    Args:
        count: How many.
        acts_nd: ``[n, d]``, at least two rows.
        seed: Of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    centred = acts_nd.float() - acts_nd.float().mean(0)
    drawn = torch.randn(count, len(centred), generator=generator) @ centred
    return torch.nn.functional.normalize(drawn, dim=-1)
