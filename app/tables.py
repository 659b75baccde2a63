"""Tables that pages share and that are expensive to compute, cached by the study's version. Pages must not write into them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from app.components.text import short
from app.state import version
from workbench.analysis import Metric
from workbench.errors import WorkbenchError
from workbench.evidence import BY_KEY
from workbench.evidence.metrics import metrics_of
from workbench.sites import Site
from workbench.statistics.rows import SHOWN
from workbench.store.run_kinds import HEAD_EDIT, OF_OTHER_RUNS
from workbench.study import Study

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.evidence.compare import Comparison
    from workbench.naming import Scored

INFORMATION = ("bits", "nats")


def set_label(acts: ActivationSet) -> str:
    """A set of activations in one line, as choices show it."""
    under = f" under {short(acts.under, 80)}" if acts.edits else ""
    return f"{short(acts.dataset_record['name'], 60)}, {acts.n_rows:,} rows by {acts.pool}{under} ({acts.id[:8]})"


def metric_frame(study: Study) -> pd.DataFrame:
    """The metrics that the runs recorded, one row a measurement, with ``run`` and ``analysis``."""
    return _metric_frame(str(study.folder), version(study)[:2], study)


@st.cache_resource(max_entries=8, show_spinner="Reading the measurements …")
def _metric_frame(folder: str, key: tuple[int, ...], _study: Study) -> pd.DataFrame:
    parts = []
    for identifier in _study.runs()["id"]:
        run = _study.get_run(str(identifier))
        if "metrics" in run.tables:
            # What could not be measured is told on the run's own page.
            parts.append(run.metrics.dropna(subset="value").assign(run=run.id, analysis=run.analysis))
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["metric", "value", "run", "analysis"])
    for column in ("site", "label", "class"):
        frame[column] = frame[column].fillna("").astype(str) if column in frame else ""
    for column in SHOWN[1:]:
        if column not in frame:
            frame[column] = float("nan")
    return frame


def steered(study: Study) -> pd.DataFrame:
    """The concepts that were steered, with their verdicts."""
    return _steered(str(study.folder), version(study), study)


@st.cache_resource(max_entries=8, show_spinner=False)
def _steered(folder: str, key: tuple[int, ...], _study: Study) -> pd.DataFrame:
    return _study.steered()


def declared(analysis: str) -> dict[str, Metric]:
    """The metrics that an analysis declares, by key; none when it is not installed."""
    from workbench.registry import declared_metrics

    if analysis in OF_OTHER_RUNS - {HEAD_EDIT}:
        return dict(BY_KEY)
    return {metric.key: metric for metric in declared_metrics(analysis)}


def all_declared(study: Study) -> dict[str, Metric]:
    """The metrics of every analysis that the study has a run of."""
    found: dict[str, Metric] = {}
    for analysis in study.runs()["analysis"].unique():
        found |= declared(str(analysis))
    return found


def evidence_metrics(study: Study) -> dict[str, Metric]:
    """The metrics that evidence of the study may be of: the trial's, and those that the analyses of its runs declare."""
    return metrics_of(map(str, study.runs()["analysis"].unique()))


def site_order(site: str) -> tuple[int, str, int, int]:
    """A key that sorts sites by layer as the model computes them, and others by name."""
    try:
        known = Site.parse(site)
    except WorkbenchError:
        return (1, site, 0, 0)
    first = {"embed": -1, "final": 10**6}.get(known.kind)
    return (0, "" if first is not None else known.kind, first or 0 if known.layer is None else known.layer, known.head or 0)


def densities(study: Study) -> pd.Series:
    """On which share of the rows each concept is present, by the concept's id."""
    return _densities(str(study.folder), version(study)[:2], study)


@st.cache_resource(max_entries=8, show_spinner=False)
def _densities(folder: str, key: tuple[int, ...], _study: Study) -> pd.Series:
    parts = [pd.Series(dtype=float)]
    for identifier in _study.runs()["id"]:
        run = _study.get_run(str(identifier))
        if "summary" in run.tables:
            table = run.tables["summary"]
            parts.append(pd.Series(table["density"].to_numpy(), index=[f"{run.id}.{n}" for n in table["number"]]))
    return pd.concat([part for part in parts if len(part)]) if len(parts) > 1 else parts[0]


def comparison(study: Study, first: str, second: str) -> Comparison:
    """Two runs side by side; finished runs never change, so it is made once."""
    return _comparison(str(study.folder), first, second, study)


@st.cache_resource(max_entries=16, show_spinner="Comparing the runs …")
def _comparison(folder: str, first: str, second: str, _study: Study) -> Comparison:
    return _study.get_run(first).compare(_study.get_run(second))


@st.cache_resource(max_entries=8, show_spinner=False)
def scored_names(folder: str, run: str, _study: Study) -> Scored:
    """How well the words of the common vocabulary fit the concepts of a run."""
    from workbench.naming import score_vocabulary
    from workbench.progress import silent

    return score_vocabulary(_study.get_run(run), progress=silent)
