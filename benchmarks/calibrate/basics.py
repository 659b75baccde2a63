"""The intervals that all scores share, over documents: of means, shares, ratios and correlations."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
from jaxtyping import Float, Int

from benchmarks.calibrate.trials import Case, Trials
from workbench.statistics.intervals import correlation_interval, mean_interval, ratio_interval, share_interval

SETTINGS = ("independent", "documents", "eight documents", "unequal documents", "heavy tails", "copies", "skewed", "eight skewed")
"""*skewed*: a document's own part is exponential, as costs and divergences are."""


def _documents(setting: str, rng: np.random.Generator) -> np.ndarray:
    if setting == "independent":
        return np.arange(120)
    if setting == "unequal documents":
        return np.repeat(np.arange(30), np.maximum(1, rng.lognormal(1.5, 0.7, 30)).astype(np.int64))
    return np.repeat(np.arange(8 if setting.startswith("eight") else 30), 6)


def _values(setting: str, document: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    documents = document.max() + 1
    own = (2 * rng.exponential(size=documents) - 2 if "skewed" in setting else rng.normal(size=documents))[document]
    if setting == "copies":
        return own
    inside = rng.standard_t(3, len(document)) if setting == "heavy tails" else rng.normal(size=len(document))
    return (0 if setting == "independent" else own) + inside


def means(setting: str, draws: int, seed: int) -> Trials:
    """Of values whose expectation is 0."""
    rng, covered = np.random.default_rng(seed), []
    for _ in range(draws):
        document = _documents(setting, rng)
        low, high = mean_interval(_values(setting, document, rng)[:, None], document)
        covered.append(low[0] <= 0 <= high[0])
    return Trials(covered=np.array(covered))


def shares(setting: str, draws: int, seed: int, share: float) -> Trials:
    """Of rows that are hits with a given probability; in documents, half of what decides is the document's."""
    rng, covered = np.random.default_rng(seed), []
    for _ in range(draws):
        document = _documents(setting, rng)
        whole = (rng.random(document.max() + 1) < share)[document]
        alone = rng.random(len(document)) < share
        follows = (rng.random(document.max() + 1) < 0.5)[document] if setting != "copies" else np.ones(len(document), dtype=bool)
        hits = alone if setting == "independent" else np.where(follows, whole, alone)
        low, high = share_interval(hits[:, None], document)
        covered.append(low[0] <= share <= high[0])
    return Trials(covered=np.array(covered))


def ratios(setting: str, draws: int, seed: int) -> Trials:
    """Of sums whose ratio is 2."""
    rng, covered = np.random.default_rng(seed), []
    for _ in range(draws):
        document = _documents(setting, rng)
        below = rng.uniform(1, 3, document.max() + 1)[document]
        _, low, high = ratio_interval((2 + 0.5 * _values(setting, document, rng)) * below, below, document)
        covered.append(low <= 2 <= high)
    return Trials(covered=np.array(covered))


def correlations(setting: str, draws: int, seed: int, rho: float) -> Trials:
    """Of pairs of values with a given correlation, within documents and between them."""
    rng, covered = np.random.default_rng(seed), []
    for _ in range(draws):
        document = _documents(setting, rng)
        first = _values(setting, document, rng)
        second = rho * first + np.sqrt(1 - rho**2) * _values(setting, document, rng)
        _, (low, high) = correlation_interval(first[:, None], second[:, None], document)
        covered.append(low[0] <= rho <= high[0])
    return Trials(covered=np.array(covered))


def sparse_correlations(threshold: float, documents: int, draws: int, seed: int, rho: float) -> Trials:
    """Of two latents that are 0 below a threshold, in documents of 8 rows that share half of their variance."""
    rng, covered, truth = np.random.default_rng(seed), [], _truth_of_sparse(threshold, rho)
    document = np.repeat(np.arange(documents), 8)
    for _ in range(draws):
        first, second = _sparse(threshold, rho, document, rng)
        _, (low, high) = correlation_interval(first[:, None], second[:, None], document)
        # A latent that fires in fewer than eight documents has no interval.
        covered.append(np.nan if np.isnan(low[0]) else low[0] <= truth <= high[0])
    return Trials(covered=np.array(covered))


def _sparse(
    threshold: float, rho: float, document: Int[np.ndarray, "n"], rng: np.random.Generator
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    shared, own = rng.standard_normal((2, document[-1] + 1))[:, document], rng.standard_normal((2, len(document)))
    first, other = np.sqrt(0.5) * (shared + own)
    second = rho * first + np.sqrt(1 - rho**2) * other
    return np.maximum(first - threshold, 0), np.maximum(second - threshold, 0)


@cache
def _truth_of_sparse(threshold: float, rho: float) -> float:
    many = _sparse(threshold, rho, np.arange(4_000_000), np.random.default_rng(0))
    return float(np.corrcoef(*many)[0, 1]) if rho else 0.0


def _cases(name: str, draw: Callable[..., Trials], **how: float) -> list[Case]:
    more = "".join(f", {value:g}" for value in how.values())
    return [Case(name, f"{setting}{more}", partial(draw, setting, **how), most=20_000) for setting in SETTINGS]


CASES = [
    *_cases("interval of a mean", means),
    *_cases("interval of a share", shares, share=0.1),
    *_cases("interval of a share", shares, share=0.5),
    *_cases("interval of a share", shares, share=0.95),
    *_cases("interval of a ratio", ratios),
    *_cases("interval of a correlation", correlations, rho=0.0),
    *_cases("interval of a correlation", correlations, rho=0.8),
    *(
        Case(
            "interval of a correlation",
            f"sparse codes, {share} active, {rho:g}",
            partial(sparse_correlations, threshold, documents, rho=rho),
            most=20_000,
        )
        for threshold, share, documents in ((1.5, "7%", 40), (2.0, "2%", 160))
        for rho in (0.0, 0.8)
    ),
]
