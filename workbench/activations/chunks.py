"""Chunks of examples read by a model: bit-identical rows in whichever process they are computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from workbench.activations.dtypes import packing
from workbench.activations.labels import ranges
from workbench.activations.manifest import Request
from workbench.edits import Edit
from workbench.errors import ConfigError
from workbench.models.base import Model
from workbench.models.batch import Batch, InputError, sent
from workbench.models.coded import Coded

Tell = Callable[[np.ndarray, int, int], None]
Columns = dict[str, np.ndarray]
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
        order: The numbers of the examples among those of the chunk, as they were read.
        counts: How many rows each example has.
        index: Gives the columns of all rows, in the order of the examples: example, position, token, start, end.
        tokens: How many tokens, or places of images, the model read.
        cut: How many texts were cut at the longest that the model reads, and how many tokens they lost.
    """

    parts: list[list[np.ndarray]]
    order: Int[np.ndarray, "e"]
    counts: Int[np.ndarray, "e"]
    index: Callable[[], Columns]
    tokens: int
    cut: tuple[int, int] = (0, 0)

    @property
    def n_rows(self) -> int:
        """How many rows each site has."""
        return int(self.counts.sum())

    def joined(self) -> tuple[list[np.ndarray], Columns]:
        """The rows of each site, and the index, in the order of the examples. It copies every row."""
        counts = self.counts[self.order]
        firsts = (np.cumsum(self.counts) - self.counts)[self.order]
        places = ranges(firsts, counts)
        return [_placed(parts, places) for parts in self.parts], self.index()


@dataclass(frozen=True)
class _Plan:
    """The layout of a chunk, before its rows are computed.

    Attributes:
        counts: How many rows each example has.
        index, cut: See `Chunk`.
    """

    counts: Int[np.ndarray, "e"]
    index: Callable[[], Columns]
    cut: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class _Coming:
    """A batch that is waiting to be read.

    Attributes:
        plan: The plan of its chunk.
        part: The numbers of its examples in that chunk.
        batch: On the model's device.
        kept: Numbers of the rows that are kept among all of its texts, on the model's device; None for images.
    """

    plan: _Plan
    part: Int[np.ndarray, "b"]
    batch: Batch
    kept: Tensor | None = None


@dataclass(frozen=True)
class _Passed:
    """The model's results for a batch.

    Attributes:
        of: The batch.
        rows: A function that waits for the rows of each site and returns them.
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
        batch_size: Examples of a batch; see `of_like_length`. With the cut into chunks it decides how numbers are rounded.
        tell: Called after each batch with the numbers of its examples in their piece, how many rows and how many tokens.
    """

    def __init__(self, model: Model, request: Request, batch_size: int, tell: Tell | None = None) -> None:
        self.model, self.request, self.batch_size = model, request, batch_size
        self.sites = [model.site(site) for site in request.sites]
        self._tell = tell

    def __call__(self, examples: Piece) -> Chunk:
        """The activations of some examples. `DataError` for one without a token, or a value that the dtype cannot hold."""
        (chunk,) = self.here([examples])
        # Checked in the process that reads the texts, not in a worker.
        return replace(chunk, index=partial(dict, chunk.index()))

    def here(self, pieces: Iterable[Piece]) -> Generator[Chunk, None, None]:
        """The activations of one piece after another. A thread makes the next batches while the model runs; it ends with this."""
        with ThreadPoolExecutor(1, "capture-read") as pool:
            parts: _Parts | None = None
            for passed in self._passes(_ahead(self._batches(pieces), pool)):
                parts = parts or _Parts(passed.of.plan, len(self.sites))
                parts.add(passed, self._tell)
                if parts.whole:
                    yield parts.chunk()
                    parts = None

    def _passes(self, batches: Iterator[_Coming]) -> Iterator[_Passed]:
        """The model's results for each batch. When one is returned, the GPU has already begun the next."""
        last: _Passed | None = None
        try:
            for coming in batches:
                seen = self.model.activations(coming.batch, self.sites)
                rows = [packing(self._pooled(seen[site], coming), self.request.dtype, str(site)) for site in self.sites]
                before, last = last, _Passed(coming, rows, int(seen[self.sites[0]].shape[1]))
                if before is not None:
                    yield before
        except Exception:
            # The batches before it may complete a chunk, which is kept.
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
        """A function that builds the same reader in another process, where the model is loaded by its name."""
        if "spec" not in self.model.source:
            raise ConfigError(
                f"The model '{self.model.name}' was built in Python, and a worker can only load one by its name: use the engine"
                " local, or save the model as a Hugging Face folder and load it from there."
            )
        # A worker does not see the study that has them, so they travel whole.
        edits = [edit.to_dict() for edit in self.model.active_edits]
        return partial(_loaded, dict(self.model.source), self.request, self.batch_size, edits)

    def coded(self, examples: Piece) -> Coded:
        """Texts as tokens. `InputError` names the example that cannot be read."""
        try:
            return self.model.coded(examples.inputs, self.request.positions)
        except InputError as error:
            raise error.at(int(examples.ids[error.row])) from None

    def _batches(self, pieces: Iterable[Piece]) -> Iterator[_Coming]:
        make = self._of_texts if self.model.modality == "text" else self._of_images
        for examples in pieces:
            yield from make(examples)

    def _of_texts(self, examples: Piece) -> Iterator[_Coming]:
        texts, device = self.coded(examples), self.model.device
        plan = _pooled_examples(examples.ids)
        if self.request.pool == "token":
            plan = _Plan(texts.kept, partial(_at_tokens, examples.ids, texts, self.request.chat_template is not None))
        plan = replace(plan, cut=texts.cut)
        for part in of_like_length(texts.lengths, self.batch_size):
            batch = texts.select(part)
            yield _Coming(plan, part, batch.to(device), sent(batch.keep.flatten().nonzero()[:, 0], device))

    def _of_images(self, examples: Piece) -> Iterator[_Coming]:
        plan, count = _pooled_examples(examples.ids), len(examples.ids)
        if self.request.pool == "spatial":
            cells = int(np.prod(self.model.grid(self.sites[0])))
            plan = _Plan(np.full(count, cells), partial(_at_places, examples.ids, cells))
        for start in range(0, count, self.batch_size):
            part = np.arange(start, min(start + self.batch_size, count))
            batch = self.model.batch(examples.inputs[start : start + self.batch_size], "cpu")
            yield _Coming(plan, part, batch.to(self.model.device))


def _pooled_examples(ids: np.ndarray) -> _Plan:
    return _Plan(np.ones(len(ids), np.int64), partial(_unmarked, ids, np.full(len(ids), -1)))


def _at_tokens(ids: np.ndarray, texts: Coded, roles: bool) -> Columns:
    marks = texts.marks()
    starts, ends = marks.spans.T
    columns = {
        "example": np.repeat(ids, texts.kept), "position": marks.position, "token": marks.pieces, "start": starts, "end": ends,
    }  # fmt: skip
    return columns | ({"role": marks.roles()} if roles else {})


def _at_places(ids: np.ndarray, cells: int) -> Columns:
    return _unmarked(np.repeat(ids, cells), np.tile(np.arange(cells), len(ids)))


def _unmarked(ids: np.ndarray, position: np.ndarray) -> Columns:
    blank = np.zeros(len(ids), np.int32)
    return {"example": ids, "position": position, "token": np.full(len(ids), "", object), "start": blank, "end": blank}


def of_like_length(lengths: Int[np.ndarray, "n"], batch_size: int) -> Iterator[Int[np.ndarray, "b"]]:
    """Numbers of texts, batch by batch, the longest first, so that running out of memory shows at once.

    A batch has, with its padding, no more tokens than ``batch_size`` texts of mean length, or it is a single text. So a pass has
    about as much to do for long texts as for short ones, and less of it is padding than in batches of as many texts each.
    """
    order, most = np.argsort(-lengths, kind="stable"), batch_size * lengths.mean()
    start = 0
    while start < len(order):
        count = max(int(most // lengths[order[start]]), 1)
        yield order[start : start + count]
        start += count


def _loaded(
    source: dict[str, Any], request: Request, batch_size: int, described: list[dict[str, Any]]
) -> Callable[[Piece], Chunk]:
    from workbench.models import load_model

    options = dict(source)
    model = load_model(options.pop("spec"), **options)
    if request.chat_template is not None and model.chat_template_hash() != request.chat_template:
        raise ConfigError(
            f"The chat template of '{request.model}' is another one where a worker loaded it: put the same files there."
        )
    if (model.weights_hash, model.input_options()) != (request.weights_hash, request.inputs):
        raise ConfigError(
            f"The model '{request.model}' is another one where a worker loaded it: put the same files on every machine, or use"
            " the engine local."
        )
    reader, edits = Reader(model, request, batch_size), [Edit.from_dict(edit) for edit in described]

    def read(examples: Piece) -> Chunk:
        with model.edited(*edits):
            return reader(examples)

    return read


def _ahead(items: Iterator[Item], pool: ThreadPoolExecutor, depth: int = 4) -> Iterator[Item]:
    """The same items, prefetched: the thread of the pool computes the next while one is used."""
    coming = deque(pool.submit(next, items, None) for _ in range(depth))
    while (item := coming.popleft().result()) is not None:
        coming.append(pool.submit(next, items, None))
        yield item


class _Parts:
    """The rows of one chunk, collected batch by batch."""

    def __init__(self, plan: _Plan, sites: int) -> None:
        self._plan = plan
        self._rows: list[list[np.ndarray]] = [[] for _ in range(sites)]
        self._order: list[np.ndarray] = []
        self._examples = self._tokens = 0

    def add(self, passed: _Passed, tell: Tell | None) -> None:
        """What the model gave for a batch of the chunk."""
        for number, rows in enumerate(passed.rows):
            self._rows[number].append(rows())
        part, kept = passed.of.part, passed.of.kept
        tokens = len(part) * passed.cells if kept is None else len(kept)
        self._order.append(part)
        self._examples += len(part)
        self._tokens += tokens
        if tell is not None:
            tell(part, len(self._rows[0][-1]), tokens)

    @property
    def whole(self) -> bool:
        """Whether every example is there."""
        return self._examples == len(self._plan.counts)

    def chunk(self) -> Chunk:
        """All of them."""
        return Chunk(self._rows, np.concatenate(self._order), self._plan.counts, self._plan.index, self._tokens, self._plan.cut)


def _placed(parts: list[np.ndarray], places: np.ndarray) -> np.ndarray:
    """The parts concatenated and reordered."""
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
