"""Edits of a head: other weights, or concepts that no longer count. Each is a run of its own, made from that of the head.

It is recorded as the run, the name of the head and what was changed, so that it can be repeated. Its metrics say what the edit
did to the test split.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.analysis import Result, measured
from workbench.concepts import Head
from workbench.errors import ConfigError, UnknownNameError
from workbench.evidence.held_out import HeldOut, codes, held_out
from workbench.paths import child
from workbench.recording import RunRequest, record_run
from workbench.statistics.intervals import mean_interval, share_interval
from workbench.statistics.rows import NoNull, Null, row
from workbench.store.parts import concepts_run
from workbench.store.run_kinds import HEAD_EDIT
from workbench.store.runs import VIEWS, Run, first_id
from workbench.views import HeadView, save_views

if TYPE_CHECKING:
    from workbench.study import Study

MAX_ROWS = 60_000
CHANGED_KEPT = 5000
Weights = Mapping[str, Mapping[int | str, float]]


@dataclass(frozen=True)
class HeadEdit:
    """What is changed of a head.

    Attributes:
        weights: The new weights: of each output, by the number of the concept.
        mask: Numbers of the concepts that no longer count, whatever their code is.
    """

    weights: dict[str, dict[int, float]]
    mask: list[int]

    @staticmethod
    def made(head: Head, origin: str, weights: Weights, mask: Sequence[int | str] = ()) -> HeadEdit:
        """An edit of a head, checked.

        Args:
            head: The head.
            origin: The id of the run that found its concepts.
            weights: Of each output that is changed, the new weight by concept: its number, or its id.
            mask: Concepts that no longer count.

        Raises:
            UnknownNameError: The head has no such output or concept.
            ConfigError: A weight is no finite number, or nothing is changed.
        """
        changed: dict[str, dict[int, float]] = {}
        for output, of_output in weights.items():
            if output not in head.facts.outputs:
                raise UnknownNameError("output of the head", output, head.facts.outputs)
            for concept, weight in of_output.items():
                if not isinstance(weight, int | float) or not math.isfinite(weight):
                    raise ConfigError(f"The weight of {concept} for {output} is to be a finite number, not {weight}.")
                changed.setdefault(output, {})[_number(head, origin, concept)] = float(weight)
        masked = sorted({_number(head, origin, concept) for concept in mask})
        if not changed and not masked:
            raise ConfigError("Nothing of the head is changed: give weights, or concepts to mask.")
        return HeadEdit({output: dict(sorted(changed[output].items())) for output in sorted(changed)}, masked)

    def of(self, head: Head) -> Head:
        """The edited head.

        Raises:
            ConfigError: Heads of its kind have no weights that can be edited.
        """
        column = {place: number for number, place in enumerate(head.facts.concepts)}
        weights = {
            (head.facts.outputs.index(output), column[place]): weight
            for output, of_output in self.weights.items()
            for place, weight in of_output.items()
        }
        return head.edited(weights, [column[place] for place in self.mask])


def _number(head: Head, origin: str, concept: int | str) -> int:
    text = str(concept).removeprefix(f"{origin}.")
    number = int(text) if text.isdecimal() and len(text) < 12 else -1
    if number not in head.facts.concepts:
        raise UnknownNameError("concept of the head", str(concept), map(str, head.facts.concepts[:100]))
    return number


class HeadTest:
    """The test split as a head reads it.

    Args:
        study: The study.
        run: The run of the head.
        head: The head.
    """

    def __init__(self, study: Study, run: Run, head: Head) -> None:
        self.study, self.head, self.facts = study, head, head.facts
        self.origin = concepts_run(run)
        self.acts = study.activation_set(self.origin.record["inputs"]["activations"])
        self.dataset = study.dataset_of_run(self.origin)

    @cached_property
    def rows(self) -> HeldOut:
        """Rows of the test split."""
        return held_out(self.acts, self.dataset, "test", MAX_ROWS, 0)

    @cached_property
    def examples(self) -> np.ndarray:
        """The example of each prediction."""
        every = self.rows.examples
        return every[self.rows.segment] if self.facts.pool == "none" else every

    @cached_property
    def clusters(self) -> np.ndarray:
        """The document of each prediction."""
        return self.rows.clusters if self.facts.pool == "none" else self.rows.documents

    @cached_property
    def z(self) -> Float[Tensor, "n c"]:
        """The codes that the head reads."""
        wanted, parts, first = set(self.facts.concepts), [], 0
        for concepts in self.origin.sets:
            here = range(first, first + len(concepts))
            if wanted.isdisjoint(here):
                parts.append(np.zeros((len(self.examples), len(concepts)), dtype=np.float32))
            else:
                parts.append(self._codes(concepts))
            first += len(concepts)
        return torch.from_numpy(np.concatenate(parts, axis=1)[:, list(self.facts.concepts)])

    def _codes(self, concepts: Any) -> np.ndarray:
        if concepts.level == "example" and self.facts.pool != "none":
            means = {site: torch.from_numpy(self.rows.means(self.rows.read(site).float().numpy())) for site in concepts.reads}
            with torch.no_grad():
                return np.asarray(concepts.encode_from(means.__getitem__).float().numpy())
        found = codes(concepts, self.rows)
        if self.facts.pool == "none":
            return found
        pooled = self.rows.means(found) if self.facts.pool == "mean" else self.rows.peaks(found)
        return pooled.astype(np.float32)

    @cached_property
    def truth(self) -> np.ndarray:
        """What is right: of classes their names, of quantities ``[n, k]``; missing values as nan or None.

        Raises:
            ConfigError: The head does not say which column of the data it predicts, or the data have none of that name.
        """
        columns = [self.facts.label] if self.facts.label else list(self.facts.outputs if self.facts.task == "quantities" else ())
        table = self.dataset.table
        if not columns or any(column not in table for column in columns):
            named = f"'{columns[0]}', which the data do not have" if columns else "no column of the data"
            raise ConfigError(f"The head predicts {named}: how often it is right cannot be measured.")
        values = table.iloc[self.examples]
        if self.facts.task == "quantities" and len(columns) != len(self.facts.outputs):
            raise ConfigError(
                f"The head predicts {len(self.facts.outputs)} quantities, and names one column of the data for them."
            )
        if self.facts.task == "quantities":
            return values[columns].apply(pd.to_numeric, errors="coerce").to_numpy(float)
        return values[columns[0]].map(lambda value: str(value) if pd.notna(value) else None).to_numpy(object)

    @cached_property
    def h(self) -> Float[Tensor, "n d"] | None:
        """The activations, for a head that reads them too."""
        if not self.head.reads_activations:
            return None
        found = self.rows.read(str(self.acts.sites[0])).float()
        return found if self.facts.pool == "none" else torch.from_numpy(self.rows.means(found.numpy())).float()

    @cached_property
    def before(self) -> np.ndarray:
        """The outputs of the head as it is, ``[n, k]``."""
        return self.outputs(self.head)

    def outputs(self, head: Head) -> np.ndarray:
        """The outputs of the head after an edit, ``[n, k]``."""
        index = self.acts.index.iloc[self.rows.rows] if self.facts.pool == "none" else None
        with torch.no_grad():
            return np.asarray(head.predict(self.z, self.h, index).float().numpy())


def effect(test: HeadTest, after: Head) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """What an edit does on the test split: rows of metrics, and the predictions that it changed."""
    before, now = test.before, test.outputs(after)
    if test.facts.task == "quantities":
        rows = measured(
            ["head.r2"], lambda: [_r2(test, outputs, label) for label, outputs in (("before", before), ("after", now))]
        )
        moved = np.abs(now - before)
        rows.append(_mean("head.moved", moved.mean(1), test.clusters, NoNull("a description of the edit")))
        return rows, pd.DataFrame({"example": test.examples, "moved": moved.max(1)}).nlargest(CHANGED_KEPT, "moved")
    names = np.array(test.facts.outputs, dtype=object)
    first, second = names[before.argmax(1)], names[now.argmax(1)]
    changed = first != second
    rows = measured(["head.accuracy", "head.change"], lambda: _accuracy(test, first, second))
    rows.append(_share("head.changed", changed, test.clusters, NoNull("a description of the edit")))
    table = pd.DataFrame({"example": test.examples, "before": first, "after": second})[changed]
    return rows, table.head(CHANGED_KEPT)


def _accuracy(test: HeadTest, first: np.ndarray, second: np.ndarray) -> list[dict[str, Any]]:
    known = np.array([value is not None for value in test.truth])
    if not known.any():
        raise ConfigError(f"None of the test examples has a value of '{test.facts.label}'.")
    truth, clusters = test.truth[known], test.clusters[known]
    right = {"before": first[known] == truth, "after": second[known] == truth}
    majority = Null(float(pd.Series(truth).value_counts(normalize=True).iloc[0]))
    rows = [_share("head.accuracy", hits, clusters, majority, label=label) for label, hits in right.items()]
    change = right["after"].astype(float) - right["before"]
    return [*rows, _mean("head.change", change, clusters, Null(0.0))]


def _r2(test: HeadTest, outputs: np.ndarray, label: str) -> dict[str, Any]:
    whole = np.isfinite(test.truth).all(1)
    truth, found = test.truth[whole], outputs[whole]
    spread = float(np.square(truth - truth.mean(0)).sum()) if len(truth) else 0.0
    value = 1 - float(np.square(truth - found).sum()) / spread if spread else math.nan
    return row("head.r2", value, Null(0.0), n=len(truth), clusters=len(np.unique(test.clusters[whole])), label=label)


def _share(metric: str, hits: np.ndarray, clusters: np.ndarray, null: Null | NoNull, **more: Any) -> dict[str, Any]:
    low, high = share_interval(hits[:, None], clusters)
    count = len(np.unique(clusters))
    return row(metric, float(hits.mean()), null, n=len(hits), low=low[0], high=high[0], clusters=count, **more)


def _mean(metric: str, values: np.ndarray, clusters: np.ndarray, null: Null | NoNull) -> dict[str, Any]:
    low, high = mean_interval(values[:, None], clusters)
    count = len(np.unique(clusters))
    return row(metric, float(values.mean()), null, n=len(values), low=low[0], high=high[0], clusters=count)


def edit_head(
    study: Study, run: Run, name: str, weights: Weights | None = None, mask: Sequence[int | str] = (), force: bool = False,
    repeats: str = "",
) -> Run:  # fmt: skip
    """Edit a head and record that as a run made from its run; the same edit again gives the finished run.

    Args:
        study: The study.
        run: The run of the head: of an analysis, or of an edit before.
        name: The head.
        weights: Of each output that is changed, the new weight by concept: its number, or its id.
        mask: Concepts that no longer count.
        force: Do it again although it is there.
        repeats: The id of the edit that this one repeats.

    Raises:
        UnknownNameError: There is no such head, output or concept.
        ConfigError: Nothing is changed, a weight is no finite number, or the head has no weights that can be edited.
    """
    head = run.heads[name]
    origin = concepts_run(run)
    edit = HeadEdit.made(head, origin.id, weights or {}, mask)
    after = edit.of(head)
    numbered = {output: {str(place): weight for place, weight in of.items()} for output, of in edit.weights.items()}
    config = {"run": run.id, "head": name, "weights": numbered, "mask": edit.mask}
    kept = ("activations", "sites", "dataset", "dataset_hash", "model", "weights_hash", "splits_hash")
    inputs = {key: value for key, value in origin.record["inputs"].items() if key in kept} | {"parents": [run.id]}
    key = json.dumps([config, inputs], sort_keys=True)
    run_id = first_id(repeats) if repeats else f"{HEAD_EDIT}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"

    def work() -> Result:
        tables: dict[str, pd.DataFrame] = {}

        def rows() -> list[dict[str, Any]]:
            found, tables["changed"] = effect(HeadTest(study, run, head), after)
            return found

        # Without activations, as in a packed study, the edit is kept and its effect is not known.
        metric = "head.accuracy" if head.facts.task == "classes" else "head.r2"
        metrics, view = pd.DataFrame(measured([metric], rows)), HeadView(title=f"Head {name}"[:200], head=name)
        return Result(metrics=metrics, tables=tables, heads={name: after}, views=[view])

    facts = {"repeats": repeats} if repeats else {}
    return record_run(study, RunRequest(run_id, HEAD_EDIT, config, 0, inputs, facts, force or bool(repeats)), work, _write)


def edit_again(study: Study, first: Run) -> Run:
    """Repeat an edit."""
    config = first.config
    weights: Weights = {output: dict(of) for output, of in config["weights"].items()}
    return edit_head(study, study.get_run(config["run"]), config["head"], weights, config["mask"], repeats=first.id)


def _write(folder: Path, result: Result) -> None:
    (folder / "tables").mkdir()
    assert result.metrics is not None
    for name, table in {"metrics": result.metrics, **result.tables}.items():
        table.to_parquet(child(folder / "tables", f"{name}.parquet"), index=False, compression="zstd")
    for name, head in result.heads.items():
        head.save(child(folder / "heads", name))
    save_views(result.views, folder / VIEWS)
