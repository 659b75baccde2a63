"""Chunks of examples read by a model: the same rows to the bit, in whichever process that is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from workbench.activations.dtypes import packing
from workbench.activations.manifest import Request
from workbench.edits import Edit
from workbench.errors import ConfigError
from workbench.models.base import Batch, EmptyInputError, Model, sent

Tell = Callable[[int, int, int], None]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Piece:
    """Some examples: their numbers in the data set, and their texts or images."""

    ids: np.ndarray
    inputs: list[Any]


@dataclass(frozen=True)
class Chunk:
    """What a model gives for some examples, in their order.

    Attributes:
        rows: ``[n, d]`` of each site, as they lie on disk.
        index: Columns of ``n``: example, position, token, start, end.
        tokens: How many tokens, or places of images, the model read.
    """

    rows: list[np.ndarray]
    index: dict[str, np.ndarray]
    tokens: int


@dataclass(frozen=True)
class _Coming:
    """A batch to be read.

    Attributes:
        examples: The piece that it is of.
        places: Of its examples in the piece.
        batch: In main memory.
        there: The same on the model's device.
        kept: Which rows of all its examples are kept, on the model's device; of texts of which each token is.
    """

    examples: Piece
    places: np.ndarray
    batch: Batch
    there: Batch
    kept: Tensor | None = None


@dataclass(frozen=True)
class _Passed:
    """What a model gave for a batch.

    Attributes:
        of: The batch.
        rows: What waits for the rows of each site, and hands them out.
        cells: Rows an example before pooling, with those of padding.
    """

    of: _Coming
    rows: list[Callable[[], np.ndarray]]
    cells: int


class Reader:
    """Reads chunks with a model: batches of like length inside a chunk, rows in example order.

    Args:
        model: The model, under the edits that the request names.
        request: What is captured.
        batch_size: Examples of a batch. With the cut into chunks it decides how numbers are rounded.
        tell: Called after each batch with its examples, rows and tokens.
    """

    def __init__(self, model: Model, request: Request, batch_size: int, tell: Tell | None = None) -> None:
        self.model, self.request, self.batch_size = model, request, batch_size
        self.sites = [model.site(site) for site in request.sites]
        self._tell = tell

    def __call__(self, examples: Piece) -> Chunk:
        """The activations of some examples. `DataError` for one without a token, or a value that the dtype cannot hold."""
        (chunk,) = self.here([examples])
        return chunk

    def here(self, pieces: Iterable[Piece]) -> Generator[Chunk, None, None]:
        """The activations of one piece after another. A thread makes the next batches while the model runs; it ends with this."""
        with ThreadPoolExecutor(1, "capture-read") as pool:
            parts: _Parts | None = None
            for passed in self._passes(_ahead(self._batches(pieces), pool)):
                parts = parts or _Parts(self, passed.of.examples.ids)
                parts.add(passed, self._tell)
                if parts.whole:
                    yield parts.joined()
                    parts = None

    def _passes(self, batches: Iterator[_Coming]) -> Iterator[_Passed]:
        """What the model gives for each batch. When one is handed out, a GPU has begun the next, and is not kept waiting."""
        last: _Passed | None = None
        try:
            for coming in batches:
                seen = self.model.activations(coming.there, self.sites)
                rows = [packing(self._pooled(seen[site], coming), self.request.dtype, str(site)) for site in self.sites]
                before, last = last, _Passed(coming, rows, int(seen[self.sites[0]].shape[1]))
                if before is not None:
                    yield before
        except Exception:
            # What came before it may be the end of a chunk, which is kept.
            if last is not None:
                yield last
            raise
        if last is not None:
            yield last

    def _pooled(self, hidden: Tensor, coming: _Coming) -> Tensor:
        keep = coming.there.keep
        if self.model.modality == "image":
            keep = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        return pooled(hidden, keep, self.request.pool, coming.kept)

    def elsewhere(self) -> Callable[[], Callable[[Piece], Chunk]]:
        """What makes such a reader in another process, with the model loaded anew by its name."""
        if "spec" not in self.model.source:
            raise ConfigError(
                f"The model '{self.model.name}' was built in Python, and a worker can only load one by its name: use the engine"
                " local, or save the model as a Hugging Face folder and load it from there."
            )
        return partial(_loaded, dict(self.model.source), self.request, self.batch_size)

    def batch(self, examples: Piece) -> Batch:
        """The examples as the model takes them, in main memory. `EmptyInputError` names the example that has no token."""
        try:
            return self.model.batch(examples.inputs, "cpu")
        except EmptyInputError as error:
            raise EmptyInputError(int(examples.ids[error.row])) from None

    def _batches(self, pieces: Iterable[Piece]) -> Iterator[_Coming]:
        for examples in pieces:
            places, whole = np.arange(len(examples.ids)), None
            if self.model.modality == "text":
                whole = self.batch(examples)
                places = np.argsort(whole.attention.sum(1).numpy(), kind="stable")
            for start in range(0, len(places), self.batch_size):
                part = places[start : start + self.batch_size]
                if whole is None:
                    batch = self.batch(Piece(examples.ids[part], [examples.inputs[i] for i in part]))
                    yield _Coming(examples, part, batch, batch.to(self.model.device))
                    continue
                batch = whole.select(part)
                kept = sent(batch.keep.flatten().nonzero()[:, 0], self.model.device)
                yield _Coming(examples, part, batch, batch.to(self.model.device), kept)


def _loaded(source: dict[str, Any], request: Request, batch_size: int) -> Callable[[Piece], Chunk]:
    from workbench.models import load_model

    options = dict(source)
    model = load_model(options.pop("spec"), **options)
    if (model.weights_hash, model.input_options()) != (request.weights_hash, request.inputs):
        raise ConfigError(
            f"The model '{request.model}' is another one where a worker loaded it: put the same files on every machine, or use"
            " the engine local."
        )
    reader, edits = Reader(model, request, batch_size), [Edit.from_dict(edit) for edit in request.edits]

    def read(examples: Piece) -> Chunk:
        with model.edited(*edits):
            return reader(examples)

    return read


def _ahead(items: Iterator[Item], pool: ThreadPoolExecutor, depth: int = 2) -> Iterator[Item]:
    """The same items; the pool's one thread makes the next of them while one is used."""
    coming = deque(pool.submit(next, items, None) for _ in range(depth))
    while (item := coming.popleft().result()) is not None:
        coming.append(pool.submit(next, items, None))
        yield item


class _Parts:
    """The rows of one chunk, collected batch by batch and joined in example order."""

    def __init__(self, reader: Reader, ids: np.ndarray) -> None:
        self._reader, self._ids = reader, ids
        self._rows: list[list[np.ndarray]] = [[] for _ in reader.sites]
        self._index: list[dict[str, np.ndarray]] = []
        self._examples = self._tokens = 0

    def add(self, passed: _Passed, tell: Tell | None) -> None:
        """What the model gave for a batch of the chunk."""
        for number, rows in enumerate(passed.rows):
            self._rows[number].append(rows())
        count, examples = len(self._rows[0][-1]), len(passed.of.places)
        self._examples += examples
        self._index.append(self._columns(passed.of.places, passed.of.batch, count))
        text = self._reader.model.modality == "text"
        tokens = int(passed.of.batch.keep.sum()) if text else examples * passed.cells
        self._tokens += tokens
        if tell is not None:
            tell(examples, count, tokens)

    @property
    def whole(self) -> bool:
        """Whether every example is there."""
        return self._examples == len(self._ids)

    def joined(self) -> Chunk:
        """The rows of each site, and the index, in example order."""
        # Stable: the positions of an example are in order already.
        order = np.argsort(np.concatenate([part["example"] for part in self._index]), kind="stable")
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        index = {name: _placed([part[name] for part in self._index], places) for name in self._index[0]}
        return Chunk([_placed(parts, places) for parts in self._rows], index, self._tokens)

    def _columns(self, places: np.ndarray, batch: Batch, count: int) -> dict[str, np.ndarray]:
        examples = self._ids[places]
        if self._reader.request.pool not in {"token", "spatial"}:
            blank = np.zeros(count, np.int32)
            tokens = np.full(count, "", object)
            return {"example": examples, "position": blank - 1, "token": tokens, "start": blank, "end": blank}
        if self._reader.model.modality == "image":
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
        which, position = np.nonzero(batch.keep.numpy())
        spans = batch.spans[which, position]
        return {
            "example": examples[which],
            "position": position,
            "token": batch.pieces[which, position],
            "start": spans[:, 0],
            "end": spans[:, 1],
        }


def _placed(parts: list[np.ndarray], places: np.ndarray) -> np.ndarray:
    """Parts joined, each row of them at its place."""
    joined = np.empty((len(places), *parts[0].shape[1:]), parts[0].dtype)
    first = 0
    for part in parts:
        joined[places[first : first + len(part)]] = part
        first += len(part)
    return joined


def pooled(hidden: Tensor, keep: Tensor, pool: str, kept: Tensor | None = None) -> Tensor:
    """Rows ``[b, t, d]`` where ``keep`` is true, or one an example: their mean, maximum or last.

    ``kept`` are the numbers of those rows among all ``b * t``, where they are known: a GPU need not be asked for them.
    """
    if pool in {"token", "spatial"}:
        # Three times as fast as by the mask.
        numbers = keep.flatten().nonzero()[:, 0] if kept is None else kept
        return hidden.flatten(0, 1).index_select(0, numbers.to(hidden.device))
    keep = keep.to(hidden.device)
    if pool == "mean":
        weight = keep.to(hidden)[..., None]
        return (hidden * weight).sum(1) / weight.sum(1)
    if pool == "max":
        return hidden.masked_fill(~keep[..., None], -torch.inf).max(1).values
    places = torch.arange(keep.shape[1], device=keep.device)
    return hidden[torch.arange(len(hidden), device=hidden.device), torch.where(keep, places, -1).max(1).values]
