"""The encoders of sparse dictionaries, as sae-lens computes them: from centred rows or pre-activations to codes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def topk(pre: Float[Tensor, "n c"], k: int) -> Float[Tensor, "n c"]:
    """The k largest pre-activations, where positive (Gao et al. 2024, arXiv:2406.04093)."""
    top, where = torch.topk(pre, k=min(k, pre.shape[-1]), dim=-1, sorted=False)
    return torch.zeros_like(pre).scatter_(-1, where, top.relu())


def abs_topk(pre: Float[Tensor, "n c"], k: int) -> Float[Tensor, "n c"]:
    """The k pre-activations of largest magnitude, with their signs (arXiv:2510.00404)."""
    where = torch.topk(pre.abs(), k=min(k, pre.shape[-1]), dim=-1, sorted=False).indices
    return torch.zeros_like(pre).scatter_(-1, where, pre.gather(-1, where))


def jump_relu(pre: Float[Tensor, "n c"], threshold: Float[Tensor, c]) -> Float[Tensor, "n c"]:
    """Pre-activations above their latent's threshold (Rajamanoharan et al. 2024, arXiv:2407.14435)."""
    return pre.relu() * (pre > threshold)


def gated(
    x: Float[Tensor, "n d"],
    w_enc: Float[Tensor, "d c"],
    b_gate: Float[Tensor, c],
    r_mag: Float[Tensor, c],
    b_mag: Float[Tensor, c],
) -> Float[Tensor, "n c"]:
    """Magnitudes where the gate is open (Rajamanoharan et al. 2024, arXiv:2404.16014)."""
    gate = x @ w_enc + b_gate > 0
    return gate * (x @ (w_enc * r_mag.exp()) + b_mag).relu()


def matching_pursuit(
    x: Float[Tensor, "n d"],
    w_dec: Float[Tensor, "c d"],
    residual_threshold: float = 1e-2,
    max_iterations: int | None = None,
    stop_on_duplicate_support: bool = True,
) -> Float[Tensor, "n c"]:
    """Greedy decomposition into decoder rows, one at a time.

    Args:
        x: Rows, centred.
        w_dec: Decoder rows.
        residual_threshold: A row is done when the norm of what is left of it is below this; 0 for no such stop.
        max_iterations: At most so many steps; d when None.
        stop_on_duplicate_support: A row is also done when a step brings in no new decoder row.
    """
    left = x.clone()
    codes = x.new_zeros(len(x), len(w_dec))
    done = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    support = torch.zeros(codes.shape, dtype=torch.bool, device=x.device)
    for _ in range(x.shape[1] if max_iterations is None else max_iterations):
        chosen = (left @ w_dec.T).relu().max(dim=1, keepdim=True).indices
        atoms = w_dec[chosen[:, 0]]
        values = (left * atoms).sum(-1, keepdim=True).relu() * ~done[:, None]
        codes.scatter_add_(1, chosen, values)
        left = left - values * atoms
        if stop_on_duplicate_support:
            before, support = support, codes != 0
            done = done | (support == before).all(dim=1)
        if residual_threshold > 0:
            done = done | (left.norm(dim=-1) < residual_threshold)
        # Asked of a device once a step; without numbers (meta) there is nothing to ask.
        if not codes.is_meta and bool(done.all()):
            break
    return codes
