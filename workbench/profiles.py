"""What a concept looks like on data: how often it is present, how strongly, and where most.

One pass over the rows serves all the concepts of a set, whichever method found them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.activations.labels import units_at
from workbench.activations.store import ActivationSet
from workbench.concepts import ConceptSet
from workbench.memory import rows_at_once
from workbench.progress import Progress, silent

BINS = 24
TOP = 12
# Concepts a step of the histogram: few, so that progress is reported often.
CONCEPTS_AT_ONCE = 128


@dataclass(frozen=True)
class Profile:
    """The tables of one set.

    Attributes:
        summary: One row a concept: ``number, density, mean, deviation, top``; density is the share of rows where the code is
            above zero, mean and deviation are over those rows for a sparse set and over all rows otherwise.
        examples: ``number, rank, example, position, token, value``: the strongest examples, one row an example.
        histogram: ``number, left, right, count`` over the rows where the concept is present (sparse) or over all rows.
    """

    summary: pd.DataFrame
    examples: pd.DataFrame
    histogram: pd.DataFrame


def profile(
    concepts: ConceptSet,
    acts: ActivationSet,
    rows: Int[np.ndarray, "n"],
    first_number: int = 0,
    chunk: int | None = None,
    progress: Progress = silent,
) -> Profile:
    """Profile every concept of a set on the given rows.

    Args:
        concepts: A set that reads sites of ``acts``.
        acts: Where to read.
        rows: Row numbers, ascending; for a set of level ``example`` their examples' means are read.
        first_number: The number of the first concept within its run.
        chunk: Rows at a time; as many as the memory budget allows, up to 8,192, when left out.
        progress: Called with the rows read, all rows, and a text.
    """
    whole = concepts.level == "example"
    units = np.unique(acts.index["example"].to_numpy()[rows]) if whole else rows
    count = len(concepts)
    best, where = torch.full((TOP * 6, count), -torch.inf), torch.zeros((TOP * 6, count), dtype=torch.long)
    fired, total, squares = (
        torch.zeros(count),
        torch.zeros(count, dtype=torch.float64),
        torch.zeros(count, dtype=torch.float64),
    )
    sample: list[Tensor] = []
    step = max(1, len(units) // 16384)
    chunk = chunk or min(8192, rows_at_once(count, 6))
    for begin in range(0, len(units), chunk):
        progress(int(begin / len(units) * len(rows)), len(rows), "profiling concepts")
        part = units[begin : begin + chunk]
        codes = concepts.encode_from(units_at(acts, part, whole))
        present = codes > 0
        fired += present.sum(0)
        total += codes.sum(0)
        squares += codes.square().sum(0)
        k = min(len(best), len(codes))
        values, index = torch.topk(codes, k, dim=0)
        merged, order = torch.topk(torch.cat([best, values]), len(best), dim=0)
        where = torch.cat([where, index + begin]).gather(0, order)
        best = merged
        sample.append(codes[-begin % step :: step].half())
    over = fired.clamp(min=1).double() if concepts.sparse else torch.full((count,), float(len(units)), dtype=torch.float64)
    mean = total / over
    std = (squares / over - mean.square()).clamp(min=0).sqrt()
    summary = pd.DataFrame(
        {
            "number": np.arange(count) + first_number,
            "density": (fired / max(len(units), 1)).numpy(),
            "mean": mean.float().numpy(),
            "deviation": std.float().numpy(),
            "top": best[0].numpy(),
        }
    )
    examples = _examples(best, where, units, acts, whole, concepts.sparse, first_number)
    return Profile(summary, examples, _histogram(torch.cat(sample), concepts.sparse, first_number, len(rows), progress))


def _examples(
    best: Float[Tensor, "k c"],
    where: Int[Tensor, "k c"],
    units: Int[np.ndarray, "n"],
    acts: ActivationSet,
    whole: bool,
    sparse: bool,
    first_number: int,
) -> pd.DataFrame:
    values, unit = best.T.numpy().ravel(), units[where.T.numpy().ravel()]
    number = np.repeat(np.arange(best.shape[1]), best.shape[0])
    keep = np.isfinite(values) & ((values > 0) if sparse else True)
    values, unit, number = values[keep], unit[keep], number[keep]
    if whole:
        table = pd.DataFrame({"number": number, "example": unit, "position": -1, "token": "", "value": values})
    else:
        index = acts.index
        table = pd.DataFrame(
            {
                "number": number,
                "example": index["example"].to_numpy()[unit],
                "position": index["position"].to_numpy()[unit],
                "token": index["token"].to_numpy()[unit],
                "value": values,
            }
        )
    table = table.drop_duplicates(["number", "example"])
    table["rank"] = table.groupby("number").cumcount()
    table = table[table["rank"] < TOP]
    table["number"] += first_number
    return table.reset_index(drop=True)


def _histogram(sample: Float[Tensor, "n c"], sparse: bool, first_number: int, work: int, progress: Progress) -> pd.DataFrame:
    """Counts of a sample of codes in bins of their own for each concept, some concepts at a time; ``work`` is told when done."""
    step = min(CONCEPTS_AT_ONCE, rows_at_once(max(len(sample), 1), 12))
    parts = []
    for begin in range(0, sample.shape[1], step):
        progress(int(begin / sample.shape[1] * work), work, "examples and histograms of concepts")
        parts.append(_counts(sample[:, begin : begin + step].float(), sparse, first_number + begin))
    return pd.concat(parts).reset_index(drop=True)


def _counts(codes: Float[Tensor, "n c"], sparse: bool, first_number: int) -> pd.DataFrame:
    shown = codes > 0 if sparse else torch.ones_like(codes, dtype=torch.bool)
    low = torch.zeros(codes.shape[1]) if sparse else codes.amin(0)
    high = torch.maximum(codes.amax(0), low + 1e-6)
    place = ((codes - low) / (high - low) * BINS).long().clamp(0, BINS - 1)
    flat = place + torch.arange(codes.shape[1]) * BINS
    counts = torch.bincount(flat[shown], minlength=BINS * codes.shape[1]).reshape(-1, BINS)
    width = ((high - low) / BINS)[:, None]
    left = low[:, None] + width * torch.arange(BINS)
    number = np.repeat(np.arange(codes.shape[1]) + first_number, BINS)
    table = pd.DataFrame(
        {
            "number": number,
            "left": left.numpy().ravel(),
            "right": (left + width).numpy().ravel(),
            "count": counts.numpy().ravel(),
        }
    )
    return table[table["count"] > 0].reset_index(drop=True)
