"""Which concepts steer text: every steered concept of a study with its dose, its effect, its price and its controls in a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.numbers import count, counted
from workbench.statistics.correction import ALPHA

if TYPE_CHECKING:
    from workbench.study import Study

METRICS = ("causes.tokens", "causes.cost", "causes.push", "causes.dose", "detects.auroc")
COLUMNS = (
    "concept", "name", "method", "site", "tokens", "push", "dose", "unit", "odds", "odds_low", "odds_high", "null_high",
    "times_null", "p", "p_corrected", "cost", "cost_high", "random_cost", "detects", "verdict", "reason",
)  # fmt: skip
STEERS, CHANCE, FAILED = "steers", "not distinguishable from a random direction", "failed"
FEW = "too few documents for an interval"
UNCORRECTED = "beyond random directions, p not corrected"
"""Of evidence of earlier versions, whose p values were not corrected for the other concepts that were steered."""
DEVIATION, MEAN_NORM = "deviation from the mean", "mean norm"
TOKENS_SHOWN = 6


def steered_concepts(study: Study) -> pd.DataFrame:
    """The newest steering evidence of every concept that was steered, the clearest first.

    Returns:
        One row a concept: ``push`` is the norm that is added at the recommended dose, and ``dose`` the same in multiples of
        ``unit``: the site's ``deviation from the mean``, or the ``mean norm`` in evidence of earlier versions. ``odds`` is the
        change of the log odds of the concept's own tokens there, in nats, with its 95% interval over documents; ``null_high`` the
        size that 5% of random directions of the same norm exceed, of the stricter kind, and ``times_null`` how many times that
        the effect is; ``cost`` the relative change of the loss, and ``random_cost`` that of random directions of the same norm;
        ``detects`` its held-out AUROC for the label it detects best. ``verdict`` is ``steers`` where the whole interval lies
        beyond the null's level and the p value, corrected by Holm over the concepts of the examination, is at most .05;
        ``beyond random directions, p not corrected`` where the interval does and there is no corrected p, as in evidence of
        earlier versions; ``not distinguishable from a random direction`` where neither; ``too few documents for an interval``
        where it was steered on texts of fewer than eight; and ``failed``, with the reason, where no dose was cheap enough or the
        concept has no tokens of its own.
    """
    evidence = study.evidence(METRICS)
    spoken = evidence[evidence["metric"].eq("causes.tokens")].set_index("concept")
    if spoken.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    names = study.catalog.current_names().set_index("concept")["text"]
    concepts = {identifier: study.concept(identifier) for identifier in spoken.index}

    def values(metric: str, column: str) -> pd.Series:
        rows = evidence[evidence["metric"].eq(metric) & evidence["status"].eq("ok")]
        if metric in ("causes.push", "causes.dose"):
            # Of the examination that the effect is of: an earlier one may have had another unit.
            rows = rows[rows["run"].eq(rows["concept"].map(spoken["run"]))]
        found: pd.Series = rows.groupby("concept")[column].max().reindex(spoken.index)
        return found

    table = pd.DataFrame(index=spoken.index).rename_axis("concept")
    table["name"] = [names.get(identifier, identifier) for identifier in table.index]
    table["method"] = [concepts[identifier].method for identifier in table.index]
    table["site"] = [concepts[identifier].site for identifier in table.index]
    table["tokens"] = [" ".join(c.tokens()["token"].head(TOKENS_SHOWN).map(str.strip)) for c in concepts.values()]
    table = table.join(_doses(study, table["site"], values("causes.push", "value"), values("causes.dose", "value")))
    table[["odds", "odds_low", "odds_high"]] = spoken[["value", "low", "high"]].to_numpy(float)
    table[["null_high", "p", "p_corrected"]] = spoken[["null_high", "p", "p_corrected"]].to_numpy(float)
    table["times_null"] = table["odds"].abs() / table["null_high"]
    table["cost"], table["cost_high"] = values("causes.cost", "value"), values("causes.cost", "high")
    table["random_cost"] = values("causes.cost", "null")
    table["detects"] = values("detects.auroc", "value")
    table["reason"] = spoken["error"].fillna("").astype(str)
    table["verdict"] = np.where(spoken["status"].ne("ok"), FAILED, judged(table))
    return table.sort_values("times_null", ascending=False).reset_index()[list(COLUMNS)]


def judged(table: pd.DataFrame) -> np.ndarray:
    """Of each row of ``odds, odds_low, odds_high, null_high, p_corrected`` the verdict of :func:`steered_concepts`."""
    nearest = np.where(table["odds"] > 0, table["odds_low"], -table["odds_high"])
    corrected = table["p_corrected"].to_numpy(float)
    beyond = np.where(np.isnan(corrected), UNCORRECTED, np.where(corrected <= ALPHA, STEERS, CHANCE))
    found: np.ndarray = np.where(nearest > table["null_high"].to_numpy(float), beyond, np.where(np.isnan(nearest), FEW, CHANCE))
    return found


def counts_of(table: pd.DataFrame) -> str:
    """How many concepts of a table of :func:`steered_concepts` steer, in a sentence."""
    steers, beyond = (int(table["verdict"].eq(verdict).sum()) for verdict in (STEERS, UNCORRECTED))
    sentence = f"{count(steers)} of {counted(len(table), 'concept')} steer, by p values corrected for all that were steered."
    if not beyond:
        return sentence
    return (
        f"{sentence} {count(beyond)} more lie beyond random directions by p values that were not corrected, as in evidence of"
        " earlier versions: examine their run again."
    )


def _doses(study: Study, sites: pd.Series, pushes: pd.Series, doses: pd.Series) -> pd.DataFrame:
    """``push, dose, unit`` of each concept: what was measured is the push, and in earlier versions the dose in mean norms."""
    known = {site: study.doses(site) for site in sites[pushes.notna()].unique()}
    units = np.array([found.unit if (found := known.get(site)) else np.nan for site in sites])
    norms = np.array([study.typical_norm(site) if old else np.nan for site, old in zip(sites, doses.notna(), strict=True)])
    earlier = pushes.isna() & doses.notna()
    return pd.DataFrame(
        {
            "push": pushes.where(~earlier, doses * norms),
            "dose": (pushes / units).where(~earlier, doses),
            "unit": np.where(earlier, MEAN_NORM, DEVIATION),
        },
        index=sites.index,
    )
