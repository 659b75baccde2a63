"""A frozen linear readout of the model's output: for every label, a logistic regression on the pooled output.

It is fitted once for a model and a data set, on training examples, and never again. Concepts that found their own direction
are judged by what they do to it: nothing about a concept enters its fit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import save_file
from torch import Tensor

from workbench.conversations import DEFAULT_POSITIONS
from workbench.errors import DataError, StudyError, disk_errors
from workbench.models.chat import at_positions
from workbench.models.targets import ReadoutLogit
from workbench.models.work import reading_work
from workbench.paths import inside
from workbench.progress import Progress, batch_work
from workbench.shapes import ShapeError, read_shaped, read_tensors, reading
from workbench.statistics.auroc import clustered_auroc
from workbench.statistics.clusters import example_clusters
from workbench.statistics.features import feature_scales
from workbench.store.captured import captured_examples
from workbench.writing import file_beside, write_beside

if TYPE_CHECKING:
    from workbench.datasets import Dataset
    from workbench.models import Model, Site
    from workbench.study import Study

MIN_POSITIVES = 15


@dataclass(frozen=True)
class Readout:
    """Logistic readouts of the pooled output.

    Attributes:
        labels: One a column.
        weights: ``[l, o]``.
        bias: ``[l]``.
        auroc: ``[l]``, on validation examples: how well the model's output tells the label at all.
        low: ``[l]``, the lower end of its 95% interval over documents; nan where fewer than two of them hold it.
    """

    labels: list[str]
    weights: Float[Tensor, "l o"]
    bias: Float[Tensor, "l"]
    auroc: Float[np.ndarray, "l"]
    low: Float[np.ndarray, "l"]

    def logits(self, pooled_bo: Float[Tensor, "b o"]) -> Float[Tensor, "b l"]:
        """Logits of every label."""
        return pooled_bo @ self.weights.to(pooled_bo).T + self.bias.to(pooled_bo)

    def works_for(self, label: str) -> bool:
        """Whether the output tells the label better than chance: the interval of its AUROC is above one half."""
        if label not in self.labels:
            return False
        i = self.labels.index(label)
        return bool(self.low[i] > 0.5)

    def save(self, folder: Path) -> None:
        """Write into ``folder``, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            "weights": self.weights.contiguous(), "bias": self.bias,
            "auroc": torch.from_numpy(self.auroc), "low": torch.from_numpy(self.low),
        }  # fmt: skip
        with file_beside(folder / "readout.safetensors") as partial:
            save_file(tensors, partial)
        # Written last and atomically: a readout with this file is complete.
        write_beside(folder / "labels.json", json.dumps(self.labels))

    @staticmethod
    def load(folder: Path) -> Readout:
        """Read what :meth:`save` wrote."""
        with reading(f"The readout {folder}", "Remove the folder: it is fitted again."):
            tensors, labels = read_tensors(folder / "readout.safetensors"), read_shaped(folder / "labels.json", list[str])
            if any(len(tensors[name]) != len(labels) for name in ("weights", "bias", "auroc", "low")):
                raise ShapeError("its labels are not those of its weights")
            return Readout(labels, tensors["weights"], tensors["bias"], tensors["auroc"].numpy(), tensors["low"].numpy())


def study_readout(study: Study, dataset: Dataset, *, progress: Progress | None = None, examples: int = 800) -> Readout:
    """The study's readout for a data set: from disk, or fitted now, on examples that were captured, and kept."""
    captured = captured_examples(study, dataset)
    key = f"{study.model_record()['weights_hash']}/{dataset.hash}/{examples}/3"
    if len(captured) < len(dataset):
        key += f"/{hashlib.sha256(captured.astype('<i8').tobytes()).hexdigest()[:16]}"
    folder = inside(study.folder, "cache", "readouts", hashlib.sha256(key.encode()).hexdigest()[:16])
    with suppress(StudyError):
        # If it is missing or unreadable, it is fitted.
        return Readout.load(folder)
    readout = fit_readout(study.model_for(progress), dataset, examples, among=captured, progress=progress)
    if not study.read_only:
        with disk_errors("the readout"):
            readout.save(folder)
    return readout


def fit_readout(
    model: Model,
    dataset: Dataset,
    examples: int = 800,
    seed: int = 0,
    *,
    among: Int[np.ndarray, "a"] | None = None,
    progress: Progress | None = None,
) -> Readout:
    """Fit the readout on at most ``examples`` training examples, rare labels first, and score it on validation examples.

    ``among`` are the numbers of the examples to take from; all when left out.

    Raises:
        DataError: No label has enough positives and negatives to fit.
    """
    from sklearn.linear_model import LogisticRegression

    names, values = labels_of_examples(dataset)
    rng = np.random.default_rng(seed)
    split = dataset.table["split"].to_numpy()
    inside = np.isin(np.arange(len(dataset)), np.arange(len(dataset)) if among is None else among)
    train = _sample(values, np.flatnonzero(inside & (split == "train")), examples, rng)
    check = _sample(values, np.flatnonzero(inside & (split == "validation")), max(examples // 3, 50), rng)
    pooled = pooled_outputs(model, dataset, np.concatenate([train, check]), progress).numpy()
    fit, held = pooled[: len(train)], pooled[len(train) :]
    centre = fit.mean(0)
    scale = feature_scales(fit.std(0), centre, fit.dtype).astype(fit.dtype)
    kept, weights, bias = [], [], []
    for column in range(len(names)):
        y = values[train, column]
        known = ~np.isnan(y)
        if min((y[known] == 1).sum(), (y[known] == 0).sum()) < MIN_POSITIVES:
            continue
        classifier = LogisticRegression(C=0.1, max_iter=300).fit((fit[known] - centre) * scale, y[known])
        w = classifier.coef_[0] * scale
        kept.append(column)
        weights.append(w)
        bias.append(float(classifier.intercept_[0]) - w @ centre)
    if not kept:
        raise DataError(
            f"No label of data set '{dataset.name}' has {MIN_POSITIVES} examples with it and {MIN_POSITIVES} without it in its"
            " training split; a readout cannot be fitted. Label more examples."
        )
    W, b = np.stack(weights).astype(np.float32), np.array(bias, dtype=np.float32)
    area = clustered_auroc(held @ W.T + b, values[check][:, kept], example_clusters(dataset, check))
    return Readout([names[i] for i in kept], torch.from_numpy(W), torch.from_numpy(b), area.value, area.interval(least=2).low)


def labels_of_examples(dataset: Dataset) -> tuple[list[str], Float[np.ndarray, "n l"]]:
    """Every label on whole examples; a span label says whether the example holds such a span."""
    names, values = dataset.example_targets()
    spans = dataset.span_targets()
    holds = np.zeros((len(dataset), len(spans)), dtype=np.float32)
    if spans:
        column = {name.split(":", 1)[1]: i for i, name in enumerate(spans)}
        known = dataset.spans[dataset.spans["label"].isin(column)]
        holds[known["example"].to_numpy(), known["label"].map(column).to_numpy()] = 1.0
        holds[~dataset.span_scope] = np.nan
    return [*names, *spans], np.concatenate([values, holds], axis=1).astype(np.float32)


def pooled_outputs(
    model: Model,
    dataset: Dataset,
    examples: Int[np.ndarray, "e"],
    progress: Progress | None = None,
    batch_size: int = 32,
) -> Float[Tensor, "e o"]:
    """The model's pooled output on examples, in their order, in main memory."""
    inputs = dataset.inputs(examples.tolist())
    order = by_length(inputs)
    work = batch_work(reading_work(model, [inputs[i] for i in order]), batch_size)
    parts: list[Tensor] = []
    for number, begin in enumerate(range(0, len(order), batch_size)):
        part = order[begin : begin + batch_size]
        if progress:
            progress(sum(work[:number]), sum(work), f"reading the model's output, {begin:,} of {len(order):,} inputs")
        batch = model.batch([inputs[i] for i in part])
        parts.append(model.forward(batch, logits=False)[0].pooled.detach().float().cpu())
    return torch.cat(parts)[torch.from_numpy(np.argsort(order))]


def output_gradients(
    model: Model,
    dataset: Dataset,
    readout: Readout,
    sites: Sequence[Site],
    labels: Sequence[str],
    per_label: int = 40,
    seed: int = 0,
    split: str = "test",
    positions: str = DEFAULT_POSITIONS,
    progress: Progress | None = None,
) -> dict[str, dict[str, Float[Tensor, "e d"]]]:
    """Gradients of each label's readout logit, on inputs that have the label, summed over the positions that a capture takes.

    The dot product of a row with a direction is the change of the logit per unit of that direction added at each of them.

    Returns:
        ``{site: {label: [e, d]}}``; the rows of a label are the examples of :func:`examples_with`, in their order. Labels without
        inputs in the split are left out.
    """
    of_label = examples_with(dataset, labels, per_label, seed, split)
    pairs = [(int(e), label) for label, examples in of_label.items() for e in examples]
    inputs = dataset.inputs([e for e, _ in pairs])
    order, size = by_length(inputs), 16
    work = batch_work(reading_work(model, [inputs[i] for i in order]), size)
    out: dict[str, dict[str, list[tuple[int, Tensor]]]] = {str(s): {label: [] for label in labels} for s in sites}
    for number, begin in enumerate(range(0, len(order), size)):
        if progress:
            progress(sum(work[:number]), sum(work), f"gradients of the readout, {begin:,} of {len(order):,} inputs")
        part = order[begin : begin + size]
        batch = model.batch([inputs[i] for i in part])
        default = batch.kinds is None or positions == DEFAULT_POSITIONS
        taken = batch.keep if default else at_positions(positions, cast(Tensor, batch.kinds))
        target = ReadoutLogit([pairs[i][1] for i in part], readout.labels, readout.weights, readout.bias)
        for site, grad in model.gradients(batch, sites, target).items():
            for i, row in zip(part, _kept_sum(grad.float(), taken).cpu(), strict=True):
                out[str(site)][pairs[i][1]].append((i, row))
    # Texts were read by length; the rows are in the order of the examples.
    ordered = lambda found: torch.stack([row for _, row in sorted(found, key=lambda one: one[0])])  # noqa: E731
    return {s: {k: ordered(v) for k, v in rows.items() if v} for s, rows in out.items()}


def study_gradients(
    study: Study,
    dataset: Dataset,
    sites: Sequence[str],
    labels: Sequence[str],
    per_label: int,
    positions: str,
    progress: Any,
) -> dict[str, dict[str, Any]]:
    """See :meth:`Study.gradients`."""

    def key(site: str, label: str) -> tuple[Any, ...]:
        return ("gradients", dataset.hash, site, label, per_label, positions)

    missing = [label for label in labels if any(key(site, label) not in study.shared for site in sites)]
    if missing:
        places = [study.model_for(progress).site(site) for site in sites]
        readout = study.readout(dataset, progress=progress)
        how = {"positions": positions, "progress": progress}
        found = output_gradients(study.model, dataset, readout, places, missing, per_label, **how)
        study.shared |= {key(s, label): found[s].get(label) for s in sites for label in missing}
    every = {s: {label: study.shared[key(s, label)] for label in labels} for s in sites}
    return {s: {label: rows for label, rows in part.items() if rows is not None} for s, part in every.items()}


def examples_with(
    dataset: Dataset, labels: Sequence[str], per_label: int = 40, seed: int = 0, split: str = "test"
) -> dict[str, Int[np.ndarray, "e"]]:
    """The examples of a split that have each label, at most ``per_label`` of them, drawn at random.

    The draw of a label depends on the label and the seed alone, not on which others are asked for.
    """
    names, values = labels_of_examples(dataset)
    in_split = dataset.table["split"].eq(split).to_numpy()
    found = {}
    for label in labels:
        of_label = np.frombuffer(hashlib.sha256(label.encode("utf-8", "surrogatepass")).digest(), dtype=np.uint32)
        rng = np.random.default_rng([seed, *of_label.tolist()])
        found[label] = rng.permutation(np.flatnonzero(in_split & (values[:, names.index(label)] == 1)))[:per_label]
    return found


def _kept_sum(grad: Float[Tensor, "b t d"], keep: Bool[Tensor, "b k"]) -> Float[Tensor, "b d"]:
    """The sum over kept positions; over all where the rows of a site are not the tokens (then k is not t)."""
    return (grad * keep[..., None]).sum(1) if keep.shape[1] in {1, grad.shape[1]} else grad.sum(1)


def by_length(inputs: Sequence[object]) -> list[int]:
    """An order in which texts of like length stand together; images keep theirs."""
    return sorted(range(len(inputs)), key=lambda i: len(inputs[i]) if isinstance(inputs[i], str) else 0)  # type: ignore[arg-type]


def _sample(
    values: Float[np.ndarray, "n l"], pool: Int[np.ndarray, "m"], count: int, rng: np.random.Generator
) -> Int[np.ndarray, "k"]:
    pool = rng.permutation(pool)
    if len(pool) <= count:
        return pool
    chosen: set[int] = set()
    for column in range(values.shape[1]):
        positive = pool[values[pool, column] == 1]
        chosen.update(positive[: max(MIN_POSITIVES * 2, count // max(4 * values.shape[1], 1))].tolist())
    rest = [i for i in pool.tolist() if i not in chosen]
    return np.array(sorted(chosen) + rest[: max(0, count - len(chosen))])
