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
    """What a model gives for some examples, batch by batch.

    Attributes:
        parts: Of each site, the rows ``[n, d]`` of each batch as they lie on disk.
        index: Of each batch, the columns of ``n``: example, position, token, start, end.
        tokens: How many tokens, or places of images, the model read.
    """

    parts: list[list[np.ndarray]]
    index: list[dict[str, np.ndarray]]
    tokens: int

    @property
    def n_rows(self) -> int:
        """How many rows each site has."""
        return sum(map(len, self.parts[0]))

    def joined(self) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        """The rows of each site, and the index, in the order of the examples. It copies every row."""
        # Stable: the positions of an example are in order already.
        order = np.argsort(np.concatenate([part["example"] for part in self.index]), kind="stable")
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        index = {name: _placed([part[name] for part in self.index], places) for name in self.index[0]}
        return [_placed(parts, places) for parts in self.parts], index


@dataclass(frozen=True)
class _Coming:
    """A batch to be read.

    Attributes:
        examples: The piece that it is of.
        count: How many examples of it.
        batch: On the model's device.
        index: What its rows are; see `Chunk`.
        tokens: How many of texts are kept; None for images.
        kept: Numbers of the rows that are kept among all of its texts, on the model's device; None for images.
    """

    examples: Piece
    count: int
    batch: Batch
    index: dict[str, np.ndarray]
    tokens: int | None = None
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
                    yield parts.chunk()
                    parts = None

    def _passes(self, batches: Iterator[_Coming]) -> Iterator[_Passed]:
        """What the model gives for each batch. When one is handed out, a GPU has begun the next, and is not kept waiting."""
        last: _Passed | None = None
        try:
            for coming in batches:
                seen = self.model.activations(coming.batch, self.sites)
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
        keep = coming.batch.keep
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
                    yield _Coming(examples, len(part), batch.to(self.model.device), self._index(examples.ids[part], batch))
                    continue
                batch = whole.select(part)
                index, kept = self._index(examples.ids[part], batch), batch.keep.flatten().nonzero()[:, 0]
                device = self.model.device
                yield _Coming(examples, len(part), batch.to(device), index, len(kept), sent(kept, device))

    def _index(self, examples: np.ndarray, batch: Batch) -> dict[str, np.ndarray]:
        """What the rows of a batch of these examples are; see `Chunk`."""
        if self.model.modality == "text" and self.request.pool == "token":
            which, position = np.nonzero(batch.keep.numpy())
            spans = batch.spans[which, position]
            tokens = batch.pieces[which, position]
            return {"example": examples[which], "position": position, "token": tokens, "start": spans[:, 0], "end": spans[:, 1]}
        cells = int(np.prod(self.model.grid(self.sites[0]))) if self.request.pool == "spatial" else 1
        count = cells * len(examples)
        position = np.tile(np.arange(cells), len(examples)) if self.request.pool == "spatial" else np.full(count, -1)
        tokens, blank = np.full(count, "", object), np.zeros(count, np.int32)
        return {"example": np.repeat(examples, cells), "position": position, "token": tokens, "start": blank, "end": blank}


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


def _ahead(items: Iterator[Item], pool: ThreadPoolExecutor, depth: int = 4) -> Iterator[Item]:
    """The same items; the pool's one thread makes the next of them while one is used."""
    coming = deque(pool.submit(next, items, None) for _ in range(depth))
    while (item := coming.popleft().result()) is not None:
        coming.append(pool.submit(next, items, None))
        yield item


class _Parts:
    """The rows of one chunk, collected batch by batch."""

    def __init__(self, reader: Reader, ids: np.ndarray) -> None:
        self._wanted = len(ids)
        self._rows: list[list[np.ndarray]] = [[] for _ in reader.sites]
        self._index: list[dict[str, np.ndarray]] = []
        self._examples = self._tokens = 0

    def add(self, passed: _Passed, tell: Tell | None) -> None:
        """What the model gave for a batch of the chunk."""
        for number, rows in enumerate(passed.rows):
            self._rows[number].append(rows())
        count, examples = len(self._rows[0][-1]), passed.of.count
        tokens = examples * passed.cells if passed.of.tokens is None else passed.of.tokens
        self._index.append(passed.of.index)
        self._examples += examples
        self._tokens += tokens
        if tell is not None:
            tell(examples, count, tokens)

    @property
    def whole(self) -> bool:
        """Whether every example is there."""
        return self._examples == self._wanted

    def chunk(self) -> Chunk:
        """All of them."""
        return Chunk(self._rows, self._index, self._tokens)


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
