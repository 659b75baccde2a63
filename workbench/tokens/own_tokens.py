"""The tokens that are a concept's own: those that come next where it is present, beyond what they do elsewhere.

They are counted in data and owe nothing to the direction that steering adds, so that steering can be tried on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Int
from scipy import sparse

from workbench.activations.labels import units_at
from workbench.concepts import ConceptSet
from workbench.memory import rows_at_once
from workbench.progress import Progress, silent

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset
    from workbench.models import Model

TOP = 10
# Concepts ranked, and encoded, at a time: few, so that progress is reported often.
CONCEPTS_AT_ONCE, ROWS_AT_ONCE = 64, 2048
STRONGEST = 0.02
LEAST_COUNT = 3


def next_tokens(
    model: Model, dataset: Dataset, acts: ActivationSet, rows: Int[np.ndarray, "n"], progress: Progress = silent
) -> Int[np.ndarray, "n"]:
    """The id of the token after each row; -1 at the end of a text. The texts are tokenised again, as in the capture."""
    index = acts.index.iloc[rows]
    out = np.full(len(rows), -1, np.int64)
    example, position = index["example"].to_numpy(), index["position"].to_numpy()
    numbers, starts = np.unique(example, return_index=True)
    ends = np.append(starts[1:], len(rows))
    for begin in range(0, len(numbers), 256):
        progress(begin, len(numbers), "tokens that come next")
        batch = model.batch(dataset.inputs(numbers[begin : begin + 256].tolist()))
        ids, attention = batch.inputs["input_ids"].cpu().numpy(), batch.attention.cpu().numpy()
        for row in range(len(ids)):
            here = slice(starts[begin + row], ends[begin + row])
            after = position[here] + 1
            inside = after < attention[row].sum()
            out[here][inside] = ids[row, after[inside]]
    return out


def own_tokens(
    concepts: ConceptSet,
    acts: ActivationSet,
    rows: Int[np.ndarray, "n"],
    following: Int[np.ndarray, "n"],
    vocabulary: Sequence[str],
    first_number: int = 0,
    progress: Progress = silent,
) -> pd.DataFrame:
    """The tokens most over-represented after the rows where each concept is strongest.

    A row counts as present when the concept is among its strongest 2% there and, in a sparse set, above zero. Tokens are
    ranked by the z-score of the log odds of being next, present against elsewhere, with the overall counts as an
    informative Dirichlet prior (Monroe et al. 2008, "Fightin' words"), among those seen at least three times.

    Args:
        concepts: A set at the one site of ``acts``.
        acts: Where to read.
        rows: Row numbers, ascending.
        following: The token after each row, -1 where there is none.
        vocabulary: Text of every token id.
        first_number: The number of the first concept within its run.
        progress: Called with ``(done, total, text)``.

    Returns:
        ``number, rank, id, token, count, z``, at most ten tokens a concept; only those with z above zero.
    """
    known = following >= 0
    rows, following = rows[known], following[known]
    words, place = np.unique(following, return_inverse=True)
    word = sparse.csr_matrix((np.ones(len(rows), np.float32), (np.arange(len(rows)), place)), shape=(len(rows), len(words)))
    total = np.asarray(word.sum(0)).ravel()
    present = _present(concepts, acts, rows, progress)
    # [c, w]: how often each word came after each concept; few of the words of a large vocabulary come after any one.
    every = (present.T @ word).tocsr()
    tables = []
    # Some concepts at a time: the z-scores are float64, several arrays of them.
    step = min(CONCEPTS_AT_ONCE, rows_at_once(max(len(words), 1), 20))
    for begin in range(0, len(concepts), step):
        progress(begin, len(concepts), "tokens of concepts")
        counts = every[begin : begin + step].toarray()
        z = log_odds_z(counts, total)
        z[counts < LEAST_COUNT] = -np.inf
        for row in range(len(counts)):
            order = np.argsort(-z[row])[:TOP]
            order = order[z[row][order] > 0]
            tables.append(
                pd.DataFrame(
                    {
                        "number": first_number + begin + row,
                        "rank": np.arange(len(order)),
                        "id": words[order],
                        "token": [vocabulary[i] for i in words[order]],
                        "count": counts[row][order].astype(np.int64),
                        "z": z[row][order],
                    }
                )
            )
    return pd.concat(tables).reset_index(drop=True)


def log_odds_z(counts: np.ndarray, total: np.ndarray, prior: float = 500.0) -> np.ndarray:
    """z-scores ``[c, w]`` of the log odds of each word within ``counts [c, w]`` against the rest of ``total [w]``."""
    alpha = prior * total / total.sum()
    inside, outside = counts + alpha, total - counts + alpha
    n_in, n_out = inside.sum(1, keepdims=True), outside.sum(1, keepdims=True)
    delta = np.log(inside / (n_in - inside)) - np.log(outside / (n_out - outside))
    found: np.ndarray = delta / np.sqrt(1 / inside + 1 / outside)
    return found


def _present(concepts: ConceptSet, acts: ActivationSet, rows: Int[np.ndarray, "n"], progress: Progress) -> sparse.csr_matrix:
    """``[n, c]``: 1 where a concept is among its strongest rows."""
    whole = concepts.level == "example"
    example = acts.index["example"].to_numpy()[rows]
    units, unit_of = np.unique(example, return_inverse=True) if whole else (rows, np.arange(len(rows)))
    codes = []
    for begin in range(0, len(units), ROWS_AT_ONCE):
        progress(begin, len(units), "rows where concepts are strongest")
        part = units[begin : begin + ROWS_AT_ONCE]
        code = concepts.encode_from(units_at(acts, part, whole))
        codes.append(sparse.csr_matrix(code.numpy()) if concepts.sparse else code.numpy().astype(np.float32))
    share = 0.2 if whole else STRONGEST
    if concepts.sparse:
        every = sparse.vstack(codes).tocsc()
        for column in range(every.shape[1]):
            values = every.data[every.indptr[column] : every.indptr[column + 1]]
            most = max(1, int(share * every.shape[0]))
            cut = np.partition(values, -most)[-most] if len(values) > most else 0.0
            values[:] = (values >= cut) & (values > 0)
        every.eliminate_zeros()
        return every.tocsr()[unit_of]
    dense = np.concatenate(codes)
    cut = np.quantile(dense, 1 - share, axis=0)
    return sparse.csr_matrix((dense >= cut).astype(np.float32))[unit_of]
