"""Which concepts steer text: every steered concept of a study with its dose, its effect, its price and its controls in a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from workbench.store.study import Study

METRICS = ("causes.tokens", "causes.cost", "causes.dose", "detects.auroc")
COLUMNS = (
    "concept", "name", "method", "site", "tokens", "dose", "odds", "odds_low", "odds_high", "null_high", "times_null", "p",
    "cost", "cost_high", "detects", "verdict", "reason",
)  # fmt: skip
STEERS, PUSHES, FAILED = "steers", "no more than a push", "failed"
TOKENS_SHOWN = 6


def steered_concepts(study: Study) -> pd.DataFrame:
    """The newest steering evidence of every concept that was steered, the clearest first.

    Returns:
        One row a concept: ``dose`` is the recommended one; ``odds`` the change of the log odds of the concept's own tokens
        there, in nats, with its 95% interval over texts; ``null_high`` the 95th percentile of its size over random directions
        of the same norm, and ``times_null`` how many times that the effect is; ``cost`` the relative change of the loss;
        ``detects`` its held-out AUROC for the label it detects best. ``verdict`` is ``steers`` where the whole interval lies
        beyond the null's 95th percentile, ``no more than a push`` where it does not, and ``failed``, with the reason, where
        no dose was cheap enough or the concept has no tokens of its own.
    """
    evidence = study.evidence(METRICS)
    spoken = evidence[evidence["metric"].eq("causes.tokens")].set_index("concept")
    if spoken.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    names = study.catalog.current_names().set_index("concept")["text"]
    concepts = {identifier: study.concept(identifier) for identifier in spoken.index}

    def values(metric: str, column: str) -> pd.Series:
        rows = evidence[evidence["metric"].eq(metric) & evidence["status"].eq("ok")]
        found: pd.Series = rows.groupby("concept")[column].max().reindex(spoken.index)
        return found

    table = pd.DataFrame(index=spoken.index).rename_axis("concept")
    table["name"] = [names.get(identifier, identifier) for identifier in table.index]
    table["method"] = [concepts[identifier].method for identifier in table.index]
    table["site"] = [concepts[identifier].site for identifier in table.index]
    table["tokens"] = [" ".join(c.tokens()["token"].head(TOKENS_SHOWN).map(str.strip)) for c in concepts.values()]
    table["dose"] = values("causes.dose", "value")
    table[["odds", "odds_low", "odds_high"]] = spoken[["value", "low", "high"]].to_numpy(float)
    table[["null_high", "p"]] = spoken[["null_high", "p"]].to_numpy(float)
    table["times_null"] = table["odds"].abs() / table["null_high"]
    table["cost"], table["cost_high"] = values("causes.cost", "value"), values("causes.cost", "high")
    table["detects"] = values("detects.auroc", "value")
    table["reason"] = spoken["error"].fillna("").astype(str)
    nearest = np.where(table["odds"] > 0, table["odds_low"], -table["odds_high"])
    table["verdict"] = np.where(
        spoken["status"].ne("ok"), FAILED, np.where(nearest > table["null_high"].to_numpy(), STEERS, PUSHES)
    )
    return table.sort_values("times_null", ascending=False).reset_index()[list(COLUMNS)]
