"""Location, stability, co-firing and names: the rest of what an examination says of every concept."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.calibrate.trials import Case, Trials
from benchmarks.calibrate.worlds import SETTINGS, world
from workbench.concepts import LinearConcepts
from workbench.evidence.cofiring import best_by_chance, cofiring
from workbench.evidence.location import location_rows
from workbench.evidence.named import name_p
from workbench.evidence.stability import stability_rows
from workbench.statistics.auroc import auroc_matrix, clustered_auroc
from workbench.statistics.nulls import upper

CONCEPTS = 40
NAMES = 60
MATCHED = 20
"""Concepts of either of two sets."""
DIRECTIONS = 5
"""Of a run: they are held against the same random directions, so few of them are taken from each."""


def locates(setting: str, draws: int, seed: int, metric: str) -> Trials:
    """Concepts that have nothing to do with a span of three tokens somewhere in each example."""
    rng, above, covered = np.random.default_rng(seed), [], []
    for _ in range(max(1, draws // CONCEPTS)):
        drawn = world(setting, rng, CONCEPTS)
        starts = np.flatnonzero(np.concatenate([[True], np.diff(drawn.example) != 0]))
        lengths = np.diff(np.append(starts, len(drawn.example)))
        inside = np.zeros(len(drawn.example), dtype=bool)
        first = starts + rng.integers(0, np.maximum(1, lengths - 2))
        inside[np.minimum(first[:, None] + np.arange(3), len(inside) - 1)] = True
        if setting == "copies":
            # An examination takes one of the copies.
            kept = np.arange(len(inside)) < len(inside) // 3
            drawn, inside = type(drawn)(*(part[kept] for part in drawn)), inside[kept]
        rows = _location(drawn.scores, inside, drawn.example, drawn.document)
        for row in rows:
            if row["metric"] == metric and row["status"] == "ok":
                above.append(np.nan if np.isnan(row["null_high"]) else row["value"] > row["null_high"])
                covered.append(np.nan if np.isnan(row["low"]) else row["low"] <= row["null"] <= row["high"])
    return Trials(above=np.array(above, dtype=float), covered=np.array(covered, dtype=float))


def _location(scores: np.ndarray, inside: np.ndarray, example: np.ndarray, document: np.ndarray) -> list[dict[str, Any]]:
    _, first, segment = np.unique(example, return_index=True, return_inverse=True)
    return location_rows(list(range(scores.shape[1])), "token:span", scores, inside, segment, document[first])


def stable(kind: str, draws: int, seed: int) -> Trials:
    """Directions of one run and of another that have nothing in common."""
    p, above = [], []
    for number in range(max(1, draws // DIRECTIONS)):
        made = torch.Generator().manual_seed(seed * 1000 + number)
        labels = [f"a{i}" for i in range(DIRECTIONS)] if kind == "labelled" else [""] * DIRECTIONS
        first, second = (
            LinearConcepts("resid_post.0", torch.randn(DIRECTIONS, 64, generator=made), table=pd.DataFrame({"label": labels}))
            for _ in range(2)
        )
        rows = stability_rows(first, second, number)
        p.append([row["p"] for row in rows])
        above.append([row["value"] > row["null_high"] for row in rows])  # type: ignore[operator]
    return Trials(np.concatenate(p), np.concatenate(above))


def together(setting: str, draws: int, seed: int) -> Trials:
    """The best match of each concept of a set among those of another that has nothing to do with it."""
    rng, above = np.random.default_rng(seed), []
    for number in range(max(1, draws // (2 * MATCHED))):
        first, second, example, document = _two_sets(setting, rng)
        chance, found = best_by_chance(first, second, example, document, seed + number), cofiring(first, second)
        above += [found.max(1) > chance.first, found.max(0) > chance.second]
    return Trials(above=np.concatenate(above))


def _two_sets(setting: str, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Codes that share a part by example and by document; of *half of them documents*, every other concept does."""
    drawn = world(setting if setting in SETTINGS else "documents", rng, 2 * MATCHED)
    codes = drawn.scores
    if setting == "half of them documents":
        codes[:, ::2] = rng.normal(size=codes[:, ::2].shape)
    return codes[:, :MATCHED], codes[:, MATCHED:], drawn.example, drawn.document


def named(setting: str, draws: int, seed: int, names: int = NAMES) -> Trials:
    """A name that says as much of where a concept is as any other name."""
    rng, p, above, covered = np.random.default_rng(seed), [], [], []
    for _ in range(max(1, draws // CONCEPTS)):
        drawn = world(setting, rng, names)
        present = drawn.labels[:, :CONCEPTS]
        areas = auroc_matrix(drawn.scores, present)
        low, high = clustered_auroc(drawn.scores[:, :CONCEPTS], present, drawn.document).interval()
        for concept in range(CONCEPTS):
            others = np.delete(areas[:, concept], concept)
            if np.isnan(areas[concept, concept]):
                continue
            p.append(name_p(areas[concept, concept], others))
            above.append(areas[concept, concept] > upper(others))
            covered.append(np.nan if np.isnan(low[concept]) else low[concept] <= 0.5 <= high[concept])
    return Trials(np.array(p), np.array(above), np.array(covered, dtype=float))


CASES = [
    *(
        Case(metric, setting, partial(locates, setting, metric=metric), most=8_000)
        for metric in ("locates.pointing", "locates.overlap")
        for setting in SETTINGS
    ),
    *(Case("stable.cosine", kind, partial(stable, kind)) for kind in ("discovered", "labelled")),
    *(
        Case("co-firing", setting, partial(together, setting), most=20_000)
        for setting in ("independent", "documents", "half of them documents", "sparse codes", "heavy tails", "unequal documents")
    ),
    *(
        Case("named.auroc", setting, partial(named, setting), most=20_000)
        for setting in ("independent", "documents", "runs", "copies")
    ),
    Case("named.auroc", "documents, 400 names", partial(named, "documents", names=400)),
]
