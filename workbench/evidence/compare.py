"""Two runs side by side: what was set differently, what was measured, and which concepts both found.

Concepts are matched one to one at each site that both runs have: those fitted to one label with one another, the others when each
is the other's nearest by cosine of directions (what adding the concept to an activation adds; the decoder, for a dictionary).
The null is the best match of random directions, so a pair beyond its 95th percentile is more than chance gives.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import ConfigError
from workbench.evidence.stability import CONTROLS, best_cosines
from workbench.statistics.directions import isotropic_directions
from workbench.statistics.rows import COUNTS, P_VALUES

if TYPE_CHECKING:
    from workbench.store.runs import Run

NUMBERS = ("value", "low", "high", "null", "null_high", "n")
AGREE, CHANCE, ALONE = "agree", "chance", "alone"


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side.

    Attributes:
        config: ``option, first, second, same``: options, seed, activations, data and sites.
        metrics: The metrics of both: what they are of, ``value, low, high, null`` of each with ``_first`` and ``_second``,
            their ``difference``, and whether the intervals ``overlap`` (None where one has none).
        concepts: ``concept, other, site, label, cosine, null_high, verdict``. The verdict is ``agree`` for a pair beyond the
            null, ``chance`` for one within it, ``alone`` for a concept without a partner, whose cosine is that of the nearest.
    """

    config: pd.DataFrame
    metrics: pd.DataFrame
    concepts: pd.DataFrame

    def __repr__(self) -> str:
        counts = self.concepts["verdict"].value_counts()
        differing = int((~self.config["same"]).sum())
        return (
            f"<Comparison: {differing} options differ, {len(self.metrics):,} metrics in both, {counts.get(AGREE, 0):,} concepts"
            f" agree, {counts.get(CHANCE, 0):,} pairs as close as chance, {counts.get(ALONE, 0):,} alone>"
        )


def compare_runs(first: Run, second: Run, seed: int = 0) -> Comparison:
    """Put two runs of one study side by side.

    Raises:
        ConfigError: They are one run, or of two studies.
    """
    if first.id == second.id or first.study.folder != second.study.folder:
        raise ConfigError("Choose two different runs of one study to compare.")
    return Comparison(_config(first, second), _metrics(first.metrics, second.metrics), _concepts(first, second, seed))


def _config(first: Run, second: Run) -> pd.DataFrame:
    def options(run: Run) -> dict[str, Any]:
        inputs = {k: v for k, v in run.record["inputs"].items() if not k.endswith("_hash")}
        return {"analysis": run.analysis} | run.config | {"seed": run.record["seed"]} | inputs

    one, two = options(first), options(second)
    rows = [
        {"option": key, "first": _text(one, key), "second": _text(two, key), "same": _text(one, key) == _text(two, key)}
        for key in dict.fromkeys([*one, *two])
    ]
    return pd.DataFrame(rows)


def _text(options: dict[str, Any], key: str) -> str:
    if key not in options:
        return "–"
    value = options[key]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _metrics(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    # Whatever is not a number says what the number is of: the metric, its site, label, class.
    not_numbers = {"status", "error", "note", "family", "kind", *P_VALUES, *COUNTS}
    keys = [
        c for c in first.columns if c in second.columns and c not in not_numbers and not pd.api.types.is_numeric_dtype(first[c])
    ]
    columns = [*keys, *NUMBERS]
    one, two = (t.reindex(columns=columns).drop_duplicates(keys) for t in (first, second))
    if one.empty or two.empty:
        return pd.DataFrame(columns=[*keys, "difference", "overlap"])
    for key in keys:
        one[key], two[key] = one[key].fillna(""), two[key].fillna("")
    both = one.merge(two, on=keys, suffixes=("_first", "_second"))
    both["difference"] = both["value_second"] - both["value_first"]
    known = both[["low_first", "high_first", "low_second", "high_second"]].notna().all(axis=1)
    apart = (both["low_first"] > both["high_second"]) | (both["low_second"] > both["high_first"])
    both["overlap"] = [not far if judged else None for far, judged in zip(apart, known, strict=True)]
    return both


def _concepts(first: Run, second: Run, seed: int) -> pd.DataFrame:
    one, two = _by_site(first), _by_site(second)
    parts = []
    for site in dict.fromkeys([*one, *two]):
        if site in one and site in two:
            parts.append(_matched(one[site], two[site], seed).assign(site=site))
        else:
            table, _ = one.get(site) or two[site]
            parts.append(table.assign(other="", cosine=np.nan, null_high=np.nan, verdict=ALONE, site=site))
    columns = ["concept", "other", "site", "label", "cosine", "null_high", "verdict"]
    if not parts:
        return pd.DataFrame(columns=columns)
    return pd.concat(parts, ignore_index=True)[columns]


def _by_site(run: Run) -> dict[str, tuple[pd.DataFrame, Float[Tensor, "c d"]]]:
    found: dict[str, list[tuple[pd.DataFrame, Tensor]]] = {}
    first = 0
    for part in run.sets:
        ids = [f"{run.id}.{first + i}" for i in range(len(part))]
        table = pd.DataFrame({"concept": ids, "label": part.table["label"].fillna("").astype(str).to_numpy()})
        found.setdefault(part.site, []).append((table, part.directions()))
        first += len(part)
    return {
        site: (pd.concat([t for t, _ in parts], ignore_index=True), torch.cat([d for _, d in parts]))
        for site, parts in found.items()
    }


def _matched(one: tuple[pd.DataFrame, Tensor], two: tuple[pd.DataFrame, Tensor], seed: int) -> pd.DataFrame:
    (table_a, a), (table_b, b) = one, two
    pairs = _pairs(table_a["label"].tolist(), table_b["label"].tolist(), a, b)
    random = isotropic_directions(CONTROLS, a.shape[1], seed)
    any_null = max(float(best_cosines(random, side)[0].quantile(0.95)) for side in (a, b))
    one_null = float((random @ b[0]).abs().quantile(0.95))
    rows = []
    for i, j in pairs:
        label = table_a["label"][i] if table_a["label"][i] == table_b["label"][j] else ""
        cosine, null = float(a[i] @ b[j]), one_null if label else any_null
        rows.append(
            {
                "concept": table_a["concept"][i], "other": table_b["concept"][j], "label": label, "cosine": cosine,
                "null_high": null, "verdict": AGREE if cosine > null else CHANCE,
            }
        )  # fmt: skip
    taken = ({i for i, _ in pairs}, {j for _, j in pairs})
    for (table, mine, theirs), used in zip(((table_a, a, b), (table_b, b, a)), taken, strict=True):
        nearest, _ = best_cosines(mine, theirs)
        rows += [
            {
                "concept": table["concept"][i], "other": "", "label": table["label"][i], "cosine": float(nearest[i]),
                "null_high": any_null, "verdict": ALONE,
            }
            for i in range(len(table)) if i not in used
        ]  # fmt: skip
    return pd.DataFrame(rows)


def _pairs(labels_a: list[str], labels_b: list[str], a: Tensor, b: Tensor) -> list[tuple[int, int]]:
    """Places of matched concepts: same label first, then those that are each other's nearest among the rest."""
    place = {label: j for j, label in reversed(list(enumerate(labels_b))) if label}
    pairs: dict[int, int] = {}
    for i, label in enumerate(labels_a):
        j = place.pop(label, None)
        if j is not None:
            pairs[i] = j
    rest_a = [i for i in range(len(a)) if i not in pairs]
    rest_b = sorted(set(range(len(b))) - set(pairs.values()))
    if rest_a and rest_b:
        _, to_b = best_cosines(a[rest_a], b[rest_b])
        _, to_a = best_cosines(b[rest_b], a[rest_a])
        pairs |= {rest_a[i]: rest_b[int(j)] for i, j in enumerate(to_b) if int(to_a[j]) == i}
    return sorted(pairs.items())
