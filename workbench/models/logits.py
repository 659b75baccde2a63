"""Logits over a vocabulary, a block of positions at a time: an array ``[batch, t, vocabulary]`` is never made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.memory import rows_at_once

# Logits of the unedited and the edited model, probabilities, and what the sums need beside them.
_ARRAYS = 6
LOGITS_A_TEXT = 2**20
"""How many logits are looked at of each held-out text when an intervention is measured; see `thinned`."""


@dataclass(frozen=True)
class TokenLogits:
    """The logits of some positions, made when they are read.

    Attributes:
        rows: ``[n, d]``: what the unembedding reads at each position.
        unembed: Makes logits ``[m, v]`` of some rows.
    """

    rows: Float[Tensor, "n d"]
    unembed: Callable[[Float[Tensor, "m d"]], Float[Tensor, "m v"]]

    @staticmethod
    def known(logits: Float[Tensor, "n v"]) -> TokenLogits:
        """Of logits that are there already."""
        return TokenLogits(logits, lambda rows: rows)

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, chosen: Bool[Tensor, "n"] | Int[Tensor, "m"]) -> TokenLogits:
        """Of some of the positions."""
        return TokenLogits(self.rows[chosen.to(self.rows.device)], self.unembed)

    def block(self, start: int, stop: int) -> Float[Tensor, "m v"]:
        """The logits of the positions from ``start`` to ``stop``, float32."""
        with torch.no_grad():
            return self.unembed(self.rows[start:stop]).float()

    def blocks(self) -> Iterator[tuple[int, int]]:
        """First and last-plus-one position of the blocks that fit into the memory budget, see `memory_budget`."""
        if not len(self):
            return
        width = self.block(0, 1).shape[1]
        step = rows_at_once(width, _ARRAYS, str(self.rows.device))
        for start in range(0, len(self), step):
            yield start, min(start + step, len(self))


@dataclass(frozen=True)
class Shift:
    """What an edit did to the distribution over the next token, at each position.

    Attributes:
        divergence: ``[n]``: KL(base || edited), nats.
        loss: ``[n]``: negative log probability of the true next token under the edited model, nats; empty without true tokens.
        odds: ``[n, s]``: log odds under the edited model that the next token is in each set.
    """

    divergence: Float[Tensor, "n"]
    loss: Float[Tensor, "n"]
    odds: Float[Tensor, "n s"]


def shifts(
    base: TokenLogits,
    edited: Sequence[TokenLogits],
    true: Int[Tensor, "n"] | None = None,
    sets: Sequence[Int[Tensor, "m"]] = (),
    callback: Callable[[float], None] = lambda _: None,
) -> list[Shift]:
    """How the next-token distribution of each edited model differs from the unedited one's, at the same ``n`` positions.

    Args:
        base: Of the unedited model.
        edited: Of the same positions, once for each edit.
        true: The next token at each position.
        sets: Token ids whose joint odds are followed.
        callback: Called with the share that is done, up to 1.
    """
    n, device = len(base), base.rows.device
    kept = [(torch.zeros(n), torch.zeros(n if true is not None else 0), torch.zeros(n, len(sets))) for _ in edited]
    here = [ids.to(device) for ids in sets]
    true = None if true is None else true.to(device)
    for start, stop in base.blocks():
        before = base.block(start, stop)
        # One scratch array for all: fresh ones of this size cost as much as the sums.
        scratch = torch.empty_like(before)
        norm = _log_sum(before, scratch)
        probs = _exp_(before - norm[:, None])
        for number, (one, (divergence, loss, odds)) in enumerate(zip(edited, kept, strict=True), 1):
            after = one.block(start, stop)
            total = _log_sum(after, scratch)
            if true is not None:
                loss[start:stop] = (total - after.gather(-1, true[start:stop, None])[:, 0]).cpu()
            if sets:
                odds[start:stop] = set_odds(after, total, here).cpu()
            # The difference first: logits are large and what an edit changes is often small.
            moved = torch.einsum("nv,nv->n", probs, torch.sub(after, before, out=scratch))
            divergence[start:stop] = (total - norm - moved).cpu()
            callback((start + (stop - start) * number / len(edited)) / n)
    return [Shift(*each) for each in kept]


def readings(
    of: TokenLogits, true: Int[Tensor, "n"], sets: Sequence[Int[Tensor, "m"]] = ()
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n s"]]:
    """Loss of the true next token and log odds of token sets at each position, in nats, of one model."""
    loss, odds = torch.zeros(len(of)), torch.zeros(len(of), len(sets))
    here, true = [ids.to(of.rows.device) for ids in sets], true.to(of.rows.device)
    for start, stop in of.blocks():
        logits = of.block(start, stop)
        total = _log_sum(logits, torch.empty_like(logits))
        loss[start:stop] = (total - logits.gather(-1, true[start:stop, None])[:, 0]).cpu()
        if sets:
            odds[start:stop] = set_odds(logits, total, here).cpu()
    return loss, odds


def _log_sum(logits: Float[Tensor, "n v"], scratch: Float[Tensor, "n v"]) -> Float[Tensor, "n"]:
    """The logarithm of the sum of the exponentials of each row."""
    most = logits.amax(-1, keepdim=True)
    return _exp_(torch.sub(logits, most, out=scratch)).sum(-1).log() + most[:, 0]


def _exp_(x: Float[Tensor, "n v"]) -> Float[Tensor, "n v"]:
    """The exponential, in place, of numbers of which at least one a row is near 0.

    Below about -87 it is a subnormal number, which processors take up to seventy times as long for and which adds nothing to such
    a row's sum.
    """
    return x.clamp_(min=-80.0).exp_()


def set_odds(logits: Float[Tensor, "n v"], total: Float[Tensor, "n"], sets: Sequence[Int[Tensor, "m"]]) -> Float[Tensor, "n s"]:
    """Log odds that the next token is in each set; ``total`` is the logarithm of the sum of the exponentials of all logits."""
    joint = torch.stack([logits[:, ids].logsumexp(-1) - total for ids in sets], dim=-1)
    return joint - torch.log1p(-joint.exp().clamp(max=1 - 1e-6))


def thinned(chosen: Bool[Tensor, "b t"], vocabulary: int) -> Bool[Tensor, "b t"]:
    """At most so many of the chosen positions of each text that they have `LOGITS_A_TEXT` logits together, evenly spaced.

    With up to 8,192 tokens in the vocabulary, texts of 128 tokens keep every position. With more, an effect that is averaged
    over the positions of a text is averaged over fewer of them, at least four, so that its price does not grow with the
    vocabulary.
    """
    most = max(4, LOGITS_A_TEXT // vocabulary)
    rank, count = chosen.cumsum(1) - 1, chosen.sum(1, keepdim=True).clamp(min=1)
    # Of count positions numbered from 0, those at which floor(rank * most / count) grows.
    bucket, before = rank * most // count, (rank - 1) * most // count
    return chosen & ((count <= most) | (bucket != before))
