"""Named well: does a concept's name predict where it is present, on words that had no part in the naming?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from workbench.concepts import ConceptSet
from workbench.evidence.held_out import HeldOut
from workbench.evidence.scores import auroc_interval, auroc_matrix, auroc_paired, independent_pairs
from workbench.naming import word_at

if TYPE_CHECKING:
    from workbench.datasets import Dataset
    from workbench.embedding import Embedder

MIN_PRESENT = 8
TOP_SHARE = 0.05
OTHER_NAMES = 400


def name_rows(
    concepts: ConceptSet, names: list[str], codes_nc: Float[np.ndarray, "n c"], data: HeldOut, dataset: Dataset,
    embedder: Embedder, seed: int, max_rows: int = 8000,
) -> list[dict[str, object]]:  # fmt: skip
    """Score every name by the AUROC of its cosine with held-out words for the concept's presence there.

    A sparse concept is present where its code is above zero; a dense one in its top twentieth of rows. The null is what the
    other concepts' names reach on the same concept.
    """
    cut = int(np.searchsorted(data.rows, data.rows[min(max_rows, len(data.rows)) - 1])) + 1
    codes_nc, segment = codes_nc[:cut], data.segment[:cut]
    index = data.acts.index.iloc[data.rows[:cut]]
    texts = dataset.table["text"].to_numpy()[index["example"].to_numpy()]
    words = [word_at(t, int(s), int(e)) for t, s, e in zip(texts, index["start"], index["end"], strict=True)]
    vocabulary, where = np.unique(np.array(words, dtype=object).astype(str), return_inverse=True)
    distinct, place = np.unique(np.array(names, dtype=object).astype(str), return_inverse=True)
    cosine = (embedder.embed(list(vocabulary)) @ embedder.embed(list(distinct)).T)[where]
    if concepts.level == "example":
        starts = np.searchsorted(segment, np.arange(segment[-1] + 1))
        cosine = np.maximum.reduceat(cosine, starts, axis=0)
        counts = np.diff(np.append(starts, len(segment)))
        codes_nc = np.add.reduceat(codes_nc, starts, axis=0) / counts[:, None]
        segment = np.arange(len(starts))
    present = codes_nc > 0 if concepts.sparse else codes_nc > np.quantile(codes_nc, 1 - TOP_SHARE, axis=0)
    enough = np.minimum(present.sum(0), (~present).sum(0)) >= MIN_PRESENT
    tried = [i for i in range(len(names)) if enough[i] and names[i]]
    rows: list[dict[str, object]] = [
        {
            "place": i, "metric": "named.auroc", "label": "", "status": "failed",
            "error": "it has no name" if not names[i] else f"it is present on fewer than {MIN_PRESENT} held-out rows",
        }
        for i in range(len(names)) if i not in set(tried)
    ]  # fmt: skip
    if not tried:
        return rows
    rng = np.random.default_rng(seed)
    others = np.sort(rng.permutation(len(distinct))[:OTHER_NAMES])
    y = present[:, tried].astype(np.float32)
    crossed = auroc_matrix(cosine[:, others], y)
    own = cosine[:, place[tried]]
    value, error = auroc_paired(own, y, segment)
    low, high = auroc_interval(value, error, independent_pairs(y, segment))
    for k, i in enumerate(tried):
        null = crossed[others != place[i], k]
        common = {"place": i, "metric": "named.auroc", "label": "", "status": "ok", "n": int(y[:, k].sum())}
        if len(null) < 5:
            rows.append({**common, "status": "failed", "error": "fewer than five other names to compare with"})
            continue
        p = float((1 + (null >= value[k]).sum()) / (1 + len(null)))
        rows.append(
            common
            | {"value": value[k], "low": low[k], "high": high[k], "p": p}
            | {"null": null.mean(), "null_high": np.quantile(null, 0.95)}
        )
    return rows
