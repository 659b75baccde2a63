"""Two tables for every run on a causal language model: the tokens of its concepts, and their direct logit effects."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Int

from workbench.errors import StudyError, disk_errors
from workbench.paths import inside
from workbench.progress import Progress, silent

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.concepts import ConceptSet
    from workbench.datasets import Dataset
    from workbench.study import Study
    from workbench.tokens.direct import DirectMap

MAP_TEXTS = 24


def study_map(study: Study, dataset: Dataset, progress: Progress = silent) -> DirectMap:
    """The direct map to the logits at texts of a data set, measured once and kept; see `workbench.tokens.direct`."""
    from workbench.tokens.direct import DirectMap, direct_map

    key = ("direct map", dataset.hash)
    if key not in study.shared:
        what = f"{study.model_record()['weights_hash']}/{dataset.hash}/{MAP_TEXTS}"
        path = inside(study.folder, "cache", "maps", f"{hashlib.sha256(what.encode()).hexdigest()[:16]}.safetensors")
        progress(0, 1, "map to the vocabulary")
        with suppress(StudyError):
            # If it is missing or unreadable, it is measured.
            study.shared[key] = DirectMap.load(path, study.model)
            progress(1, 1, "map to the vocabulary")
        if key not in study.shared:
            train = np.flatnonzero(dataset.table["split"].ne("test").to_numpy())
            chosen = np.random.default_rng(0).permutation(train)[:MAP_TEXTS]
            study.shared[key] = direct_map(study.model, dataset.inputs(chosen.tolist()), progress=progress)
            if not study.read_only:
                with disk_errors("the map to the vocabulary"):
                    study.shared[key].save(path)
    found: DirectMap = study.shared[key]
    return found


def token_tables(
    sets: list[ConceptSet], acts: ActivationSet, rows: Int[np.ndarray, "n"], study: Study, progress: Progress
) -> dict[str, pd.DataFrame]:
    """Tables ``tokens`` (a concept's own tokens) and ``effects`` (its direct logit effects); none unless a decoder's tokens.

    Args:
        sets: The sets of a run, in numbering order.
        acts: What they were found in.
        rows: The rows to count in, ascending; none of the test split.
        study: Its model is the decoder.
        progress: Called with ``(done, total, text)``.
    """
    from workbench.tokens.direct import effects_table, writes_to_residual
    from workbench.tokens.own_tokens import next_tokens, own_tokens

    if study.model_record()["kind"] != "decoder" or acts.pool != "token":
        return {}
    dataset = study.dataset_of(acts)
    vocabulary = study.model_for(progress).vocabulary()
    following = next_tokens(study.model, dataset, acts, rows, progress)
    own, effects, first = [], [], 0
    for concepts in sets:
        own.append(own_tokens(concepts, acts, rows, following, vocabulary, first, progress))
        if writes_to_residual(concepts.site):
            mapping = study_map(study, dataset, progress)
            effects.append(effects_table(mapping, concepts.directions(), vocabulary, first, progress=progress))
        first += len(concepts)
    return {"tokens": pd.concat(own)} | ({"effects": pd.concat(effects)} if effects else {})
