"""Steering a causal language model: what it does to a concept's own tokens, what it costs, and what chance would do.

Every arm pushes by the same norm at every position that a capture takes: the concept, its sign-flipped direction, directions with
the concept's coordinates shuffled, and random directions. The texts are held out, and the units of all intervals are texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.concepts import ConceptSet
from workbench.conversations import DEFAULT_POSITIONS
from workbench.edits import Edits
from workbench.evidence.causes import passes_at_once, pushed, random_directions, rank_p, repeat
from workbench.models import Batch, Model, Site
from workbench.models.logits import TokenLogits, readings, shifts, thinned
from workbench.progress import Progress, part_of

DOSES = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
RANDOM, RANDOM_AT_DOSE = 40, 200
SHUFFLED = 5
ARM_PASSES = (2 + SHUFFLED) * len(DOSES)
COST = 0.10
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
class Arms:
    """What one concept's direction did, with the controls that are its own: each of one direction, ``shuffled`` of several."""

    concept: Reading
    flipped: Reading
    shuffled: Reading


@dataclass(frozen=True)
class Control:
    """What random directions did, with one token set a concept.

    Attributes:
        curve: Some directions at every dose, ``[k, q, e, s]``.
        at: Many directions, the former among them, at the doses that some concept is judged at, ``[k, 1, e, s]``: forty give
            the 95th percentile to about 15%, two hundred to 7%.
    """

    curve: Reading
    at: dict[float, Reading]

    def null(self, dose: float, column: int) -> Float[np.ndarray, "k"]:
        """Absolute change of a token set's log odds by each direction, mean over texts."""
        found = self.at[dose].odds[:, 0] if dose in self.at else self.curve.odds[:, DOSES.index(dose)]
        return np.abs(found[..., column].mean(-1))


@dataclass(frozen=True)
class Passages:
    """Held-out texts as one batch, with the unedited model's reading of them.

    Attributes:
        batch: The texts.
        positions: Where they are steered, see `workbench.conversations.POSITIONS`.
        scored: Positions whose next token is scored, ``[e, t - 1]``; ``n`` of them are. With a large vocabulary they are some
            of each text, evenly spaced, see `workbench.models.logits.thinned`.
        text: The text of each, ``[n]``.
        true: The next token of each, ``[n]``.
        tokens: The unedited model's logits at each of the ``n``.
        loss: Of the unedited model, ``[e]``, nats a token.
    """

    batch: Batch
    positions: str
    scored: Bool[Tensor, "e t"]
    text: Int[Tensor, "n"]
    true: Int[Tensor, "n"]
    tokens: TokenLogits
    loss: Float[np.ndarray, "e"]

    def mean(self, values: Float[Tensor, "n *rest"]) -> Float[np.ndarray, "e *rest"]:
        """Mean over the scored positions of each text."""
        total = torch.zeros(len(self.scored), *values.shape[1:]).index_add_(0, self.text, values.cpu())
        count = self.scored.sum(1).clamp(min=1).to(total)
        return (total / count.reshape(-1, *[1] * (values.ndim - 1))).numpy()


def read_passages(model: Model, texts: Sequence[str], positions: str = DEFAULT_POSITIONS) -> Passages:
    """The texts as the unedited model reads them, to be steered at some positions."""
    batch = model.batch(list(texts))
    tokens = _tokens(model, batch)
    scored = thinned(batch.attention[:, 1:] & batch.keep[:, 1:], tokens.block(0, 1).shape[1])
    tokens = tokens.select(_before_next(scored))
    true = batch.inputs["input_ids"][:, 1:][scored]
    read = Passages(batch, positions, scored.cpu(), scored.nonzero()[:, 0].cpu(), true, tokens, np.zeros(len(batch), np.float32))
    return replace(read, loss=read.mean(readings(tokens, true)[0]))


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
    """Add ``dose * scale`` times each direction at the positions of the passages, and read the next-token distribution.

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
    _, base = readings(passages.tokens, passages.true, sets)
    at = _before_next(passages.scored)
    jobs = [(k, q) for k in range(len(directions)) for q in range(len(doses))]
    step = passes_at_once(model, passages.batch)
    for begin in range(0, len(jobs), step):
        if progress:
            progress(begin, len(jobs), f"steering at {site}")
        part = jobs[begin : begin + step]
        pushes = torch.stack([directions[k] * (doses[q] * scale) for k, q in part])
        with model.edited(pushed(site, pushes, e, passages.positions)):
            steered = _tokens(model, repeat(passages.batch, len(part)))
        each = [replace(steered, rows=rows).select(at.to(rows.device)) for rows in steered.rows.chunk(len(part))]
        for (k, q), shift in zip(part, shifts(passages.tokens, each, passages.true, sets), strict=True):
            odds[k, q] = passages.mean(shift.odds - base)
            loss[k, q] = passages.mean(shift.loss) - passages.loss
            divergence[k, q] = passages.mean(shift.divergence)
    return Reading(odds, loss, divergence)


def firing(
    model: Model,
    site: Site,
    pushes: Sequence[Float[Tensor, d] | None],
    passages: Passages,
    watched: Sequence[ConceptSet],
    progress: Progress | None = None,
) -> list[Float[np.ndarray, "k c"]]:
    """Mean activation of every watched concept while each push is added at ``site``; None is the unedited model.

    Returns:
        One array a watched set; the mean is over the texts' tokens.
    """
    places = [model.site(concepts.site) for concepts in watched]
    found: list[list[np.ndarray]] = [[] for _ in watched]
    for done, push in enumerate(pushes):
        if progress:
            progress(done, len(pushes), f"what else fires at {site}")
        edits = Edits() if push is None else Edits([pushed(site, push[None], len(passages.batch), passages.positions)])
        with model.edited(edits):
            seen = model.activations(passages.batch, places)
        for number, (place, concepts) in enumerate(zip(places, watched, strict=True)):
            found[number].append(concepts.encode(seen[place][passages.batch.keep]).mean(0).cpu().numpy())
    return [np.stack(rows) for rows in found]


def shuffled_directions(direction: Float[Tensor, d], count: int, seed: int) -> Float[Tensor, "k d"]:
    """The direction with its coordinates in random orders: same norm, same values, nothing of the concept."""
    rng = torch.Generator().manual_seed(seed)
    return torch.stack([direction[torch.randperm(len(direction), generator=rng)] for _ in range(count)])


def control_directions(width: int, seed: int) -> Float[Tensor, "k d"]:
    """The random directions that every concept of a site is held against."""
    return random_directions(RANDOM_AT_DOSE, width, seed)


def steer_arms(
    model: Model,
    site: Site,
    direction: Float[Tensor, d],
    scale: float,
    passages: Passages,
    own: Int[Tensor, "m"],
    seed: int,
    progress: Progress | None = None,
) -> Arms:
    """Steer by a concept, by its flipped direction and by shuffled ones, at every dose; see `steer_passages`.

    Progress counts `ARM_PASSES` in all.
    """
    every = torch.cat([direction[None], -direction[None], shuffled_directions(direction, SHUFFLED, seed)])
    found = steer_passages(model, site, every, DOSES, scale, passages, [own], progress)
    parts = (slice(0, 1), slice(1, 2), slice(2, None))
    return Arms(*(Reading(found.odds[part], found.loss[part], found.divergence[part]) for part in parts))


def steer_control(
    model: Model,
    site: Site,
    random: Float[Tensor, "k d"],
    doses: Iterable[float],
    scale: float,
    passages: Passages,
    sets: Sequence[Int[Tensor, "m"]],
    progress: Progress | None = None,
) -> Control:
    """Steer by the first `RANDOM` of some random directions at every dose, and by all of them at ``doses``."""
    judged = sorted(set(doses))
    few, many = RANDOM * len(DOSES), len(random) - RANDOM
    total = few + many * len(judged)
    curve = steer_passages(model, site, random[:RANDOM], DOSES, scale, passages, sets, part_of(progress, 0, total))
    at = {}
    for number, dose in enumerate(judged):
        show = part_of(progress, few + many * number, total)
        rest = steer_passages(model, site, random[RANDOM:], [dose], scale, passages, sets, show)
        place = slice(DOSES.index(dose), DOSES.index(dose) + 1)
        pairs = ((curve.odds, rest.odds), (curve.loss, rest.loss), (curve.divergence, rest.divergence))
        at[dose] = Reading(*(np.concatenate([few[:, place], more]) for few, more in pairs))
    return Control(curve, at)


def dose_table(arms: Arms, control: Control, column: int, passages: Passages) -> pd.DataFrame:
    """The dose curves of one concept and its controls.

    ``column`` is the concept's token set in ``control``; its own arms follow that set alone.

    Returns:
        One row an arm and dose: ``arm, dose``, then ``odds`` (change of log odds of its own tokens), ``cost`` (relative
        change of the loss) and ``kl``, each with ``_low`` and ``_high``: 95% intervals over texts for one direction, the
        middle 95% over directions for the control arms; ``odds_null`` is the 95th percentile of ``|odds|`` over random
        directions at that dose.
    """
    base = passages.loss.mean()
    null = [np.quantile(control.null(dose, column), 0.95) for dose in DOSES]
    tables = []
    for arm, reading, place in (
        ("concept", arms.concept, 0), ("flipped", arms.flipped, 0), ("shuffled", arms.shuffled, 0),
        ("random", control.curve, column),
    ):  # fmt: skip
        measures = {"odds": reading.odds[..., place], "cost": reading.loss / base, "kl": reading.divergence}
        table = pd.DataFrame({"arm": arm, "dose": [0.0, *DOSES], "odds_null": [0.0, *null]})
        for name, values in measures.items():
            spread = _over_texts(values[0]) if arm in {"concept", "flipped"} else _over_directions(values)
            for suffix, column_values in zip(("", "_low", "_high"), spread, strict=True):
                table[f"{name}{suffix}"] = np.concatenate([[0.0], column_values])
        tables.append(table)
    return pd.concat(tables).reset_index(drop=True)


def recommended(concept: Reading, passages: Passages, doses: Sequence[float] = DOSES, most: float = COST) -> float | None:
    """The dose that moves the concept's own tokens most among those whose cost stays below ``most``, interval included.

    ``concept`` is the reading of its direction alone, at ``doses``. No random direction is looked at, so these can be measured at
    that dose afterwards.
    """
    _, _, dear = _over_texts(concept.loss[0] / passages.loss.mean())
    moved = np.where(dear < most, np.abs(concept.odds[0, ..., 0].mean(-1)), -1.0)
    return doses[int(moved.argmax())] if moved.max() >= 0 else None


def steering_rows(
    table: pd.DataFrame, dose: float | None, control: Control, column: int, passages: Passages
) -> list[dict[str, object]]:
    """Evidence of one steered concept at its recommended dose; failed, with the reason, where there is none."""
    texts = len(passages.batch)
    if dose is None:
        least = table[table["arm"].eq("concept") & table["dose"].gt(0)].iloc[0]
        reason = (
            f"even the smallest dose, {least['dose']:g} of the typical norm, costs up to {least['cost_high']:.0%} of the loss"
        )
        return [{"metric": m, "status": "failed", "error": reason, "n": texts} for m in ("causes.tokens", "causes.cost")]
    row = table[table["arm"].eq("concept") & table["dose"].eq(dose)].iloc[0]
    nulls = control.null(dose, column)
    costs = control.at[dose].loss[:, 0].mean(-1) / passages.loss.mean()
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


def _tokens(model: Model, batch: Batch) -> TokenLogits:
    tokens = model.forward(batch, logits=False)[0].tokens
    assert tokens is not None, "steering is measured on causal language models"
    return tokens


def _before_next(scored: Bool[Tensor, "e t"]) -> Bool[Tensor, "n"]:
    """Of the positions of all texts one after another, those that come right before a scored one."""
    return torch.nn.functional.pad(scored, (0, 1)).flatten()
