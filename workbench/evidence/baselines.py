"""Baselines: single neurons, and dictionaries or directions with random weights, tried in the same way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from workbench.concepts import ConceptSet, LinearConcepts
from workbench.evidence.detection import all_areas
from workbench.evidence.held_out import HeldOut, codes

RANDOM_CONCEPTS = 2048


def neurons(site: str, width: int) -> LinearConcepts:
    """Every coordinate of the activation, and its negative, as concepts."""
    eye = torch.eye(width)
    return LinearConcepts(site, torch.cat([eye, -eye]))


def best_by_label(matrix: pd.DataFrame) -> pd.DataFrame:
    """For each label the concept with the largest validation AUROC, and its test AUROC: ``label, place, test``."""
    best = matrix.dropna().sort_values("validation").groupby("label").tail(1)
    return best[["label", "place", "test"]].sort_values("label").reset_index(drop=True)


def baseline_table(concepts: ConceptSet, validation: HeldOut, test: HeldOut, seed: int) -> pd.DataFrame:
    """Best neuron and best random concept of each label, chosen and measured as the real ones: ``label, neuron, random``.

    Of a large set the best of `RANDOM_CONCEPTS` random ones: a random dictionary of the whole size would be most of the work, and
    the best of eight times as many is hardly larger.
    """
    site = concepts.reads[0]
    held = validation.read(site)
    baselines = {
        "neuron": neurons(site, held.shape[1]),
        "random": concepts.null_like("isotropic", seed, held, RANDOM_CONCEPTS),
    }
    table = pd.DataFrame({"label": test.labels})
    for name, baseline in baselines.items():
        on_validation = all_areas(codes(baseline, validation), validation)
        on_test = all_areas(codes(baseline, test), test)
        ok = np.isfinite(on_validation).all(0) & np.isfinite(on_test).all(0)
        best = np.where(np.isnan(on_validation), -np.inf, on_validation).argmax(0)
        table[name] = np.where(ok, on_test[best, np.arange(len(best))], np.nan)
    return table
