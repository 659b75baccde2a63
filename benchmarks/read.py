"""Shuffled batches of 131,072 rows: our reading from disk beside sae-lens's mixing buffer, which is fed from memory.

Run with `make bench NAME=read`. It prints a line for rows of 256 numbers and one for rows of 640. Both sides hand out float32
batches of 4,096 rows; nothing is done with these. Both read the same rows the same number of times, and that is checked.

Ours reads a set of activations by memory map (the files are in the page cache: they were just written) and checks nothing
but the first time. Its order is a permutation of all rows, however many there are. Its main figure is for rows that lie on disk
as float32, like those that the peer is given; float16 is the type in which we capture unless told otherwise.

Theirs is `mixing_buffer` as sae-lens trains with it: half of the buffer stays for mixing, and rows come in the pieces of a
forward pass of 32 prompts of 128 tokens, its defaults. Its buffer holds as many rows as there are, for it mixes only what it
holds. It is fed slices of one tensor in memory, so it reads no disk and runs no model. Two conditions that suit it better are
measured too: pieces of half the buffer, which spare it most of its copying but are a pass of 512 prompts, and a buffer of an
eighth of the rows, which mixes less.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks._sides import Side, report, turn_about
from workbench.activations import ActivationSet
from workbench.activations.manifest import Request
from workbench.activations.writer import writing

ROWS, BATCH, EPOCHS, ROUNDS, WIDTHS = 131_072, 4_096, 2, 3, (256, 640)
PIECE = 32 * 128


def main() -> None:
    """Measure and print."""
    for width in WIDTHS:
        with tempfile.TemporaryDirectory() as folder:
            print(compared(Path(folder), width), flush=True)


def compared(folder: Path, width: int) -> str:
    """The line for rows of one width."""
    from sae_lens.training.mixing_buffer import mixing_buffer

    ours = {dtype: written(folder, width, dtype) for dtype in ("float32", "float16")}
    # The numbers 0 to 131,071 do not fit float16: it is only counted there.
    rows = torch.from_numpy(ours["float32"].read())

    def mixed(buffer: int, piece: int) -> Callable[[], Iterable[torch.Tensor]]:
        return lambda: mixing_buffer(buffer, BATCH, pieces(rows, piece))

    readers: dict[str, Callable[[], Iterable[torch.Tensor]]] = {
        "float32": lambda: ours["float32"].batches(BATCH, epochs=EPOCHS),
        "ours, from float16": lambda: ours["float16"].batches(BATCH, epochs=EPOCHS),
        "sae-lens": mixed(ROWS, PIECE),
        "sae-lens, pieces of 65,536": mixed(ROWS, ROWS // 2),
        "sae-lens, buffer of 16,384": mixed(ROWS // 8, PIECE),
    }
    for name in ("float32", "sae-lens", "sae-lens, pieces of 65,536", "sae-lens, buffer of 16,384"):
        check(name, readers[name]())
    speeds = turn_about({name: counted(reader) for name, reader in readers.items()}, ROUNDS)
    return report(
        "read",
        f"{ROWS:,} rows of {width}, float32 batches of {BATCH:,}, {EPOCHS} epochs a round, median of {ROUNDS} interleaved rounds;"
        f" ours from float32 on disk by memory map, sae-lens from memory, buffer of {ROWS:,}, pieces of {PIECE:,}",
        "rows/s",
        "float32",
        ["sae-lens", "sae-lens, pieces of 65,536", "sae-lens, buffer of 16,384", "ours, from float16"],
        speeds,
        equal=f"every row came {EPOCHS} times from each",
    )


def written(folder: Path, width: int, dtype: str) -> ActivationSet:
    """A set of random rows, the first number of each of which is the row's own."""
    request = Request(
        model="random", model_kind="module", weights_hash="0" * 64, inputs={}, dataset="random", dataset_hash="0",
        sites=("embed",), widths=(width,), pool="mean", dtype=dtype,
    )  # fmt: skip
    rng, step = np.random.default_rng(0), 8_192
    with writing(folder / request.id, request) as out:
        for start in range(0, ROWS, step):
            rows, blank = rng.standard_normal((step, width), np.float32), np.zeros(step, np.int32)
            rows[:, 0] = np.arange(start, start + step)
            index = {"example": rows[:, 0], "position": blank - 1, "token": [""] * step, "start": blank, "end": blank}
            out.append([rows if dtype == "float32" else np.clip(rows, -9, 9)], index)
        out.finish({"name": "random"}, {}, ROWS, None)
    return ActivationSet.open(folder / request.id)


def pieces(rows: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    """The rows in the order in which they lie, a piece at a time, every epoch again."""
    for _ in range(EPOCHS):
        yield from rows.split(size)


def counted(reader: Callable[[], Iterable[torch.Tensor]]) -> Side:
    """A pass that counts the rows which it is handed."""
    return lambda: lambda: sum(len(batch) for batch in reader())


def check(name: str, batches: Iterable[torch.Tensor]) -> None:
    """Every row comes once an epoch, as float32."""
    numbers = []
    for batch in batches:
        assert batch.dtype == torch.float32, name
        numbers.append(batch[:, 0].long())
    counts = torch.bincount(torch.cat(numbers), minlength=ROWS)
    assert bool((counts == EPOCHS).all()), name


if __name__ == "__main__":
    main()
