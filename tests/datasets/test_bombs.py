"""Small files that would become large ones are refused before they do; and what is no file is not waited for."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import workbench as wb
from workbench.datasets.images import UnreadableError, read_image
from workbench.errors import DataError
from workbench.parquet import read_table


def repeated(path: Path, rows: int, characters: int, **options: object) -> Path:
    """A table whose rows share one text, which lies in the file once."""
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * characters]))
    pq.write_table(pa.table({"text": column}), path, compression="zstd", store_schema=False, **options)
    return path


def test_a_text_that_lies_in_the_file_once_is_counted_as_often_as_it_is_read(tmp_path: Path) -> None:
    bomb = repeated(tmp_path / "bomb.parquet", 1_000_000, 10_000)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(DataError, match=r"unpacks to 9\.3 GiB"):
        wb.load_dataset(bomb)


def test_lists_of_such_texts_and_nothing_a_billion_times_are_counted_too(tmp_path: Path) -> None:
    inner = pa.DictionaryArray.from_arrays(pa.array(np.zeros(1_000_000, np.int32)), pa.array(["x" * 10_000]))
    lists = pa.ListArray.from_arrays(pa.array(np.arange(0, 1_000_001, 10), pa.int32()), inner)
    pq.write_table(pa.table({"text": lists}), tmp_path / "lists.parquet", compression="zstd", store_schema=False)
    pq.write_table(pa.table({"text": pa.nulls(100_000_000)}), tmp_path / "nothing.parquet", compression="zstd")
    for name in ("lists", "nothing"):
        assert (tmp_path / f"{name}.parquet").stat().st_size < 300_000
        with pytest.raises(DataError, match="unpacks to"):
            wb.load_dataset(tmp_path / f"{name}.parquet")


def test_what_repeats_within_reason_is_read(tmp_path: Path) -> None:
    rows = 30_000
    table = {"text": [f"text {i}" for i in range(rows)], "kind": ["a long name of a kind " * 5] * rows, "other": ["b"] * rows}
    pq.write_table(pa.table(table), tmp_path / "table.parquet", compression="zstd")
    assert len(wb.load_dataset(tmp_path / "table.parquet")) == rows


def test_an_image_says_how_large_it_is_before_it_is_unpacked() -> None:
    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    size = struct.pack(">IIBBBBB", 12_000, 12_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(12_000 * 36_001))
    image = b"\x89PNG\r\n\x1a\n" + part(b"IHDR", size) + part(b"IDAT", rows) + part(b"IEND", b"")
    assert len(image) < 10**6
    with pytest.raises(UnreadableError, match="12,000 by 12,000 pixels"):
        read_image(image, None, 0)


@pytest.mark.parametrize("name", ["long.csv", "long.tsv", "long.jsonl", "long.parquet"])
def test_a_file_longer_than_the_memory_is_refused_by_its_length(name: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**42)
    with pytest.raises(DataError, match=r"memory|holds next to nothing"):
        wb.load_dataset(tmp_path / name)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        wb.load_dataset(tmp_path / "pipe.csv")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnreadableError, match="no file"):
        read_image("pipe.png", tmp_path, 3)


def test_arrays_that_say_they_are_longer_than_their_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("example\n0\n1\n")
    np.save(tmp_path / "embed.npy", np.zeros((2, 4), np.float32))
    with (tmp_path / "embed.npy").open("r+b") as file:
        content = file.read().replace(b"(2, 4), }      ", b"(2, 4000000), }")
        file.seek(0)
        file.write(content)
    with wb.open_study(tmp_path / "study") as study:
        with pytest.raises(DataError, match="cannot be read"):
            study.import_activations(tmp_path)
        (tmp_path / "embed.npy").unlink()
        header = json.dumps({"a": {"dtype": "F32", "shape": [2, 2**40], "data_offsets": [0, 2**43]}}).encode()
        (tmp_path / "embed.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(32))
        with pytest.raises(DataError, match="cannot be read"):
            study.import_activations(tmp_path)


def test_statistics_that_make_no_sense_end_in_a_sentence_and_not_the_process() -> None:
    # Found by the fuzzer: Arrow itself ends the process when it is asked what this file says of its columns.
    code = "from workbench.parquet import read_table; from pathlib import Path; import sys; read_table(Path(sys.argv[1]))"
    path = Path(__file__).with_name("statistics_of_another_type.parquet")
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "'statistics_of_another_type.parquet' is not a whole Parquet file: write it again." in done.stderr


def test_a_file_is_taken_by_its_name_whatever_pattern_that_is(tmp_path: Path) -> None:
    for name, rows in (("a[1]*.parquet", 3), ("a1x.parquet", 5)):
        pq.write_table(pa.table({"text": ["one"] * rows}), tmp_path / name)
    assert len(read_table(tmp_path / "a[1]*.parquet")) == 3


def test_a_text_that_is_not_utf_8_is_named_by_its_column(tmp_path: Path) -> None:
    # Found by the fuzzer: Arrow does not look at the bytes of a text before it makes one of them.
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(struct.pack("<ii", 0, 1)), pa.py_buffer(b"\xff"))
    pq.write_table(pa.table({"text": broken}), tmp_path / "mine.parquet")
    with pytest.raises(DataError, match="The column 'text' holds a text that is not in UTF-8"):
        wb.load_dataset(tmp_path / "mine.parquet")
