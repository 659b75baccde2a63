"""Steering a causal language model: what it does to a concept's own tokens, what it costs, and what chance would do.

Every arm pushes by the same norm at every position: the concept, its sign-flipped direction, directions with the concept's
coordinates shuffled, and random directions. The texts are held out, and the units of all intervals are texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.analysis import Progress
from workbench.concepts import ConceptSet
from workbench.edits import Edit, Edits, steer
from workbench.evidence.causes import random_directions, rank_p, repeat
from workbench.models import Batch, Model, Site

DOSES = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
RANDOM = 40
SHUFFLED = 5
COST = 0.10
NUMBERS_AT_ONCE = 48_000_000
ARMS = {
    "concept": "the concept's direction",
    "flipped": "the same direction, sign-flipped",
    "shuffled": "its coordinates shuffled",
    "random": "random directions",
}


@dataclass(frozen=True)
class Reading:
    """What some directions did at some doses, per text.

    Attributes:
        odds: Change of the log odds of each token set, ``[k, q, e, s]``, nats, mean over positions.
        loss: Change of the next-token loss, ``[k, q, e]``, nats a token.
        divergence: KL(base || steered) of the next-token distribution, ``[k, q, e]``, nats, mean over positions.
    """

    odds: Float[np.ndarray, "k q e s"]
    loss: Float[np.ndarray, "k q e"]
    divergence: Float[np.ndarray, "k q e"]


@dataclass(frozen=True)
class Passages:
    """Held-out texts as one batch, with the unedited model's reading of them.

    Attributes:
        batch: The texts.
        scored: Positions whose next token is scored, ``[e, t - 1]``.
        log_probs: Of the unedited model, ``[e, t, v]``.
        loss: Of the unedited model, ``[e]``, nats a token.
    """

    batch: Batch
    scored: Bool[Tensor, "e t"]
    log_probs: Float[Tensor, "e t v"]
    loss: Float[np.ndarray, "e"]


def read_passages(model: Model, texts: Sequence[str]) -> Passages:
    """The texts as the unedited model reads them."""
    batch = model.batch(list(texts))
    logits = _logits(model, batch)
    scored = batch.attention[:, 1:] & batch.keep[:, 1:]
    log_probs = logits.log_softmax(-1)
    return Passages(batch, scored, log_probs, _loss(log_probs, batch, scored).numpy())


def steer_passages(
    model: Model,
    site: Site,
    directions: Float[Tensor, "k d"],
    doses: Sequence[float],
    scale: float,
    passages: Passages,
    sets: Sequence[Int[Tensor, "m"]],
    progress: Progress | None = None,
) -> Reading:
    """Add ``dose * scale`` times each direction at every position of every text, and read the next-token distribution.

    Args:
        model: A causal language model.
        site: Where to write.
        directions: Unit vectors.
        doses: Multiples of ``scale``; negative ones flip the sign.
        scale: The typical norm of an activation at the site.
        passages: Where to read.
        sets: Token ids whose joint odds are followed.
        progress: Called with ``(done, total, text)``.
    """
    e = len(passages.batch)
    shape = (len(directions), len(doses), e)
    odds, loss, divergence = np.zeros((*shape, len(sets)), np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    base = _set_odds(passages.log_probs, sets)
    jobs = [(k, q) for k in range(len(directions)) for q in range(len(doses))]
    step = max(1, NUMBERS_AT_ONCE // passages.log_probs.numel())
    for begin in range(0, len(jobs), step):
        if progress:
            progress(begin, len(jobs), "steering")
        part = jobs[begin : begin + step]
        push = torch.stack([directions[k] * (doses[q] * scale) for k, q in part]).repeat_interleave(e, dim=0)[:, None]

        def add(h_btd: Tensor, push: Tensor = push) -> Tensor:
            return h_btd + push.to(h_btd)

        with model.edited(Edit(site, add)):
            steered = _logits(model, repeat(passages.batch, len(part))).log_softmax(-1)
        for (k, q), log_probs in zip(part, steered.chunk(len(part)), strict=True):
            odds[k, q] = _mean(_set_odds(log_probs, sets) - base, passages.scored).numpy()
            loss[k, q] = _loss(log_probs, passages.batch, passages.scored).numpy() - passages.loss
            moved = (passages.log_probs.exp() * (passages.log_probs - log_probs)).sum(-1)
            divergence[k, q] = _mean(moved[:, :-1, None], passages.scored)[:, 0].numpy()
    return Reading(odds, loss, divergence)


def firing(
    model: Model,
    site: Site,
    pushes: Sequence[Float[Tensor, d] | None],
    passages: Passages,
    watched: Sequence[ConceptSet],
) -> list[Float[np.ndarray, "k c"]]:
    """Mean activation of every watched concept while each push is added at ``site``; None is the unedited model.

    Returns:
        One array a watched set; the mean is over the texts' tokens.
    """
    places = [model.site(concepts.site) for concepts in watched]
    found: list[list[np.ndarray]] = [[] for _ in watched]
    for push in pushes:
        edits = Edits() if push is None else Edits([steer(site, push)])
        with model.edited(edits):
            seen = model.activations(passages.batch, places)
        for number, (place, concepts) in enumerate(zip(places, watched, strict=True)):
            found[number].append(concepts.encode(seen[place][passages.batch.keep]).mean(0).numpy())
    return [np.stack(rows) for rows in found]


def shuffled_directions(direction: Float[Tensor, d], count: int, seed: int) -> Float[Tensor, "k d"]:
    """The direction with its coordinates in random orders: same norm, same values, nothing of the concept."""
    rng = torch.Generator().manual_seed(seed)
    return torch.stack([direction[torch.randperm(len(direction), generator=rng)] for _ in range(count)])


def control_directions(width: int, seed: int) -> Float[Tensor, "k d"]:
    """The random directions that every concept of a site is held against."""
    return random_directions(RANDOM, width, seed)


def dose_table(
    concept: Reading, flipped: Reading, shuffled: Reading, random: Reading, column: int, passages: Passages
) -> pd.DataFrame:
    """The dose curves of one concept and its controls.

    ``column`` is the concept's token set in ``random``; the other readings follow that set alone, of one direction each
    (``shuffled``: several).

    Returns:
        One row an arm and dose: ``arm, dose``, then ``odds`` (change of log odds of its own tokens), ``cost`` (relative
        change of the loss) and ``kl``, each with ``_low`` and ``_high``: 95% intervals over texts for one direction, the
        middle 95% over directions for the control arms; ``odds_null`` is the 95th percentile of ``|odds|`` over random
        directions at that dose.
    """
    base = passages.loss.mean()
    null = np.quantile(np.abs(random.odds[..., column].mean(-1)), 0.95, axis=0)
    tables = []
    for arm, reading, place in (
        ("concept", concept, 0), ("flipped", flipped, 0), ("shuffled", shuffled, 0), ("random", random, column),
    ):  # fmt: skip
        measures = {"odds": reading.odds[..., place], "cost": reading.loss / base, "kl": reading.divergence}
        table = pd.DataFrame({"arm": arm, "dose": [0.0, *DOSES], "odds_null": [0.0, *null]})
        for name, values in measures.items():
            spread = _over_texts(values[0]) if arm in {"concept", "flipped"} else _over_directions(values)
            for suffix, column_values in zip(("", "_low", "_high"), spread, strict=True):
                table[f"{name}{suffix}"] = np.concatenate([[0.0], column_values])
        tables.append(table)
    return pd.concat(tables).reset_index(drop=True)


def recommended(table: pd.DataFrame, most: float = COST) -> float | None:
    """The dose that moves the concept's own tokens most among those whose cost stays below ``most``, interval included."""
    mine = table[table["arm"].eq("concept") & table["dose"].gt(0) & table["cost_high"].lt(most)]
    return None if mine.empty else float(mine["dose"].to_numpy()[np.argmax(mine["odds"].abs().to_numpy())])


def steering_rows(table: pd.DataFrame, random: Reading, column: int, passages: Passages) -> list[dict[str, object]]:
    """Evidence of one steered concept at its recommended dose; failed, with the reason, where there is none."""
    dose, texts = recommended(table), len(passages.batch)
    if dose is None:
        least = table[table["arm"].eq("concept") & table["dose"].gt(0)].iloc[0]
        reason = (
            f"even the smallest dose, {least['dose']:g} of the typical norm, costs up to {least['cost_high']:.0%} of the loss"
        )
        return [{"metric": m, "status": "failed", "error": reason, "n": texts} for m in ("causes.tokens", "causes.cost")]
    row = table[table["arm"].eq("concept") & table["dose"].eq(dose)].iloc[0]
    place = DOSES.index(dose)
    nulls = np.abs(random.odds[:, place, :, column].mean(-1))
    costs = random.loss[:, place].mean(-1) / passages.loss.mean()
    return [
        {
            "metric": "causes.tokens", "status": "ok", "value": row["odds"], "low": row["odds_low"], "high": row["odds_high"],
            "null": nulls.mean(), "null_high": np.quantile(nulls, 0.95), "p": rank_p(abs(row["odds"]), nulls), "n": texts,
        },
        {
            "metric": "causes.cost", "status": "ok", "value": row["cost"], "low": row["cost_low"], "high": row["cost_high"],
            "null": costs.mean(), "null_high": np.quantile(costs, 0.95), "n": texts,
        },
        {"metric": "causes.dose", "status": "ok", "value": dose, "n": texts},
    ]  # fmt: skip


def _over_texts(values: Float[np.ndarray, "q e"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mean, error = values.mean(-1), 1.96 * values.std(-1, ddof=1) / np.sqrt(values.shape[-1])
    return mean, mean - error, mean + error


def _over_directions(values: Float[np.ndarray, "k q e"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    means = values.mean(-1)
    low, high = np.quantile(means, [0.025, 0.975], axis=0)
    return means.mean(0), low, high


def _logits(model: Model, batch: Batch) -> Float[Tensor, "e t v"]:
    logits = model.forward(batch)[0].logits
    assert logits is not None, "steering is measured on causal language models"
    return logits.float()


def _set_odds(log_probs: Float[Tensor, "e t v"], sets: Sequence[Int[Tensor, "m"]]) -> Float[Tensor, "e t s"]:
    """Log odds that the next token is in each set, without the last position."""
    joint = torch.stack([log_probs[:, :-1, ids].logsumexp(-1) for ids in sets], dim=-1) if sets else log_probs[:, :-1, :0]
    return joint - torch.log1p(-joint.exp().clamp(max=1 - 1e-6))


def _loss(log_probs: Float[Tensor, "e t v"], batch: Batch, scored: Bool[Tensor, "e t"]) -> Float[Tensor, "e"]:
    true = batch.inputs["input_ids"][:, 1:, None]
    return -_mean(log_probs[:, :-1].gather(-1, true), scored)[:, 0]


def _mean(values: Float[Tensor, "e t s"], scored: Bool[Tensor, "e t"]) -> Float[Tensor, "e s"]:
    weight = scored.to(values)[..., None]
    return (values * weight).sum(1) / weight.sum(1).clamp(min=1)
