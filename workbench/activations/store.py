"""A set of activations on disk, read by memory map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from workbench.activations.batches import Batches, shuffled
from workbench.activations.checksums import require_sound
from workbench.activations.dtypes import as_tensor, disk_dtype, unpacked
from workbench.activations.manifest import INDEX, Manifest, edit_text, left_out, read_manifest, shard_name
from workbench.errors import ConfigError, LeftOutError, StudyError, UnknownNameError
from workbench.parquet import read_parquet
from workbench.paths import child, is_id
from workbench.seeds import check_seed
from workbench.sites import Site

if TYPE_CHECKING:
    import torch

    from workbench.activations.source import Examples


# Bytes of a page of memory, or a part of one where pages are larger.
_PAGE = 4096


class ActivationSet:
    """Rows of one or several sites, in example order. Made by `capture`, opened by
    ``ActivationSet.open(folder)``."""

    def __init__(self, folder: Path, manifest: Manifest, sites: list[Site], fetch: Callable[[Path], None] | None = None) -> None:
        self.folder = folder
        self.manifest = manifest
        self.sites = sites
        self.fetch = fetch
        self._starts = np.concatenate([[0], np.cumsum(manifest.shards)]).astype(np.int64)
        self._maps: dict[Site, list[np.memmap]] = {}

    @classmethod
    def open(cls, folder: str | Path, fetch: Callable[[Path], None] | None = None) -> ActivationSet:
        """A set on disk. `StudyError` when it is missing, damaged or cut short. ``fetch(folder)`` may fetch rows that
        are somewhere else, when they are first read."""
        path = Path(folder)
        manifest = read_manifest(path)
        if is_id("activations", path.name) and manifest.request.id != path.name:
            raise StudyError(
                f"{path} holds the set {manifest.request.id}: `workbench study repair` drops it, or rename the folder."
            )
        return cls(path, manifest, [Site.parse(site) for site in manifest.request.sites], fetch)

    @property
    def id(self) -> str:
        """The name of the set's folder: the hash of what was asked for."""
        return self.manifest.request.id

    @property
    def pool(self) -> str:
        """``token`` or ``spatial``: a row a position; ``mean``, ``max`` or ``last``: a row an example."""
        return self.manifest.request.pool

    @property
    def positions(self) -> str:
        """Which tokens have rows; see `workbench.conversations.POSITIONS`."""
        return self.manifest.request.positions

    @property
    def edits(self) -> list[dict[str, Any]]:
        """The edits that the model ran under, as they are recorded; ``study.edits_of(acts)`` gives the edits."""
        return self.manifest.request.edits

    @property
    def under(self) -> str:
        """The edits that the model ran under, in words; empty where there were none."""
        return ", ".join(map(edit_text, self.edits))

    @property
    def n_rows(self) -> int:
        """Rows of each site."""
        return self.manifest.n_rows

    @property
    def n_examples(self) -> int:
        """How many examples of the data set were captured."""
        return self.manifest.n_examples

    @property
    def left_out(self) -> bool:
        """Whether only the manifest is here, as in a study that was packed; ``study.recapture()`` makes the rows again."""
        return left_out(self.folder)

    @cached_property
    def index(self) -> pd.DataFrame:
        """One line a row: example, position, token, start, end. A pooled row has position -1 and no token."""
        self.require_rows()
        require_sound(self.folder / INDEX, self.manifest)
        try:
            table = read_parquet(self.folder / INDEX)
        except Exception as error:
            raise StudyError(f"The row index of {self.folder} is damaged: capture again.") from error
        if len(table) != self.n_rows:
            raise StudyError(f"The row index of {self.folder} has not {self.n_rows} rows: capture again.")
        return table

    def at(self, site: str | Site) -> ActivationSet:
        """A view with one site; nothing is copied."""
        return ActivationSet(self.folder, self.manifest, [self._site(site)], self.fetch)

    def select(self, sites: Sequence[str | Site]) -> ActivationSet:
        """A view with some of the sites, in the order given; nothing is copied."""
        return ActivationSet(self.folder, self.manifest, [self._site(site) for site in sites], self.fetch)

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the grid that an example's rows are, in raster order. `ConfigError` unless spatial."""
        if self.manifest.grid is None:
            raise ConfigError(f"The rows of this set are no places in an image (its pool is {self.pool}): capture it as spatial.")
        return self.manifest.grid

    @property
    def dataset_record(self) -> dict[str, Any]:
        """Which data set was captured: name, hash with its labels at that time, and how to load it again."""
        return self.manifest.dataset_record

    def width(self, site: str | Site | None = None) -> int:
        """How many numbers a row has."""
        return self.manifest.request.widths[self._number(self._site(site))]

    def read(self, rows: slice | Int[np.ndarray, n] | None = None, site: str | Site | None = None) -> Float[np.ndarray, "n d"]:
        """Rows as float32, in the order asked for; all of them when ``rows`` is None. Negative numbers count
        back."""
        return self._read(rows, self._site(site), np.dtype(np.float32))

    def tensor(
        self, rows: slice | Int[np.ndarray, n] | None = None, site: str | Site | None = None
    ) -> Float[torch.Tensor, "n d"]:
        """Rows as `read` has them, in the type in which they lie on disk and bit for bit: a set captured with
        ``store_dtype="bfloat16"`` gives ``torch.bfloat16``."""
        return as_tensor(self.raw(rows, site))

    def raw(self, rows: slice | Int[np.ndarray, n] | None = None, site: str | Site | None = None) -> np.ndarray:
        """Rows ``[n, d]`` as they lie on disk: little-endian, and bfloat16 as the ``uint16`` of its bits."""
        return self._read(rows, self._site(site), disk_dtype(self.manifest.request.dtype))

    def rows(self, split: str | None, dataset: Examples) -> Int[np.ndarray, n]:
        """The numbers of the rows whose example is in a split of the data set; None stands for all."""
        if not self.manifest.is_of(dataset):
            raise StudyError(
                f"These activations come from {self.manifest.request.dataset}, not from this {dataset.name}: capture again."
            )
        if split is None:
            self.require_rows()
            return np.arange(self.n_rows)
        splits = dataset.table["split"].to_numpy()
        if split not in set(splits):
            raise UnknownNameError("split", split, set(map(str, splits)))
        return np.flatnonzero((splits == split)[self.index["example"].to_numpy()])

    def batches(
        self,
        batch_size: int,
        seed: int = 0,
        rows: Int[np.ndarray, n] | None = None,
        epochs: int | None = None,
        site: str | Site | None = None,
        ahead: int = 1,
    ) -> Batches:
        """Shuffled float32 batches ``[batch_size, d]`` of the rows asked for, each row once an epoch.

        Every epoch has its own order, drawn from the seed: a permutation of all rows, wherever they lie. The last
        batch of an epoch may be smaller. ``epochs=None`` never ends. A thread reads the next ``ahead`` batches while
        one is used; so many and one more are in memory at a time, besides the row numbers. It ends with the iterator,
        or at once with ``close()`` or a ``with`` block.
        """
        place = self._site(site)
        self.require_rows()
        numbers = np.arange(self.n_rows) if rows is None else self._numbers(rows)
        if batch_size < 1 or not len(numbers) or ahead < 0:
            raise ConfigError("Batches need at least one row, a batch size of at least one, and none or some ahead.")
        check_seed(seed)
        plan = shuffled(numbers, batch_size, seed, epochs)
        dtype = disk_dtype(self.manifest.request.dtype)
        return Batches(plan, lambda part: self._gather(place, part, dtype), ahead)

    def export(self, folder: str | Path) -> list[Path]:
        """Write the rows of every site of this view as safetensors, and the index as Parquet; see `export_set`."""
        from workbench.activations.exporting import export_set

        return export_set(self, Path(folder))

    def __len__(self) -> int:
        return self.n_rows

    def __repr__(self) -> str:
        request = self.manifest.request
        where = ", ".join(map(str, self.sites[:4])) + (", …" if len(self.sites) > 4 else "")
        what = f"{self.n_rows:,} rows ({self.pool}) of {request.dataset} in {request.model} at {where}"
        return f"<ActivationSet {self.id}: {what}{f', under {self.under}' if self.edits else ''}>"

    def _site(self, site: str | Site | None) -> Site:
        if site is None:
            if len(self.sites) > 1:
                raise ConfigError("This set has several sites: take one with `.at(site)` or name it.")
            return self.sites[0]
        known = {str(s): s for s in self.sites}
        if str(site) not in known:
            raise UnknownNameError("captured site", str(site), known)
        return known[str(site)]

    def _number(self, site: Site) -> int:
        return self.manifest.request.sites.index(str(site))

    def _numbers(self, rows: np.ndarray) -> np.ndarray:
        rows = np.asarray(rows)
        if rows.dtype == bool:
            if len(rows) != self.n_rows:
                raise ConfigError(f"A mask of rows has {self.n_rows} entries here, not {len(rows)}.")
            return np.flatnonzero(rows)
        rows = rows.astype(np.int64, copy=False)
        if len(rows) and not (-self.n_rows <= rows.min() and rows.max() < self.n_rows):
            raise ConfigError(f"Rows run from 0 to {self.n_rows - 1}: ask only for those.")
        return np.where(rows < 0, rows + self.n_rows, rows)

    def require_rows(self) -> None:
        """See that the rows are here, or fetch them. `StudyError` where they were left out."""
        if self.left_out and self.fetch is not None:
            self.fetch(self.folder)
        if self.left_out:
            raise LeftOutError(
                f"The activations {self.id} were left out when the study was packed. Capture them again:"
                f" `workbench recapture {self.folder.parents[1].name}`, or study.recapture()."
            )

    def _shards(self, site: Site) -> list[np.memmap]:
        if site not in self._maps:
            self.require_rows()
            number, dtype = self._number(site), disk_dtype(self.manifest.request.dtype)
            width = self.width(site)
            self._maps[site] = [
                np.memmap(child(self.folder, shard_name(number, shard)), dtype, "r", shape=(rows, width))
                for shard, rows in enumerate(self.manifest.shards)
            ]
        return self._maps[site]

    def _require_sound(self, shard: np.memmap) -> None:
        # A shard is at most half a GiB, and is checked when the first row of it is read in this process: a third of a second.
        require_sound(Path(str(shard.filename)), self.manifest)

    def _read(self, rows: slice | np.ndarray | None, site: Site, dtype: np.dtype) -> np.ndarray:
        self.require_rows()
        if rows is None or (isinstance(rows, slice) and rows.step in {None, 1}):
            start, stop, _ = (rows or slice(None)).indices(self.n_rows)
            return self._slice(site, start, max(start, stop), dtype)
        numbers = np.arange(self.n_rows)[rows] if isinstance(rows, slice) else self._numbers(rows)
        return self._gather(site, numbers, dtype)

    def _slice(self, site: Site, start: int, stop: int, dtype: np.dtype) -> np.ndarray:
        out = np.empty((stop - start, self.width(site)), dtype)
        for shard, first in zip(self._shards(site), self._starts[:-1].tolist(), strict=True):
            low, high = max(start, first), min(stop, first + len(shard))
            if low < high:
                self._require_sound(shard)
                block = shard[low - first : high - first]
                out[low - start : high - start] = unpacked(block) if dtype.kind == "f" else block
        return out

    def _gather(self, site: Site, numbers: np.ndarray, dtype: np.dtype) -> np.ndarray:
        shards = self._shards(site)
        if len(shards) == 1:
            return _widened(self._taken(shards[0], numbers), dtype)
        out = np.empty((len(numbers), self.width(site)), dtype)
        which = np.searchsorted(self._starts, numbers, "right") - 1
        for number in np.unique(which).tolist():
            places = np.flatnonzero(which == number)
            out[places] = _widened(self._taken(shards[number], numbers[places] - self._starts[number]), dtype)
        return out

    def _taken(self, shard: np.memmap, numbers: np.ndarray) -> np.ndarray:
        self._require_sound(shard)
        rows = np.asarray(shard)
        # Pages are read in their order on disk, then each row is copied once to its place in the result.
        _ = rows[:, :: _PAGE // rows.itemsize][np.sort(numbers)]
        return np.take(rows, numbers, axis=0, mode="clip")


def _widened(block: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Stored rows of a ``dtype``, unchanged or as floating-point numbers."""
    return (unpacked(block) if dtype.kind == "f" else block).astype(dtype, copy=False)
