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

from workbench.activations.dtypes import packed
from workbench.activations.manifest import Request
from workbench.edits import Edit
from workbench.errors import ConfigError
from workbench.models.base import Batch, EmptyInputError, Model
from workbench.models.sites import Site

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
            for examples, places, batch, there in _ahead(self._batches(pieces), pool):
                parts = parts or _Parts(self, examples.ids)
                parts.add(places, batch, self.model.activations(there, self.sites), self._tell)
                if parts.whole:
                    yield parts.joined()
                    parts = None

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

    def _batches(self, pieces: Iterable[Piece]) -> Iterator[tuple[Piece, np.ndarray, Batch, Batch]]:
        """A piece, the places in it of the examples of a batch, the batch, and the same on the model's device."""
        for examples in pieces:
            places, whole = np.arange(len(examples.ids)), None
            if self.model.modality == "text":
                whole = self.batch(examples)
                places = np.argsort(whole.attention.sum(1).numpy(), kind="stable")
            for start in range(0, len(places), self.batch_size):
                part = places[start : start + self.batch_size]
                if whole is not None:
                    batch = whole.select(part)
                else:
                    batch = self.batch(Piece(examples.ids[part], [examples.inputs[i] for i in part]))
                yield examples, part, batch, batch.to(self.model.device)


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

    def add(self, places: np.ndarray, batch: Batch, seen: dict[Site, Tensor], tell: Tell | None) -> None:
        """The activations of the examples at these places of the chunk."""
        for number, site in enumerate(self._reader.sites):
            rows = self._flat(seen[site], batch.keep)
            self._rows[number].append(packed(rows, self._reader.request.dtype, str(site)))
        count = len(self._rows[0][-1])
        self._examples += len(places)
        self._index.append(self._columns(places, batch, count))
        if self._reader.model.modality == "text":
            tokens = int(batch.keep.sum())
        else:
            tokens = len(places) * int(seen[self._reader.sites[0]].shape[1])
        self._tokens += tokens
        if tell is not None:
            tell(len(places), count, tokens)

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

    def _flat(self, hidden: Tensor, keep: Tensor) -> Tensor:
        if self._reader.model.modality == "image":
            keep = torch.ones(hidden.shape[:2], dtype=torch.bool)
        return pooled(hidden, keep, self._reader.request.pool)

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


def pooled(hidden: Tensor, keep: Tensor, pool: str) -> Tensor:
    """Rows ``[b, t, d]`` where ``keep`` is true, or one an example: their mean, maximum or last."""
    if pool in {"token", "spatial"}:
        # Three times as fast as by the mask, and a GPU need not be asked how many there are.
        return hidden.flatten(0, 1).index_select(0, keep.flatten().nonzero()[:, 0].to(hidden.device))
    keep = keep.to(hidden.device)
    if pool == "mean":
        weight = keep.to(hidden)[..., None]
        return (hidden * weight).sum(1) / weight.sum(1)
    if pool == "max":
        return hidden.masked_fill(~keep[..., None], -torch.inf).max(1).values
    places = torch.arange(keep.shape[1], device=keep.device)
    return hidden[torch.arange(len(hidden), device=hidden.device), torch.where(keep, places, -1).max(1).values]
