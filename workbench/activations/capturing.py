"""Run a model over a data set once, and keep the activations of some sites."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from workbench.activations.dtypes import DTYPES, Dtype, packed
from workbench.activations.manifest import Pool, Request
from workbench.activations.room import check_limit, check_room, parse_size
from workbench.activations.source import Examples
from workbench.activations.store import ActivationSet
from workbench.activations.writer import Writer, claimed, finish_sealed, whole, writing
from workbench.errors import ConfigError, disk_errors
from workbench.models.base import Batch, EmptyInputError, Model
from workbench.models.sites import Site

Progress = Callable[[int, int, dict[str, Any]], None]
Item = TypeVar("Item")

_CHUNK_BYTES = 256 * 2**20
# A capture that is killed loses at most one chunk. Shorter ones cost time: texts of like length are rarer in them.
_CHUNK_EXAMPLES = {"text": 256, "image": 256}
# Of one row: the index that grows, and at the end the whole one beside it.
_INDEX_BYTES = 24


def capture(
    model: Model,
    dataset: Examples,
    *,
    sites: str | Site | Sequence[str | Site],
    folder: str | Path,
    pool: str = "token",
    dtype: str = "float16",
    batch_size: int = 32,
    limit: int | None = None,
    max_disk: int | str | None = None,
    progress: Progress | None = None,
    fetch: Callable[[Path], None] | None = None,
) -> ActivationSet:
    """The activations of ``sites`` (names or globs) for the first ``limit`` examples, in one pass.

    ``pool``: ``token`` (or ``spatial``, for images) keeps a row a position, ``mean``, ``max`` and ``last``
    one an example. A whole set with the same manifest hash in ``folder`` is opened instead of captured again.
    What is cut short, even killed, goes on from its last whole chunk when the same capture is asked for again,
    and ends with the same bytes; with another ``batch_size``, which decides how numbers are rounded, it starts
    over. ``progress(done, total, info)`` counts examples; ``info`` has the ``rows``, the ``bytes`` that are on the
    disk, and the ``tokens`` (or places, of images) and ``seconds`` of this call.

    ``dtype`` is how numbers lie on disk: ``float16``, ``float32`` or ``bfloat16``. ``max_disk`` (bytes, or a text
    such as ``2GB``) is the most that the set may take. ``fetch(folder)`` may bring a set that is not there, from
    where it was captured before.

    Raises `ConfigError` for an option, `DataError` for an example without a token or a value that the dtype
    cannot hold, `DiskFullError` when the room or ``max_disk`` does not suffice, before the model runs,
    `StudyError` when another process captures the same set.
    """
    places = model.match(sites)
    rows = _checked(model, dataset, places, pool, dtype, batch_size)
    most = None if max_disk is None else parse_size(max_disk)
    n = len(dataset) if limit is None else min(limit, len(dataset))
    if n < 1:
        raise ConfigError("There is no example to capture: raise the limit or take another data set.")
    request = Request(
        model=model.name,
        model_kind=model.kind,
        weights_hash=model.weights_hash,
        inputs=model.input_options(),
        edits=[edit.to_dict() for edit in model.active_edits],
        dataset=dataset.name,
        dataset_hash=dataset.hash,
        limit=None if n == len(dataset) else n,
        sites=tuple(map(str, places)),
        widths=tuple(map(model.width, places)),
        pool=rows,
        dtype=cast(Dtype, dtype),
    )
    home = Path(folder) / request.id
    if not whole(home) and fetch is not None:
        fetch(home)
    if not whole(home):
        with disk_errors("activations"), claimed(home):
            # Another process may have finished it since.
            if not whole(home) and not finish_sealed(home):
                _Capture(model, dataset, places, request, n, batch_size, most).into(home, progress)
    return ActivationSet.open(home)


def _checked(model: Model, dataset: Examples, sites: list[Site], pool: str, dtype: str, batch_size: int) -> Pool:
    if pool not in {"token", "spatial", "mean", "max", "last"}:
        raise ConfigError(f"The pool is token, spatial, mean, max or last, not '{pool}'.")
    if dtype not in DTYPES:
        raise ConfigError(f"The dtype is {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, not '{dtype}'.")
    if batch_size < 1:
        raise ConfigError("The batch size is at least 1.")
    column = model.modality
    if column not in dataset.table.columns:
        raise ConfigError(f"{model.name} reads {column}s and {dataset.name} has none: take another data set or model.")
    if pool not in {"token", "spatial"}:
        return cast(Pool, pool)
    if model.modality == "text":
        return "token"
    grids = {str(site): model.grid(site) for site in sites}
    if len(set(grids.values())) > 1:
        shown = ", ".join(f"{site} {h}x{w}" for site, (h, w) in grids.items())
        raise ConfigError(f"Positions differ between the sites ({shown}): capture them one grid at a time, or pool.")
    return "spatial"


class _Capture:
    """One pass over the examples, chunk by chunk: batches of like length inside a chunk, rows in example
    order."""

    def __init__(
        self, model: Model, dataset: Examples, sites: list[Site], request: Request, n: int, batch_size: int, most: int | None
    ) -> None:
        self.model, self.dataset, self.sites, self.request = model, dataset, sites, request
        self.n, self.batch_size, self.most = n, batch_size, most
        self.by_position = request.pool in {"token", "spatial"}
        cells = 1
        if self.by_position:
            cells = model.max_length if model.modality == "text" else int(np.prod(model.grid(sites[0])))
        most = max(_CHUNK_BYTES // (request.row_bytes * cells), batch_size)
        self.chunk = min(most, _CHUNK_EXAMPLES[model.modality])

    def estimate(self) -> int:
        """Bytes that the set will take, from a sample of the examples."""
        rows = float(self.n)
        if self.by_position and self.model.modality == "image":
            rows *= float(np.prod(self.model.grid(self.sites[0])))
        elif self.by_position:
            ids = np.unique(np.linspace(0, self.n - 1, 64).astype(int))
            rows *= float(self._batch(ids).keep.sum()) / len(ids)
        return int(rows * (self.request.row_bytes + _INDEX_BYTES))

    def into(self, home: Path, progress: Progress | None) -> None:
        """Write the set into its folder, from the first chunk that is not there yet."""
        plan = {"chunk": self.chunk, "batch_size": self.batch_size}
        with writing(home, self.request, plan) as writer:
            check_room(home, self.estimate(), writer.bytes, self.most)
            self.write(writer, progress)
            grid = self.model.grid(self.sites[0]) if self.request.pool == "spatial" else None
            writer.finish(self.model.describe(), dict(self.dataset.source), self.n, grid)

    def write(self, writer: Writer, progress: Progress | None) -> None:
        """Every chunk that the writer does not have yet, in order.

        While the model runs, one thread makes the next batches and another puts the last chunk on the disk. However this ends,
        neither of them runs on after it.
        """
        done, tokens, since = writer.chunks * self.chunk, 0, time.monotonic()
        rows, on_disk = sum(writer.shards), writer.bytes
        parts: _Parts | None = None
        written: Future[None] = Future()
        written.set_result(None)
        with ThreadPoolExecutor(1, "capture-read") as reading, ThreadPoolExecutor(1, "capture-write") as appending:
            for ids, places, batch in _ahead(self._batches(done), reading):
                parts = parts or _Parts(self, ids)
                tokens += parts.add(places, batch, self.model.activations(batch, self.sites))
                done += len(places)
                if progress is not None:
                    facts = {"rows": rows + parts.n_rows, "bytes": on_disk}
                    progress(done, self.n, facts | {"tokens": tokens, "seconds": time.monotonic() - since})
                if done <= ids[-1]:
                    continue
                written.result()
                on_disk, rows = writer.bytes, rows + parts.n_rows
                check_limit(on_disk + parts.n_rows * (self.request.row_bytes + _INDEX_BYTES), self.most)
                written = appending.submit(parts.append_to, writer)
                parts = None
            written.result()

    def _batches(self, first: int) -> Iterator[tuple[np.ndarray, np.ndarray, Batch]]:
        """From an example on: the examples of a chunk, the places in it of a batch's, and the batch."""
        for start in range(first, self.n, self.chunk):
            ids = np.arange(start, min(start + self.chunk, self.n))
            places = np.arange(len(ids))
            whole = None
            if self.model.modality == "text":
                whole = self._batch(ids)
                places = np.argsort(whole.attention.sum(1).cpu().numpy(), kind="stable")
            for begin in range(0, len(ids), self.batch_size):
                part = places[begin : begin + self.batch_size]
                yield ids, part, self._batch(ids[part]) if whole is None else whole.select(part)

    def _batch(self, ids: np.ndarray) -> Batch:
        try:
            return self.model.batch(self.dataset.inputs(ids.tolist()))
        except EmptyInputError as error:
            raise EmptyInputError(int(ids[error.row])) from None


def _ahead(items: Iterator[Item], pool: ThreadPoolExecutor, depth: int = 2) -> Iterator[Item]:
    """The same items; the pool's one thread makes the next of them while one is used."""
    coming = deque(pool.submit(next, items, None) for _ in range(depth))
    while (item := coming.popleft().result()) is not None:
        coming.append(pool.submit(next, items, None))
        yield item


class _Parts:
    """The rows of one chunk, collected batch by batch and joined in example order."""

    def __init__(self, run: _Capture, ids: np.ndarray) -> None:
        self._run, self._ids = run, ids
        self._rows: list[list[np.ndarray]] = [[] for _ in run.sites]
        self._index: list[dict[str, np.ndarray]] = []
        self.n_rows = 0

    def add(self, places: np.ndarray, batch: Batch, seen: dict[Site, Tensor]) -> int:
        """The activations of the examples at these places of the chunk; how many tokens, or places of images, they have."""
        for number, site in enumerate(self._run.sites):
            rows = self._flat(seen[site], batch.keep).float().cpu().numpy()
            self._rows[number].append(packed(rows, self._run.request.dtype, str(site)))
        count = len(self._rows[0][-1])
        self.n_rows += count
        self._index.append(self._columns(places, batch, count))
        if self._run.model.modality == "text":
            return int(batch.keep.sum())
        return len(places) * int(seen[self._run.sites[0]].shape[1])

    def append_to(self, writer: Writer) -> None:
        """Put the chunk on the disk."""
        writer.append(*self.joined())

    def joined(self) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        """The rows of each site, and the index, in example order."""
        index = {name: np.concatenate([part[name] for part in self._index]) for name in self._index[0]}
        # Stable: the positions of an example are in order already.
        order = np.argsort(index["example"], kind="stable")
        rows = [np.concatenate(parts)[order] for parts in self._rows]
        return rows, {name: column[order] for name, column in index.items()}

    def _flat(self, hidden: Tensor, keep: Tensor) -> Tensor:
        if self._run.model.modality == "image":
            keep = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        return pooled(hidden, keep, self._run.request.pool)

    def _columns(self, places: np.ndarray, batch: Batch, count: int) -> dict[str, np.ndarray]:
        examples = self._ids[places]
        if not self._run.by_position:
            blank = np.zeros(count, np.int32)
            tokens = np.full(count, "", object)
            return {"example": examples, "position": blank - 1, "token": tokens, "start": blank, "end": blank}
        if self._run.model.modality == "image":
            cells = count // len(examples)
            blank = np.zeros(count, np.int32)
            position = np.tile(np.arange(cells), len(examples))
            tokens = np.full(count, "", object)
            return {
                "example": np.repeat(examples, cells),
                "position": position,
                "token": tokens,
                "start": blank,
                "end": blank,
            }
        which, position = np.nonzero(batch.keep.cpu().numpy())
        tokens = np.array([batch.pieces[i][j] for i, j in zip(which.tolist(), position.tolist(), strict=True)], object)
        spans = batch.spans[which, position]
        return {
            "example": examples[which],
            "position": position,
            "token": tokens,
            "start": spans[:, 0],
            "end": spans[:, 1],
        }


def pooled(hidden: Tensor, keep: Tensor, pool: str) -> Tensor:
    """Rows ``[b, t, d]`` where ``keep`` is true, or one an example: their mean, maximum or last."""
    if pool in {"token", "spatial"}:
        return hidden[keep]
    if pool == "mean":
        weight = keep.to(hidden)[..., None]
        return (hidden * weight).sum(1) / weight.sum(1)
    if pool == "max":
        return hidden.masked_fill(~keep[..., None], -torch.inf).max(1).values
    places = torch.arange(keep.shape[1], device=keep.device)
    return hidden[torch.arange(len(hidden), device=hidden.device), torch.where(keep, places, -1).max(1).values]
