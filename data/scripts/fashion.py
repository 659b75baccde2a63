"""Make data/fashion.parquet from Debian `dataset-fashion-mnist` 0.0~git20200523.55506a9-1.

--source is the folder with the four idx files. The first 300 training and 100 test images of each of the ten
items, 4,000 in all: pixels (784 bytes, 28 rows of 28), item, split. The last 45 of the 300 are validation.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
from common import main, write

ITEMS = (
    "T-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def build(source: Path) -> None:
    rows = []
    for file, split, most in (("train", "train", 300), ("t10k", "test", 100)):
        images = gzip.decompress((source / f"{file}-images-idx3-ubyte.gz").read_bytes())[16:]
        labels = gzip.decompress((source / f"{file}-labels-idx1-ubyte.gz").read_bytes())[8:]
        pixels = np.frombuffer(images, np.uint8).reshape(-1, 784)
        for item, name in enumerate(ITEMS):
            chosen = np.flatnonzero(np.frombuffer(labels, np.uint8) == item)[:most]
            for rank, i in enumerate(chosen):
                # The last 45 of the 300 training images of an item are for validation: 15 in a hundred.
                part = "validation" if split == "train" and rank >= 255 else split
                rows.append((pixels[i].tobytes(), name, part))
    columns = list(zip(*rows, strict=True))
    table = pa.table({"pixels": pa.array(columns[0], pa.binary(784)), "item": columns[1], "split": columns[2]})
    write(table, "fashion", height=28, width=28)


if __name__ == "__main__":
    main(build, __doc__)
