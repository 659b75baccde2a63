"""Writing a set of activations: chunk by chunk, so that an interrupted capture resumes after its last complete chunk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.activations.checksums import damage, sha256_of, sync
from workbench.activations.dtypes import disk_dtype
from workbench.activations.journal import JOURNAL, Journal
from workbench.activations.manifest import INDEX, MANIFEST, Manifest, Request, Stored, left_out, shard_name
from workbench.errors import disk_errors
from workbench.paths import LOCK, PARTIAL, child, remove_tree, require_plain
from workbench.processes import hold

SHARD_BYTES = 512 * 2**20
# The row index as it grows: one Arrow stream a chunk. A Parquet file cannot be appended to.
GROWING_INDEX = "index.arrows"
_SCHEMA = pa.schema(
    [
        ("example", pa.int32()),
        ("position", pa.int32()),
        ("token", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
    ]
)


def whole(folder: Path) -> bool:
    """Whether a folder holds a complete set with its rows."""
    return (folder / MANIFEST).is_file() and not left_out(folder)


def claimed(folder: Path) -> AbstractContextManager[None]:
    """Keep other processes from capturing the same set. `StudyError` when one does so now."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    for path in (folder, partial_of(folder)):
        require_plain(path)
    return hold(folder.with_name(f"{folder.name}{LOCK}"), f"The set of activations {folder.name}")


def partial_of(folder: Path) -> Path:
    """The folder of a set until it is complete."""
    return folder.with_name(f"{folder.name}{PARTIAL}")


def finish_sealed(folder: Path) -> bool:
    """Rename the partial folder of a capture that was killed after its last byte was written. Returns whether there was one."""
    partial = partial_of(folder)
    if (partial / JOURNAL).exists() or not (partial / MANIFEST).is_file() or any(damage(partial)):
        return False
    _seal(partial, folder)
    return True


@contextmanager
def writing(folder: Path, request: Request, plan: dict[str, Any] | None = None) -> Iterator[Writer]:
    """A writer into ``folder.partial``, which becomes ``folder`` when the writer has finished.

    What an earlier writer of the same plan left there is gone on from. On any error, an interrupt too, the whole chunks stay
    for the next writer; where there are none, nothing is left.
    """
    partial = partial_of(folder)
    writer: Writer | None = None
    try:
        with disk_errors("activations"):
            partial.mkdir(parents=True, exist_ok=True)
            writer = Writer(partial, request, plan or {})
            yield writer
            writer.close()
            for name in (INDEX, MANIFEST):
                sync(child(partial, name))
            _seal(partial, folder)
    except BaseException:
        # Closing flushes, which fails again on a full disk; the first error is the one to raise.
        with suppress(Exception):
            if writer is not None:
                writer.close()
        if writer is None or not writer.chunks:
            remove_tree(partial, ignore_errors=True)
        raise


class Writer:
    """Appends chunks of rows of every site, rolling over to a new shard when one is large.

    Args:
        folder: The partial folder; it is there.
        request: What is captured.
        plan: What besides the request decides how rows are cut into chunks and computed.

    Attributes:
        shards: Rows of each shard.
    """

    def __init__(self, folder: Path, request: Request, plan: dict[str, Any]) -> None:
        self.folder, self.request = folder, request
        self._dtype = disk_dtype(request.dtype)
        self._journal = Journal(folder, plan | {"request": request.id, "shard_bytes": SHARD_BYTES})
        self._files: dict[str, BinaryIO] = {}
        self._joined: pq.ParquetWriter | None = None
        self.shards: list[int] = []
        kept = self._journal.files()
        while (first := shard_name(0, len(self.shards))) in kept:
            self.shards.append(kept[first].bytes // (request.widths[0] * self._dtype.itemsize))

    @property
    def chunks(self) -> int:
        """How many chunks are whole and on the disk."""
        return len(self._journal)

    @property
    def bytes(self) -> int:
        """Bytes of these chunks."""
        return sum(stored.bytes for stored in self._journal.files().values())

    def append(self, rows: list[np.ndarray], index: dict[str, Any]) -> None:
        """A chunk: rows ``[n, d]`` of each site, and their index columns. On the disk when this returns."""
        widest = max(self.request.widths) * self._dtype.itemsize
        if not self.shards or (self.shards[-1] + len(rows[0])) * widest > SHARD_BYTES:
            self._close_files()
            self.shards.append(0)
        names = [shard_name(number, len(self.shards) - 1) for number in range(len(rows))]
        # A checksum takes as long as the disk does.
        with ThreadPoolExecutor(1, "capture-hash") as hashing:
            hashed = []
            for name, block in zip(names, rows, strict=True):
                data = np.ascontiguousarray(block, self._dtype).reshape(-1).view(np.uint8).data
                hashed.append(self._extend(name, data, hashing))
            whole, part = self._whole_index(), pa.table(index, schema=_schema(self.request))
            whole.write_table(part)
            hashed.append(self._extend(GROWING_INDEX, _packed(part), hashing))
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
            sync(self.folder)
            for one in hashed:
                one.result()
        self._journal.commit([*names, GROWING_INDEX])
        self.shards[-1] += len(rows[0])

    def finish(
        self,
        model: dict[str, Any],
        dataset_source: dict[str, Any],
        n_examples: int,
        grid: tuple[int, int] | None,
        labels_hash: str = "",
        cut_texts: int = 0,
        lost_tokens: int = 0,
        sample: dict[str, Any] | None = None,
    ) -> None:
        """Write the rest of the index, then the manifest."""
        self._whole_index()
        self.close()
        files = {name: stored for name, stored in self._journal.files().items() if name != GROWING_INDEX}
        path = self.folder / INDEX
        files[INDEX] = Stored(bytes=path.stat().st_size, sha256=sha256_of(path))
        manifest = Manifest(
            request=self.request,
            model=model,
            dataset_source=dataset_source,
            labels_hash=labels_hash if self.request.format > 1 else "",
            n_examples=n_examples,
            sample=sample,
            grid=grid,
            shards=tuple(self.shards),
            cut_texts=cut_texts,
            lost_tokens=lost_tokens,
            files=dict(sorted(files.items())),
        )
        (self.folder / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")

    def close(self) -> None:
        """Close every file."""
        self._close_files()
        self._journal.close()
        if self._joined is not None:
            self._joined.close()

    def _close_files(self) -> None:
        files, self._files = self._files, {}
        for file in files.values():
            file.close()

    def _extend(self, name: str, data: Any, hashing: ThreadPoolExecutor) -> Future[None]:
        """Append to a file while its checksum is updated in a thread; the result waits for that."""
        hashed = hashing.submit(self._journal.add, name, data)
        if name not in self._files:
            self._files[name] = child(self.folder, name).open("ab")
        self._files[name].write(data)
        return hashed

    def _whole_index(self) -> pq.ParquetWriter:
        """Write the final Parquet index from the chunks; a Parquet file cannot be appended to."""
        if self._joined is None:
            self._joined = pq.ParquetWriter(self.folder / INDEX, _schema(self.request), compression="zstd")
            ends = [chunk[GROWING_INDEX].bytes for chunk in self._journal.chunks]
            if ends:
                with (self.folder / GROWING_INDEX).open("rb") as parts:
                    for start, end in zip([0, *ends], ends, strict=False):
                        with pa.ipc.open_stream(parts.read(end - start)) as part:
                            self._joined.write_table(part.read_all())
        return self._joined


def _schema(request: Request) -> pa.Schema:
    """The columns of the index: tokens of conversations also have a role."""
    with_role = request.chat_template is not None and request.pool == "token"
    return _SCHEMA.append(pa.field("role", pa.string())) if with_role else _SCHEMA


def _packed(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _seal(partial: Path, folder: Path) -> None:
    """Rename a complete set to its final name. The journal is removed first: a manifest without a journal marks a complete
    set."""
    (partial / JOURNAL).unlink(missing_ok=True)
    (partial / GROWING_INDEX).unlink(missing_ok=True)
    sync(partial)
    # Whatever is in the way is no complete set, or it would have been opened.
    remove_tree(folder, ignore_errors=True)
    os.replace(partial, folder)
    sync(folder.parent)
