"""Stability: does another seed find the concept again?"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import beta
from torch import Tensor

from workbench.concepts import ConceptSet
from workbench.evidence.attempts import Found, failed
from workbench.evidence.family import Family, Tried
from workbench.evidence.metrics import QUESTIONS, of_family
from workbench.statistics.directions import isotropic_directions
from workbench.statistics.few_draws import rank_or_tail_p
from workbench.statistics.nulls import upper
from workbench.statistics.rows import Null, row

CONTROLS = 1000
FAMILY = "every concept of the run against another seed"


def best_cosines(
    directions: Float[Tensor, "c d"], others: Float[Tensor, "o d"], chunk: int = 1024
) -> tuple[Float[Tensor, "c"], Tensor]:
    """Largest cosine of each direction with any of the others, and which one that is."""
    parts = [(block @ others.T).max(1) for block in directions.split(chunk)]
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])


def stability_rows(concepts: ConceptSet, replica: ConceptSet, seed: int) -> list[dict[str, object]]:
    """Cosine of each concept with its match in a run with another seed.

    A discovered concept may match any of the replica's; the null is the best match that random directions find there. A
    labelled concept is matched with the same label's; the null is a random direction's cosine with it.
    """
    theirs = replica.directions()
    random = isotropic_directions(CONTROLS, concepts.width, seed)
    any_null = best_cosines(random, theirs)[0].numpy()
    one_null = (random @ theirs[0]).numpy()
    free, _ = best_cosines(concepts.directions(), theirs)
    place_of = {label: i for i, label in enumerate(replica.table["label"]) if label}
    rows: list[dict[str, object]] = []
    for place, label in enumerate(concepts.table["label"]):
        if label and label not in place_of:
            reason = "the run with the other seed has no concept of this label"
            rows.append({"place": place, "metric": "stable.cosine", "label": label, "status": "failed", "error": reason})
            continue
        draws = one_null if label else any_null
        value = float(concepts.directions()[place] @ theirs[place_of[label]]) if label else float(free[place])
        p = cosine_p(value, draws, concepts.width, 1 if label else len(theirs))
        null = Null(float(draws.mean()), float(upper(draws)), p, FAMILY)
        rows.append(row("stable.cosine", value, null, n=1, place=place, label=label))
    return rows


def cosine_p(value: float, draws: Float[np.ndarray, " r"], width: int, others: int) -> float:
    """p of a direction's largest cosine with some others among those of random directions.

    A rank; beyond all draws at most ``others`` times the probability that a random direction has such a cosine with one of them,
    ``I(1 - cosine^2; (width - 1) / 2, 1 / 2) / 2`` by the incomplete beta function, which no arrangement of the others exceeds.
    """
    one = 0.5 * float(beta.sf(min(value, 1.0) ** 2, 0.5, (width - 1) / 2)) if value > 0 else 1.0
    return float(rank_or_tail_p((draws >= value).sum(), len(draws), min(1.0, others * one)))


class Stable(Family):
    """Whether another seed finds a concept again."""

    name = "stable"
    question = QUESTIONS["stable"]
    metrics = of_family("stable")

    def measure(self, tried: Tried) -> Found:
        """Against the run with another seed, where there is one."""
        if tried.no_replica:
            return failed(["stable.cosine"], tried.no_replica, range(len(tried.concepts))), {}
        return (stability_rows(tried.concepts, tried.replica, tried.seed) if tried.replica is not None else []), {}
