"""Run a model over a data set once, and keep the activations of some sites."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import numpy as np

from workbench.activations.chunks import Chunk, Piece, Reader
from workbench.activations.disk_space import check_limit, check_space
from workbench.activations.drawing import Drawn, draw, warn_of_short_values
from workbench.activations.dtypes import DTYPES, Dtype, warn_near_overflow
from workbench.activations.manifest import Pool, Request, known_request
from workbench.activations.source import Examples
from workbench.activations.store import ActivationSet
from workbench.activations.writer import Writer, claimed, finish_sealed, whole, writing
from workbench.conversations import DEFAULT_POSITIONS, Conversation, check_positions
from workbench.edits import NO_EDITS, Edit, Edits
from workbench.engines import Engine, find_engine
from workbench.errors import ConfigError, WorkbenchWarning, disk_errors
from workbench.memory import parse_size
from workbench.models.base import Model
from workbench.models.batch import InputError
from workbench.models.work import reading_work
from workbench.paths import child
from workbench.sites import Site

Progress = Callable[[int, int, dict[str, Any]], None]

# Bytes of the rows of a chunk: for texts of average length, and if all texts have the longest length that the model reads.
_CHUNK_BYTES, _CHUNK_BYTES_AT_MOST = 256 * 2**20, 2**30
# Examples of a chunk, for batches of 32; proportionately more for larger batches. A capture that is killed loses at most one
# chunk. Small chunks are slower, because they hold fewer texts of similar length to batch together.
_CHUNK_EXAMPLES = 256
_USUAL_BATCH = 32
# Tokens of the batch that is checked before the capture.
_LONGEST_LOOKED_AT, _OTHERS_LOOKED_AT = 8, 24
# Bytes of one row of the index, which exists twice at the end.
_INDEX_BYTES = 24


def capture(
    model: Model,
    dataset: Examples,
    *,
    sites: str | Site | Sequence[str | Site],
    folder: str | Path,
    pool: str = "token",
    positions: str = DEFAULT_POSITIONS,
    store_dtype: str = "float16",
    batch_size: int = _USUAL_BATCH,
    limit: int | None = None,
    seed: int | None = 0,
    sample_by: str | None = None,
    max_disk: int | str | None = None,
    engine: str | Engine = "local",
    under: Edit | Edits = NO_EDITS,
    progress: Progress | None = None,
    fetch: Callable[[Path], None] | None = None,
) -> ActivationSet:
    """The activations of ``sites`` (names or globs) for a data set, in one pass.

    ``limit`` captures so many examples, drawn by ``seed``; ``sample_by``, a column, draws as many of each of its values. With
    ``seed=None`` they are the first ones.

    ``pool``: ``token`` (or ``spatial``, for images) keeps a row a position, ``mean``, ``max`` and ``last`` one an example.
    ``positions`` says which tokens have rows or are pooled: ``content``, what texts and messages say, or, of conversations, a
    role, ``last_instruction``, ``template`` or ``all`` (see `workbench.conversations.POSITIONS`). A whole set in ``folder`` of
    the same model, options and examples is opened instead of captured again, whatever labels, groups and splits the data set
    has by now.
    What is cut short, even killed, goes on from its last whole chunk when the same capture is asked for again,
    and ends with the same bytes; with another ``batch_size``, which decides how numbers are rounded, it starts
    over. Texts of like length are read together, in batches of as many tokens as ``batch_size`` of them have on average.
    ``progress(done, total, info)`` counts examples; ``info`` has the ``rows``, the ``bytes`` that are on the
    disk, the ``tokens`` (or places, of images) and ``seconds`` of this call, and ``work`` out of ``whole_work``, by which the
    time left is told: texts are read by length and not in their order.

    ``store_dtype`` is how numbers lie on disk: ``float16``, ``float32`` or ``bfloat16``. A first batch is looked at before the
    capture, and a warning says where values come near the largest that float16 holds. ``max_disk`` (bytes, or a text
    such as ``2GB``) is the most that the set may take. ``engine`` is who runs the model: ``local``, this process, or
    ``ray``, workers that each load it (see `workbench.engines.cluster.Ray`); the bytes are the same. ``under`` are edits that
    the model runs under, after those of the contexts around; a set under edits is another set than one without. ``fetch(folder)``
    may fetch a set that is not there, from where it was captured before.

    Raises `ConfigError` for an option, `DataError` for an example without a token or a value that the dtype
    cannot hold, `DiskFullError` when the room or ``max_disk`` does not suffice, before the model runs,
    `StudyError` when another process captures the same set.
    """
    runs = find_engine(engine)
    places = capturable(model, sites)
    check_positions(positions)
    rows = _checked(model, dataset, places, pool, store_dtype, batch_size)
    most = None if max_disk is None else parse_size(max_disk)
    drawn = draw(dataset, limit, seed, sample_by)
    if limit is not None and sample_by is not None:
        warn_of_short_values(dataset, limit, sample_by)
    with model.edited(under):
        request = _request(model, dataset, places, drawn, rows, store_dtype, positions)
        request = known_request(Path(folder), request, dataset)
        home = child(Path(folder), request.id)
        if not whole(home) and fetch is not None:
            fetch(home)
        if not whole(home):
            with disk_errors("activations"), claimed(home):
                # Another process may have finished it in the meantime.
                if not whole(home) and not finish_sealed(home):
                    _Capture(model, dataset, places, request, drawn, batch_size, most).into(home, runs, progress)
    acts = ActivationSet.open(home)
    if cut := acts.manifest.cut():
        warnings.warn(cut, WorkbenchWarning, stacklevel=2)
    return acts


def capturable(model: Model, sites: str | Site | Sequence[str | Site]) -> list[Site]:
    """The sites that names and globs mean in a capture, where a glob means neither attention patterns nor logits.

    Raises:
        ConfigError: The rows of a site that is named are of another width in every text.
    """
    named = {str(site) for site in ([sites] if isinstance(sites, str | Site) else sites)}
    found = [site for site in model.match(sites) if site.kind not in {"attn_pattern", "logits"} or str(site) in named]
    varying = [str(site) for site in found if not model.width(site)]
    if varying:
        raise ConfigError(
            f"A row of {varying[0]} has a number for every position of its text, so rows of several texts are no table: read it"
            " in a pass, model.activations(batch, [site]), or capture head_out of the layer."
        )
    if not found:
        raise ConfigError("Only attention patterns or logits have such names: name logits itself to capture them.")
    return found


def _request(
    model: Model, dataset: Examples, sites: list[Site], drawn: Drawn, pool: Pool, store_dtype: str, positions: str
) -> Request:
    """Everything that determines the bytes of a capture."""
    return Request(
        model=model.name,
        model_kind=model.kind,
        weights_hash=model.weights_hash,
        inputs=model.input_options(),
        edits=[edit.record() for edit in model.active_edits],
        dataset=dataset.name,
        dataset_hash=dataset.content_hash,
        limit=None if len(drawn.ids) == len(dataset) else len(drawn.ids),
        sites=tuple(map(str, sites)),
        widths=tuple(map(model.width, sites)),
        pool=pool,
        dtype=cast(Dtype, store_dtype),
        positions=positions,
        chat_template=_chat_template(model, dataset, drawn, positions),
        drawn=drawn.digest,
        model_dtype=None if model.dtype == "float32" else model.dtype,
    )


def _chat_template(model: Model, dataset: Examples, drawn: Drawn, positions: str) -> str | None:
    """The hash of the model's chat template where the examples are conversations. `ConfigError` where there is none."""
    if model.modality == "text" and any(isinstance(text, Conversation) for text in dataset.inputs(drawn.ids.tolist())):
        return model.chat_template_hash()
    if positions not in {DEFAULT_POSITIONS, "all"} or (positions == "all" and model.modality != "text"):
        raise ConfigError(f"The positions '{positions}' are of conversations, and {dataset.name} holds none: use 'content'.")
    return None


def _checked(model: Model, dataset: Examples, sites: list[Site], pool: str, store_dtype: str, batch_size: int) -> Pool:
    if pool not in {"token", "spatial", "mean", "max", "last"}:
        raise ConfigError(f"The pool is token, spatial, mean, max or last, not '{pool}'.")
    if store_dtype not in DTYPES:
        raise ConfigError(f"The store_dtype is {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, not '{store_dtype}'.")
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
    """One pass over the examples, chunk by chunk."""

    def __init__(
        self,
        model: Model,
        dataset: Examples,
        sites: list[Site],
        request: Request,
        drawn: Drawn,
        batch_size: int,
        most: int | None,
    ) -> None:
        self.model, self.dataset, self.sites, self.request = model, dataset, sites, request
        self.drawn, self.n, self.batch_size, self.most = drawn, len(drawn.ids), batch_size, most
        self.cells, longest = self._cells()
        fit = int(min(_CHUNK_BYTES / self.cells, _CHUNK_BYTES_AT_MOST / longest) / request.row_bytes)
        self.cut = np.zeros(2, np.int64)
        self.chunk = min(max(fit, batch_size), _CHUNK_EXAMPLES * max(batch_size // _USUAL_BATCH, 1))

    def _cells(self) -> tuple[float, int]:
        """Rows an example, and the most that one can have. Of texts, from a sample of them."""
        if self.request.pool not in {"token", "spatial"}:
            return 1.0, 1
        if self.model.modality == "image":
            places = int(np.prod(self.model.grid(self.sites[0])))
            return float(places), places
        texts = Reader(self.model, self.request, self.batch_size).coded(self._piece(_spread(self.n)))
        return float(texts.kept.mean()), self.model.max_length

    def estimate(self) -> int:
        """Bytes that the set will take."""
        return int(self.n * self.cells * (self.request.row_bytes + _INDEX_BYTES))

    def into(self, home: Path, engine: Engine, progress: Progress | None) -> None:
        """Write the set into its folder, from the first chunk that is not there yet."""
        # Determines which texts are read together, and so how numbers are rounded. A capture begun with another plan starts over.
        plan = {"chunk": self.chunk, "batch_size": self.batch_size, "batches": "of as many tokens"}
        with writing(home, self.request, plan) as writer:
            check_space(home, self.estimate(), writer.bytes, self.most)
            tally = _Tally(writer, writer.chunks * self.chunk, self.chunk, self._work(np.arange(self.n)), progress)
            tally.report()
            if not writer.chunks:
                self.look()
            self.write(writer, engine, tally)
            grid = self.model.grid(self.sites[0]) if self.request.pool == "spatial" else None
            cut = {"cut_texts": int(self.cut[0]), "lost_tokens": int(self.cut[1])}
            source, labels = dict(self.dataset.source), self.dataset.hash
            writer.finish(self.model.describe(), source, self.n, grid, labels, sample=self.drawn.rule, **cut)

    def look(self) -> None:
        """Read one batch, of the longest inputs and some of the others, and warn of values that come near float16's largest.

        Raises:
            DataError: A value does not fit the type in which it would be stored.
        """
        if self.request.dtype != "float16":
            return
        work = np.array(self._work(np.arange(self.n)))
        numbers = np.union1d(np.argsort(-work, kind="stable")[:_LONGEST_LOOKED_AT], _spread(self.n, _OTHERS_LOOKED_AT))
        piece = self._piece(numbers)
        try:
            warn_near_overflow(self.model, piece.inputs, self.sites, self.request.positions)
        except InputError as error:
            raise error.at(int(piece.ids[error.row])) from None

    def _work(self, numbers: np.ndarray) -> list[int]:
        """About how much work it is to read each of the examples."""
        column = self.dataset.table[self.model.modality]
        return reading_work(self.model, column.iloc[self.drawn.ids[numbers]].tolist())

    def write(self, writer: Writer, engine: Engine, tally: _Tally) -> None:
        """Every chunk that the writer does not have yet, in order.

        While the model runs, a thread puts the last chunk in order and on the disk; however this ends, that ends with it.
        """
        starts = range(writer.chunks * self.chunk, self.n, self.chunk)
        tally.since = time.monotonic()
        reader = Reader(self.model, self.request, self.batch_size, tally.add)
        if self.model.modality == "text":
            # Texts captured by an earlier call are tokenised again, to count the tokens that were cut.
            for start in range(0, starts.start, self.chunk):
                self.cut += reader.coded(self._piece(np.arange(start, min(start + self.chunk, self.n)))).cut
        pieces = (self._piece(np.arange(start, min(start + self.chunk, self.n))) for start in starts)
        with ThreadPoolExecutor(1, "capture-write") as appending, closing(engine.map(reader, pieces)) as chunks:
            written: Future[None] | None = None
            for start, chunk in zip(starts, chunks, strict=True):
                # Batches read in another process were not reported here.
                if (untold := min(start + self.chunk, self.n) - tally.done) > 0:
                    tally.add(np.arange(untold), chunk.n_rows, chunk.tokens)
                if written is not None:
                    written.result()
                self.cut += chunk.cut
                tally.bytes = writer.bytes
                check_limit(writer.bytes + chunk.n_rows * (self.request.row_bytes + _INDEX_BYTES), self.most)
                written = appending.submit(_append, writer, chunk)
            if written is not None:
                written.result()

    def _piece(self, numbers: np.ndarray) -> Piece:
        ids = self.drawn.ids[numbers]
        return Piece(ids, self.dataset.inputs(ids.tolist()))


def _spread(count: int, most: int = 64) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, most).astype(int))


def _append(writer: Writer, chunk: Chunk) -> None:
    writer.append(*chunk.joined())


class _Tally:
    """How far a capture is, for its progress callback."""

    def __init__(self, writer: Writer, done: int, chunk: int, work: list[int], progress: Progress | None) -> None:
        self.done, self._chunk, self._work, self._progress = done, chunk, work, progress
        self.bytes = writer.bytes
        self._rows, self._tokens, self.since = sum(writer.shards), 0, time.monotonic()
        self._did, self._whole = sum(work[:done]), sum(work)

    def add(self, examples: np.ndarray, rows: int, tokens: int) -> None:
        """Count examples as read, by their numbers in the current chunk."""
        first = self.done // self._chunk * self._chunk
        self._did += sum(self._work[first + number] for number in examples.tolist())
        self.done, self._rows, self._tokens = self.done + len(examples), self._rows + rows, self._tokens + tokens
        self.report()

    def report(self) -> None:
        """Call the progress callback."""
        if self._progress is not None:
            facts = {"rows": self._rows, "bytes": self.bytes, "tokens": self._tokens}
            facts |= {"work": self._did, "whole_work": self._whole}
            self._progress(self.done, len(self._work), facts | {"seconds": time.monotonic() - self.since})
