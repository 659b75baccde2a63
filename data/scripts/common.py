"""What the scripts share: one way to write a bundled table, and the command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

DATA = Path(__file__).resolve().parents[1]


def write(table: pa.Table, name: str, **metadata: object) -> Path:
    """Write ``data/<name>.parquet`` in one row group at zstd's highest level."""
    path = DATA / f"{name}.parquet"
    notes = {key: json.dumps(value) for key, value in metadata.items()}
    pq.write_table(
        table.replace_schema_metadata(notes),
        path,
        compression="zstd",
        compression_level=22,
        row_group_size=max(len(table), 1),
        write_statistics=False,
        data_page_size=32 << 20,
    )
    print(f"{path.name}: {len(table)} rows, {path.stat().st_size:,} bytes")
    return path


def main(build: Callable[[Path], None], doc: str | None) -> None:
    """Run one script: ``python data/scripts/<name>.py --source <folder of the unpacked package>``."""
    parser = argparse.ArgumentParser(description=doc)
    parser.add_argument("--source", type=Path, required=True, help="folder of the unpacked package")
    build(parser.parse_args().source)
