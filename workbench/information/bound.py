"""A lower bound on information: what a classifier reads of held-out labels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Shaped

from workbench.errors import DataError
from workbench.information.estimate import Estimate, from_terms
from workbench.information.null import held
from workbench.statistics.dealing import dealer
from workbench.statistics.sequential import sequential_p

LEAST_DRAWS = 199
"""Permutations of the held-out labels that every p value rests on."""
_CELLS = 1 << 19
"""Rows times permutations at once."""


def classifier_bound(
    log_proba_heldout: Float[np.ndarray, "n q"],
    y: Int[np.ndarray, " n"],
    clusters: Shaped[np.ndarray, " n"] | None = None,
) -> Estimate:
    """Lower bound on the information about y that a classifier reads: H(Y) minus its held-out
    cross-entropy, in bits, with the interval of its expectation over held-out documents.

    It is a bound because a cross-entropy is never below H(Y|X). H(Y) is that of the held-out labels. A
    classifier worse than their rates gives a negative value, which is kept. There is no interval where fewer
    than eight clusters hold the second most frequent class.

    Args:
        log_proba_heldout: ``[n, q]`` natural logarithms of the probabilities of the q classes, on rows that
            were not fitted.
        y: ``[n]`` the class of each row, 0 to q - 1.
        clusters: ``[n]`` the example of each row, for the standard error and the interval.

    Raises:
        DataError: for shapes that do not fit, classes out of range, rows that do not sum to probability 1,
            or a probability of 0 for a class that occurred (the bound is then minus infinity: smooth the
            classifier).

    Source: Barber and Agakov (2003), "The IM algorithm"; McAllester and Stratos (2020) for H(Y) minus
    cross-entropy.
    """
    if hasattr(log_proba_heldout, "detach"):
        log_proba_heldout = log_proba_heldout.detach().cpu().numpy()
    log_proba = np.asarray(log_proba_heldout, dtype=np.float64)
    labels = np.asarray(y)
    if log_proba.ndim != 2 or labels.shape != (len(log_proba),) or not len(labels):
        raise DataError(f"Shapes {log_proba.shape} and {labels.shape} do not fit: pass [n, q] and [n].")
    codes = labels.astype(np.int64)
    if (codes != labels).any() or codes.min() < 0 or codes.max() >= log_proba.shape[1]:
        raise DataError(f"Labels must be columns of the classifier, 0 to {log_proba.shape[1] - 1}.")
    if np.isnan(log_proba).any() or (np.abs(np.exp(log_proba).sum(axis=1) - 1) > 1e-3).any():
        raise DataError("Rows of log-probabilities must be natural logarithms of numbers that sum to 1.")
    scored = log_proba[np.arange(len(codes)), codes]
    if np.isinf(scored).any():
        raise DataError("A class that occurred has probability 0: smooth the classifier, or clip at 1e-12.")
    share = np.bincount(codes, minlength=log_proba.shape[1]) / len(codes)
    few = held(codes, clusters).reason
    return from_terms(scored - np.log(share[codes]), "lower bound", clusters=clusters, interval=not few, note=few)


def held_out_p(
    log_proba: Float[np.ndarray, "m q"], y: Int[np.ndarray, " m"], clusters: Int[np.ndarray, " m"], draws: int, seed: int = 0
) -> float:
    """p of a classifier's bound against held-out labels dealt to other held-out documents.

    Exact where each document has one label, or documents are of one length: labels and rows of different documents are then
    exchangeable if they have nothing to do with each other, whatever the classifier is.

    Args:
        log_proba: ``[m, q]`` natural logarithms of the probabilities, from a classifier that was fitted to other documents.
        y: ``[m]``.
        clusters: ``[m]`` the document of each row.
        draws: Most permutations; they end early where the value is plainly no larger than its null.
        seed: Of the permutations.
    """
    rng = np.random.default_rng(seed)
    deal, labels = dealer(y, clusters), y.astype(np.min_scalar_type(log_proba.shape[1]))
    step = max(1, _CELLS // len(y))

    def value(labels: Int[np.ndarray, "b m"]) -> Float[np.ndarray, " b"]:
        read, entropy = np.zeros((2, len(labels)))
        for code in range(log_proba.shape[1]):
            holds = (labels == code).astype(np.float64)
            share = holds.mean(axis=1)
            read += holds @ log_proba[:, code] / len(y)
            entropy -= share * np.log(np.where(share > 0, share, 1))
        return read + entropy

    def draw(count: int) -> Float[np.ndarray, " b"]:
        sizes = [min(step, count - start) for start in range(0, count, step)]
        return np.concatenate([value(np.stack([labels[deal(rng)] for _ in range(size)])) for size in sizes])

    # Sums in another order differ in the last digits, and a draw that is the same arrangement must count as one as large.
    observed = float(value(labels[None])[0])
    return sequential_p(observed - 1e-12 * max(1.0, abs(observed)), draw, min(LEAST_DRAWS, draws), draws)[0]
