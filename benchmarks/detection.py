"""AUROC of many concepts for many labels: our one-pass matrix beside scikit-learn's function in a loop.

Run with `make bench NAME=detection`. Both see the same sparse codes and labels, turn and turn about, and must agree.
"""

import json
import os
import platform
import time
from statistics import median

import numpy as np
from sklearn.metrics import roc_auc_score

from workbench.statistics.auroc import auroc_matrix

ROWS, CONCEPTS, LABELS, PAIRS, ROUNDS = 15_000, 256, 24, 240, 5


def main() -> None:
    """Measure and print."""
    rng = np.random.default_rng(0)
    codes = np.maximum(rng.normal(size=(ROWS, CONCEPTS)) - 1.5, 0).astype(np.float32)
    labels = (rng.random((ROWS, LABELS)) < 0.1).astype(np.float32)
    # scikit-learn scores one pair at a time: a sample of pairs is timed and its time a pair is taken.
    pairs = [
        (int(c), int(label)) for c, label in zip(rng.integers(0, CONCEPTS, PAIRS), rng.integers(0, LABELS, PAIRS), strict=True)
    ]
    ours, theirs, worst = [], [], 0.0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        matrix = auroc_matrix(codes, labels)
        ours.append(CONCEPTS * LABELS / (time.perf_counter() - start))
        start = time.perf_counter()
        peer = [roc_auc_score(labels[:, label], codes[:, c]) for c, label in pairs]
        theirs.append(PAIRS / (time.perf_counter() - start))
        worst = max([worst, *(abs(matrix[c, label] - value) for (c, label), value in zip(pairs, peer, strict=True))])
    assert worst < 1e-6, worst
    result = {
        "name": "detection",
        "setting": f"{ROWS} rows, {CONCEPTS} sparse concepts, {LABELS} labels, median of {ROUNDS} interleaved rounds",
        "unit": "pairs/s",
        "ours": round(median(ours)),
        "peers": {"scikit-learn": round(median(theirs))},
        "ratio": {"scikit-learn": round(median(ours) / median(theirs), 1)},
        "equal": f"AUROC of {PAIRS} pairs to {worst:.1e}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
