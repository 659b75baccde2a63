"""AUROC of many concepts for many labels: our matrix beside the best way with numpy and scipy, and scikit-learn in a loop.

Run with `make bench NAME=detection`. All see the same codes and labels, turn and turn about, and must agree. The way with numpy
and scipy is `scipy.stats.rankdata` over all columns and one product.
"""

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from benchmarks._sides import report, turn_about
from workbench.statistics.auroc import auroc_matrix

ROWS, CONCEPTS, LABELS, PAIRS, ROUNDS = 15_000, 256, 24, 120, 9


def ranked(codes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The peer: ranks of all columns, then one product."""
    positives = labels.sum(0, dtype=np.float64)
    sums = rankdata(codes, axis=0).T @ labels.astype(np.float64)
    return (sums - positives * (positives + 1) / 2) / (positives * (len(labels) - positives))


def main() -> None:
    """Measure and print a line for sparse codes and one for dense ones."""
    rng = np.random.default_rng(0)
    labels = (rng.random((ROWS, LABELS)) < 0.1).astype(np.float32)
    pairs = [(int(c), int(k)) for c, k in zip(rng.integers(0, CONCEPTS, PAIRS), rng.integers(0, LABELS, PAIRS), strict=True)]
    for kind, least in (("sparse", 0.0), ("dense", -np.inf)):
        codes = np.maximum(rng.normal(size=(ROWS, CONCEPTS)) - 1.5, least).astype(np.float32)

        def one_pair_at_a_time(codes: np.ndarray = codes) -> int:
            return len([roc_auc_score(labels[:, k], codes[:, c]) for c, k in pairs])

        def all_pairs(score: object, codes: np.ndarray = codes) -> int:
            return int(score(codes, labels).size)  # type: ignore[operator]

        difference = np.abs(auroc_matrix(codes, labels) - ranked(codes, labels)).max()
        assert difference < 1e-9, difference
        speeds = turn_about(
            {
                "ours": lambda work=all_pairs: lambda: work(auroc_matrix),
                "rankdata and a product": lambda work=all_pairs: lambda: work(ranked),
                "scikit-learn, pair by pair": lambda work=one_pair_at_a_time: work,
            },
            ROUNDS,
        )
        setting = f"{ROWS} rows, {CONCEPTS} {kind} concepts, {LABELS} labels, median of {ROUNDS} interleaved rounds"
        peers = ("rankdata and a product", "scikit-learn, pair by pair")
        print(report("detection", setting, "pairs/s", "ours", peers, speeds, equal=f"all pairs to {difference:.0e}"))


if __name__ == "__main__":
    main()
