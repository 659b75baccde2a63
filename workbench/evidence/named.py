"""Named well: does a concept's name predict where it is present, on words that had no part in the naming?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import logit

from workbench.concepts import ConceptSet
from workbench.evidence.attempts import Found, attempted
from workbench.evidence.family import Family, Tried
from workbench.evidence.held_out import HeldOut, codes, held_out
from workbench.evidence.metrics import QUESTIONS, of_family
from workbench.naming import word_at
from workbench.progress import Progress, silent
from workbench.statistics.auroc import auroc_matrix, clustered_auroc
from workbench.statistics.few_draws import rank_or_tail_p
from workbench.statistics.nulls import pareto_tail_p, upper
from workbench.statistics.rows import SHOWN, Null, row

if TYPE_CHECKING:
    from workbench.datasets import Dataset
    from workbench.embedding import Embedder
    from workbench.store.concept import Concept

MIN_PRESENT = 8
TOP_SHARE = 0.05
OTHER_NAMES = 400
# The 95th percentile needs 19 draws.
LEAST_NAMES, NAMES_FOR_P = 5, 19
FAMILY = "every concept of the run for its name"
TRIED_ROWS = 6000
_EDGE = 1e-6


def name_rows(
    concepts: ConceptSet, names: list[str], codes_nc: Float[np.ndarray, "n c"], data: HeldOut, dataset: Dataset,
    embedder: Embedder, seed: int, max_rows: int = 8000, rivals: Sequence[str] = (), progress: Progress = silent,
) -> list[dict[str, object]]:  # fmt: skip
    """Score every name by the AUROC of its cosine with held-out words for the concept's presence there.

    A sparse concept is present where its code is above zero; a dense one in its top twentieth of rows. The null is what the
    other concepts' names reach on the same concept: those of the set, and ``rivals``; of many, 400 drawn by the seed.
    """
    cut = int(np.searchsorted(data.rows, data.rows[min(max_rows, len(data.rows)) - 1])) + 1
    codes_nc, segment, clusters = codes_nc[:cut], data.segment[:cut], data.clusters[:cut]
    vocabulary, where = np.unique(_words(data, dataset, cut), return_inverse=True)
    distinct, place = np.unique(np.array([*names, *rivals], dtype=object).astype(str), return_inverse=True)
    others = np.sort(np.random.default_rng(seed).permutation(len(distinct))[:OTHER_NAMES])
    # Of the names of a large run only those are looked at that are scored, or compared with.
    used, place_in_used = np.unique(np.concatenate([others, place[: len(names)]]), return_inverse=True)
    others, place = place_in_used[: len(others)], place_in_used[len(others) :]
    word_vectors, name_vectors = embedder.embed(list(vocabulary), progress), embedder.embed(list(distinct[used]), progress)
    cosine = (word_vectors @ name_vectors.T)[where]
    if concepts.level == "example":
        starts = np.searchsorted(segment, np.arange(segment[-1] + 1))
        cosine = np.maximum.reduceat(cosine, starts, axis=0)
        counts = np.diff(np.append(starts, len(segment)))
        codes_nc = np.add.reduceat(codes_nc, starts, axis=0) / counts[:, None]
        clusters = data.documents[: len(starts)]
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
    y = present[:, tried].astype(np.float32)
    crossed = auroc_matrix(cosine[:, others], y)
    own = cosine[:, place[tried]]
    area = clustered_auroc(own, y, clusters)
    value, (low, high) = area.value, area.interval()
    for k, i in enumerate(tried):
        draws = crossed[others != place[i], k]
        common: dict[str, Any] = {"place": i, "label": ""}
        if len(draws) < LEAST_NAMES:
            reason = f"fewer than {LEAST_NAMES} other names to compare with"
            rows.append({**common, "metric": "named.auroc", "status": "failed", "error": reason})
            continue
        common |= {"n": int(y[:, k].sum()), "clusters": int(area.counts.every[k]), "clusters_positive": area.counts.fewer(k)}
        common["note"] = area.counts.reason(k)
        null = Null(draws.mean())
        if len(draws) >= NAMES_FOR_P:
            tested = bool(area.counts.enough[k])
            p, family = (name_p(value[k], draws), FAMILY) if tested else (np.nan, "")
            null = Null(draws.mean(), float(upper(draws)), p, family)
        elif not common["note"]:
            common["note"] = f"no p value: {len(draws)} other names, fewer than {NAMES_FOR_P}"
        rows.append(row("named.auroc", value[k], null, low=low[k], high=high[k], **common))
    return rows


def _words(data: HeldOut, dataset: Dataset, count: int) -> np.ndarray:
    """The whole word at each of the first ``count`` rows."""
    index = data.acts.index.iloc[data.rows[:count]]
    texts = dataset.table["text"].to_numpy()[index["example"].to_numpy()]
    words = [word_at(t, int(s), int(e)) for t, s, e in zip(texts, index["start"], index["end"], strict=True)]
    return np.array(words, dtype=object).astype(str)


def name_p(value: float, draws: Float[np.ndarray, " r"]) -> float:
    """p of a name's AUROC among those of other names: a rank, and the fitted tail where it is beyond all of them.

    The tail is fitted on the logit scale, on which an AUROC has no end; with fewer than 199 names there is a rank alone.
    """
    value, draws = logit(np.clip(value, _EDGE, 1 - _EDGE)), logit(np.clip(draws, _EDGE, 1 - _EDGE))
    return float(rank_or_tail_p((draws >= value).sum(), len(draws), pareto_tail_p(value, draws)))


def try_names(concept: Concept, texts: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """How well each of several names says where a concept is present, to choose one of them by.

    Measured like the evidence ``named.auroc``, but on the validation split and without the examples from which names are
    suggested: the test split stays unseen for the trial of the name that is chosen.

    Returns:
        ``text, status, value, low, high, null, null_high, p, n, error``, in the order of the texts.

    Raises:
        DataError: No captured example is in the validation split.
    """
    study, run = concept.study, concept.run
    acts = study.activation_set(run.record["inputs"]["activations"])
    dataset = study.dataset_for(run)
    columns = ["text", "status", *SHOWN[:6], "n", "error"]
    if not texts or acts.pool != "token" or dataset.modality != "text":
        return pd.DataFrame(columns=columns)
    voted = run.tables.where("examples", "number = ?", [concept.number])["example"]
    data = held_out(acts, dataset, "validation", TRIED_ROWS, seed, set(voted.tolist()))
    concept_set, column = concept.place
    part = concept_set.subset([column])
    one = codes(part, data)
    current = study.catalog.current_names()
    mine = current["concept"].str.startswith(f"{run.id}.") & current["concept"].ne(concept.id)
    rivals = sorted(set(current.loc[mine, "text"]) - set(texts))[:OTHER_NAMES]
    names, count = list(texts), len(texts)
    several = np.repeat(one, count, axis=1)
    rows = name_rows(concept_set.subset([column] * count), names, several, data, dataset, study.embedder(), seed, rivals=rivals)
    table = pd.DataFrame(rows).set_index("place").sort_index()
    return table.assign(text=names).reindex(columns=columns).reset_index(drop=True)


class Named(Family):
    """Whether a concept's name says where it is present."""

    name = "named"
    question = QUESTIONS["named"]
    metrics = of_family("named")

    def measure(self, tried: Tried) -> Found:
        """Of concepts of texts."""
        if not tried.test.by_position or tried.dataset.modality != "text":
            return [], {}
        tried.progress(4, 5, f"names at {tried.concepts.site}")
        inputs = (tried.concepts, tried.names, tried.detection.codes, tried.test, tried.dataset)
        return attempted(["named.auroc"], range(len(tried.concepts)), lambda: (
            name_rows(*inputs, tried.study.embedder(), tried.seed, rivals=tried.rivals, progress=tried.progress), {}
        ))  # fmt: skip
