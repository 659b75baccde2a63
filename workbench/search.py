"""Find concepts: by the words of a name, by its meaning, or by an input on which they are strong."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import sqlalchemy as sa

from workbench.errors import StudyError, UnknownNameError
from workbench.progress import Progress, silent
from workbench.store import tables
from workbench.store.concept_list import ConceptList

if TYPE_CHECKING:
    import pandas as pd

    from workbench.study import Study

FILTERS = ("method", "run", "site", "label")


def search(
    study: Study,
    query: str | None = None,
    *,
    fires_on: str | None = None,
    output: str | None = None,
    limit: int | None = None,
    progress: Progress = silent,
    **where: str,
) -> ConceptList:
    """Concepts that match.

    Args:
        study: Where to look.
        query: Words. Names that contain them come first, then names by cosine of meaning, best first. A leading "about" is
            left out, so that "about money" finds "money".
        fires_on: A text of your own; concepts are ordered by how many deviations their peak on it lies above their mean.
        output: A word of the vocabulary of a causal model; concepts are ordered by how much their direction raises it by
            itself (its direct logit effect), in deviations of the concept's effects over all tokens.
        limit: At most so many.
        progress: Called with ``(done, total, text)``.
        where: ``method``, ``run``, ``site``, ``label`` must equal.
    """
    unknown = set(where) - set(FILTERS)
    if unknown:
        raise UnknownNameError("filter", sorted(unknown)[0], [*FILTERS, "fires_on", "output", "limit"])
    statement = sa.select(tables.concepts).order_by(tables.concepts.c.run, tables.concepts.c.number)
    for column, value in where.items():
        statement = statement.where(tables.concepts.c[column] == value)
    frame = study.catalog.frame(statement)
    ids: list[str] = frame["id"].tolist()
    relevance: list[float] | None = None
    if fires_on is not None and ids:
        scores = _firing(study, frame, fires_on)
        ids, relevance = _ranked(ids, scores)
    elif output is not None and ids:
        ids, relevance = _ranked(ids, _raising(study, frame, output, progress))
    elif query and ids:
        scores = _matching(study, ids, query, progress)
        ids, relevance = _ranked(ids, scores)
    return ConceptList(study, ids[:limit], relevance[:limit] if relevance is not None else None)


def _ranked(ids: list[str], scores: np.ndarray) -> tuple[list[str], list[float]]:
    order = [i for i in np.argsort(-scores, kind="stable") if np.isfinite(scores[i])]
    return [ids[i] for i in order], [float(scores[i]) for i in order]


def _matching(study: Study, ids: list[str], query: str, progress: Progress) -> np.ndarray:
    words = query.strip().removeprefix("about ").strip() or query
    current = study.catalog.current_names()
    by_id = dict(zip(current["concept"], current["text"], strict=True)) if len(current) else {}
    named = [by_id.get(i, "") for i in ids]
    scores = np.full(len(ids), -np.inf)
    unique = sorted({n for n in named if n})
    if unique:
        embedder = study.embedder()
        cosine = embedder.embed(unique, progress) @ embedder.embed([words])[0]
        value = dict(zip(unique, cosine.tolist(), strict=True))
        scores = np.array([value.get(n, -np.inf) for n in named])
    needle = words.casefold()
    exact = np.array([needle in n.casefold() or needle == i.casefold() for n, i in zip(named, ids, strict=True)])
    # Names that contain the words come before names that are only similar in meaning.
    return np.where(exact, 1.0 + np.where(np.isfinite(scores), scores, 0.0), scores)


def _firing(study: Study, table: pd.DataFrame, text: str) -> np.ndarray:
    import torch

    model = study.model
    if model.modality == "text":
        model.warn_if_cut([text])
    batch = model.batch([text])
    runs = {str(run_id): study.get_run(str(run_id)) for run_id in table["run"].unique()}
    runs = {run_id: run for run_id, run in runs.items() if not run.not_installed}
    read = [
        model.site(site) for site in dict.fromkeys(site for run in runs.values() for found in run.sets for site in found.reads)
    ]
    keep = batch.keep[0]
    # By the set of activations, of those that were captured under an edit: the text is read in the model that they are of.
    given: dict[str, dict[str, torch.Tensor]] = {}
    scores = np.full(len(table), -np.inf)
    for run_id, rows in table.groupby("run"):
        if (run := runs.get(str(run_id))) is None:
            continue
        acts = study.activation_set(run.record["inputs"]["activations"])
        under = acts.id if acts.edits else ""
        if under not in given:
            with suppress(StudyError), model.edited(study.edits_of(acts)):
                given[under] = {str(site): found[0][keep] for site, found in model.activations(batch, read).items()}
        if under not in given:
            continue
        summary = run.tables["summary"].set_index("number")
        peaks = []
        for concept_set in run.sets:
            codes = concept_set.encode_from(given[under].__getitem__)
            peaks.append((codes.mean(0) if concept_set.level == "example" else codes.amax(0)).cpu())
        peak = torch.cat(peaks).numpy()
        mean, std = summary["mean"].to_numpy(), summary["deviation"].to_numpy()
        above = np.where(peak > 0, (peak - mean) / np.maximum(std, 1e-6), -np.inf)
        scores[np.flatnonzero(table["run"].eq(run_id))] = above[rows["number"].to_numpy()]
    return scores


def _raising(study: Study, table: pd.DataFrame, word: str, progress: Progress) -> np.ndarray:
    import torch

    from workbench.errors import ConfigError
    from workbench.tokens.direct import writes_to_residual
    from workbench.tokens.tables import study_map

    wanted = study.model_for(progress).token_ids(word)
    if not wanted:
        raise ConfigError(f"'{word[:60]}' is no single token of {study.model.name}: search for a shorter or commoner word.")
    mapping = study_map(study, study.datasets()[0], progress)
    scores = np.full(len(table), -np.inf)
    for run_id, rows in table.groupby("run"):
        found = []
        if (run := study.get_run(str(run_id))).not_installed:
            continue
        for concepts in run.sets:
            if not writes_to_residual(concepts.site):
                found.append(np.full(len(concepts), -np.inf))
                continue
            directions = concepts.directions()
            raised = mapping.effects(directions, torch.tensor(wanted)).amax(-1)
            found.append((raised / mapping.spread(directions)).cpu().numpy())
        scores[np.flatnonzero(table["run"].eq(run_id))] = np.concatenate(found)[rows["number"].to_numpy()]
    return scores
