"""Shuffled batches of a set: read ahead by a thread, and shared by several trainers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import numpy as np

from workbench.activations.dtypes import as_tensor
from workbench.errors import ConfigError

if TYPE_CHECKING:
    import torch

PATIENCE_S = 60.0


def shuffled(numbers: np.ndarray, batch_size: int, seed: int, epochs: int | None) -> Iterator[np.ndarray]:
    """Row numbers ``[b]``, batch by batch: a permutation of all of them every epoch, so each batch is a sample of all rows."""
    done = 0
    while epochs is None or done < epochs:
        order = np.random.default_rng([seed, done]).permutation(numbers)
        yield from (order[start : start + batch_size] for start in range(0, len(order), batch_size))
        done += 1


class Batches(Iterator["torch.Tensor"]):
    """An iterator over float32 batches ``[b, d]``. A thread reads the next batches while the current one is used.

    It ends its thread when it is exhausted, closed, or no longer used by anyone.

    Args:
        plan: The row numbers of each batch.
        read: Gives the rows of numbers, as they lie on disk.
        ahead: How many batches are read ahead; with 0 there is no thread.
    """

    def __init__(self, plan: Iterator[np.ndarray], read: Callable[[np.ndarray], np.ndarray], ahead: int) -> None:
        self._plan, self._read, self._ahead = plan, read, ahead
        self._pool: ThreadPoolExecutor | None = None
        self._coming: deque[Future[torch.Tensor | None]] = deque()
        self._closed = False

    def __next__(self) -> torch.Tensor:
        if self._closed:
            raise StopIteration
        try:
            batch = self._from_thread() if self._ahead else _load(self._plan, self._read)
        except BaseException:
            self.close()
            raise
        if batch is None:
            self.close()
            raise StopIteration
        return batch

    def _from_thread(self) -> torch.Tensor | None:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, "read-ahead")
        # The batches read ahead, and the one that is in use.
        while len(self._coming) <= self._ahead:
            self._coming.append(self._pool.submit(_load, self._plan, self._read))
        return self._coming.popleft().result()

    def share(self, readers: int, apart: int = 4) -> list[Reader]:
        """One pass for several trainers: each gets every batch, which is read once. They may run in threads of their own.

        Args:
            readers: How many.
            apart: How many batches the fastest may be ahead of the slowest, for which it then waits: so many are in memory.

        Raises:
            ConfigError: ``readers`` or ``apart`` is below 1.
        """
        if readers < 1 or apart < 1:
            raise ConfigError("A pass is shared by at least one reader, and they may be at least one batch apart.")
        shared = _Shared(self, readers, apart)
        return [Reader(shared, number) for number in range(readers)]

    def close(self) -> None:
        """End the thread; no more batches come."""
        self._closed = True
        pool, self._pool = self._pool, None
        self._coming.clear()
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class Reader(Iterator["torch.Tensor"]):
    """One of several that share a pass; made by :meth:`Batches.share`. The batches are shared too: do not write into them."""

    def __init__(self, shared: _Shared, number: int) -> None:
        self._shared, self._number = shared, number

    def __next__(self) -> torch.Tensor:
        return self._shared.take(self._number)

    def close(self) -> None:
        """Leave the pass: the others no longer wait for this one."""
        self._shared.leave(self._number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


class _Shared:
    """The batches between the slowest and the fastest reader."""

    def __init__(self, source: Batches, readers: int, apart: int) -> None:
        self._source, self._apart = source, apart
        self._at: dict[int, int] = dict.fromkeys(range(readers), 0)
        self._thread: dict[int, int] = {}
        self._held: deque[torch.Tensor] = deque()
        self._first = 0
        self._end: Exception | None = None
        self._moved = threading.Condition()

    def take(self, reader: int) -> torch.Tensor:
        with self._moved:
            if reader not in self._at:
                raise StopIteration
            self._thread[reader] = threading.get_ident()
            place = self._at[reader]
            while reader in self._at and place - min(self._at.values()) >= self._apart:
                self._wait()
            if reader not in self._at:
                raise StopIteration
            if place == self._first + len(self._held):
                # Read while holding the lock: the other readers need this same batch.
                self._held.append(self._next())
            batch = self._held[place - self._first]
            self._at[reader] = place + 1
            self._let_go()
            return batch

    def _next(self) -> torch.Tensor:
        """The next batch. An error ends the pass for every reader."""
        if self._end is None:
            try:
                return next(self._source)
            except Exception as end:
                self._end = end
        raise self._end

    def leave(self, reader: int) -> None:
        with self._moved:
            self._at.pop(reader, None)
            self._let_go()
            if not self._at:
                self._source.close()

    def _let_go(self) -> None:
        slowest = min(self._at.values(), default=self._first + len(self._held))
        while self._first < slowest:
            self._held.popleft()
            self._first += 1
        self._moved.notify_all()

    def _wait(self) -> None:
        slowest = min(self._at, key=lambda reader: self._at[reader])
        alone = self._thread.get(slowest) == threading.get_ident()
        if alone or not self._moved.wait(PATIENCE_S):
            raise ConfigError(
                f"One reader of a shared pass is {self._apart} batches ahead of another: read them in turn or each in a thread of"
                " its own, close the ones that are not read, or let them be further apart."
            )


def _load(plan: Iterator[np.ndarray], read: Callable[[np.ndarray], np.ndarray]) -> torch.Tensor | None:
    numbers = next(plan, None)
    # Widened by torch, which turns float16 into float32 several times faster than NumPy does.
    return None if numbers is None else as_tensor(read(numbers)).float()
