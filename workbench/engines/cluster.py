"""Work on Ray: on the machines of a cluster, or in several processes of this one."""

from __future__ import annotations

import heapq
import logging
import os
import signal
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any, Self

from workbench.engines import Engine, P, R, Task
from workbench.errors import ClusterError, ConfigError, MissingExtraError

# How often a piece, or the start of a worker, is tried when its process dies.
TRIES = 3
# Pieces per worker that are running, or finished and waiting for an earlier one; this bounds the memory.
AHEAD = 2
SECONDS_TO_ANSWER = 10


class Ray(Engine):
    """Workers of a Ray cluster, each a process that is sent pieces of work.

    A piece whose worker dies is done again by another one. Each uses as many threads as this process does
    (``torch.get_num_threads()``), since their number may decide how numbers are rounded.

    For several runs or captures, keep the workers, each of which takes seconds to start: ``with Ray() as ray:``, and
    ``engine=ray`` for all that is done in the block. Without it, each has workers of its own.

    Args:
        address: Of a cluster that runs, such as ``auto`` or ``10.0.0.1:6379``. Without one, a cluster is started on this machine
            and ended afterwards, unless this process is connected to one already.
        workers: How many; as many as there are processors for when left out.
        store: Bytes of shared memory for what is sent about, of a cluster that is started; Ray decides when left out.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: There are no workers at all.
    """

    def __init__(self, address: str | None = None, workers: int | None = None, store: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise ConfigError("Work is done by at least one worker: raise workers, or leave it out.")
        self.address, self.workers, self.store = address, workers, store
        self._ray = _library()
        self._block: ExitStack | None = None
        self._kept: _Pool | None = None

    def __enter__(self) -> Self:
        """Start or join the cluster; its workers are kept until the block ends."""
        import torch

        if self._block is not None:
            raise ConfigError("The workers are kept already: one block at a time.")
        block = ExitStack()
        block.enter_context(self._cluster(torch.get_num_threads()))
        self._block = block
        return self

    def __exit__(self, *_exc: object) -> None:
        kept, block = self._kept, self._block
        self._kept = self._block = None
        if kept is not None:
            kept.end()
        if block is not None:
            block.close()

    def map(self, task: Task[P, R], pieces: Iterable[P]) -> Generator[R, None, None]:
        """The result of each piece, in order. `ClusterError` when there is no cluster, or workers keep dying."""
        import torch

        maker, threads = task.elsewhere(), torch.get_num_threads()
        with self._cluster(threads):
            pool = self._pool(maker, threads)
            try:
                yield from pool.results(pieces)
            finally:
                # A busy worker would finish its piece before it takes anything else.
                if self._block is not None and pool.free:
                    self._kept = pool
                else:
                    pool.end()

    def _pool(self, maker: Callable[[], Callable[[Any], Any]], threads: int) -> _Pool:
        """Workers for a task: those that are kept, or new ones."""
        kept, self._kept = self._kept, None
        if kept is not None and kept.threads == threads:
            kept.turn_to(maker)
            return kept
        if kept is not None:
            kept.end()
        return _Pool(self._ray, maker, threads, self.workers or self._worker_count(threads))

    def _worker_count(self, threads: int) -> int:
        """How many workers find room on the machines that are there."""
        nodes = [node["Resources"].get("CPU", 0) for node in self._ray.nodes() if node["Alive"]]
        fitting = sum(int(count // threads) for count in nodes)
        if not fitting:
            raise ClusterError(
                f"No machine of the cluster has the {threads} processors that a worker takes, one a thread of this process."
                " Set OMP_NUM_THREADS to fewer."
            )
        return fitting

    @contextmanager
    def _cluster(self, threads: int) -> Iterator[None]:
        if self._ray.is_initialized():
            here = str(self._ray.get_runtime_context().gcs_address)
            if self.address not in (None, "auto", here):
                raise ClusterError(
                    f"This process is connected to a Ray cluster already, {here}, and not {self.address}: leave the address out,"
                    " or call ray.shutdown() first."
                )
            yield
            return
        # Ray has sockets in this folder, whose paths must be short.
        with tempfile.TemporaryDirectory(prefix="workbench-", dir="/tmp" if os.name == "posix" else None) as place:
            with _own_signals():
                self._connect(threads, place)
            try:
                yield
            finally:
                self._ray.shutdown()

    def _connect(self, threads: int, place: str) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
        if self.address is None:
            # At least two, so that work continues while a lost worker is replaced.
            workers = self.workers or max(2, (os.cpu_count() or 1) // threads)
            options |= {"num_cpus": workers * threads, "include_dashboard": False, "_temp_dir": place}
            options |= {"object_store_memory": self.store}
        try:
            _require_answer(self.address)
            self._ray.init(self.address or "local", **options)
        except (RuntimeError, ValueError, OSError, self._ray.exceptions.RayError) as error:
            where = f"at {self.address} cannot be used" if self.address else "could not be started on this machine"
            raise ClusterError(f"A Ray cluster {where}: {' '.join(str(error).split())[:300]}") from error


class _Worker:
    """One process of the cluster."""

    def start(self, maker: Callable[[], Callable[[Any], Any]], threads: int, blas: int) -> None:
        """Set up the work, once."""
        import torch
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(threads)
        self._work = maker()
        # Applies to libraries that are loaded by now.
        threadpool_limits(blas, "blas")

    def do(self, piece: Any) -> Any:
        """Do one piece."""
        return self._work(piece)


class _Pool:
    """The workers that do one task, and what each of them does."""

    def __init__(self, ray: Any, maker: Callable[[], Callable[[Any], Any]], threads: int, count: int) -> None:
        self._ray, self.threads, self._blas, self._ahead = ray, threads, _blas_threads(), AHEAD * count
        self._lost_errors = _lost_errors(ray)
        self._kind = ray.remote(_Worker).options(num_cpus=threads)
        self._idle: deque[Any] = deque()
        # Pending results: the worker, and the number of the piece, or None while the worker is starting.
        self._busy: dict[Any, tuple[Any, int | None]] = {}
        self._begin(maker)
        for _ in range(count):
            self._hire()

    def _begin(self, maker: Callable[[], Callable[[Any], Any]]) -> None:
        self._maker = self._ray.put(maker)
        self._held: dict[int, Any] = {}
        self._todo: list[int] = []
        self._done: dict[int, Any] = {}
        self._losses: dict[int | None, int] = {}

    @property
    def free(self) -> bool:
        """Whether all workers are idle."""
        return all(number is None for _, number in self._busy.values())

    def turn_to(self, maker: Callable[[], Callable[[Any], Any]]) -> None:
        """Give the same workers, which must be idle, another task."""
        self._begin(maker)
        # A worker does what it is told in order, so that one which is still being made for the last task is soon there.
        workers = [*self._idle, *(worker for worker, _ in self._busy.values())]
        self._idle.clear()
        self._busy.clear()
        for worker in workers:
            self._prepare(worker)

    def results(self, pieces: Iterable[Any]) -> Iterator[Any]:
        """What comes of each piece, in order."""
        coming, due = enumerate(pieces), 0
        while self._take(coming):
            self._hand_out()
            self._look(wait=due not in self._done)
            if due not in self._done:
                continue
            try:
                # Results wait in Ray's object store, and are lost with their machine.
                result = self._ray.get(self._done.pop(due))
            except self._lost_errors as error:
                self._again(due, error)
                continue
            del self._held[due]
            due += 1
            yield result

    def end(self) -> None:
        """End the workers."""
        for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]:
            self._ray.kill(worker)

    def _take(self, coming: Iterator[tuple[int, Any]]) -> bool:
        """Start further pieces while there is space for their results. Returns whether any work is left."""
        for number, piece in islice(coming, self._ahead - len(self._held)):
            self._held[number] = piece
            heapq.heappush(self._todo, number)
        return bool(self._held)

    def _hand_out(self) -> None:
        while self._idle and self._todo:
            worker, number = self._idle.popleft(), heapq.heappop(self._todo)
            self._busy[worker.do.remote(self._held[number])] = worker, number

    def _look(self, wait: bool) -> None:
        """Collect finished results; with ``wait``, block until there is one."""
        ended, _ = self._ray.wait(list(self._busy), timeout=None if wait else 0) if self._busy else ([], [])
        for reference in ended:
            worker, number = self._busy.pop(reference)
            try:
                self._ray.get(reference)
            except self._lost_errors as error:
                self._ray.kill(worker)
                self._hire()
                self._again(number, error)
            except self._ray.exceptions.RayTaskError as error:
                self._idle.append(worker)
                raise error.cause from error
            else:
                self._idle.append(worker)
                self._losses.pop(number, None)
                if number is not None:
                    self._done[number] = reference

    def _hire(self) -> None:
        self._prepare(self._kind.remote())

    def _prepare(self, worker: Any) -> None:
        self._busy[worker.start.remote(self._maker, self.threads, self._blas)] = worker, None

    def _again(self, number: int | None, error: Exception) -> None:
        """Restart a piece, or a worker, that was lost."""
        self._losses[number] = self._losses.get(number, 0) + 1
        if self._losses[number] >= TRIES:
            raise ClusterError(
                f"Workers ended {TRIES} times over the same piece of work, for instance because the memory was full: take fewer"
                " workers or smaller batches. What is finished is kept, and the same command goes on from there."
            ) from error
        if number is not None:
            heapq.heappush(self._todo, number)


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this program's own answer to SIGTERM, which Ray replaces."""
    known = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and known is not None:
            signal.signal(signal.SIGTERM, known)


def _library() -> Any:
    # No usage reports, and no hints about Ray's next version.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise MissingExtraError("ray", "cluster", "The engine ray") from None
    return ray


def _require_answer(address: str | None) -> None:
    """Connect to ``host:port`` once, because Ray itself would retry for minutes. `OSError` if nothing answers."""
    host, _, port = (address or "").rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()


def _blas_threads() -> int:
    """How many threads the matrix products of NumPy and SciPy use here."""
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)


def _lost_errors(ray: Any) -> tuple[type[Exception], ...]:
    """What is raised when a worker, its machine or what it had made is gone."""
    known = ray.exceptions
    return known.RayActorError, known.ObjectLostError, known.OutOfMemoryError, known.WorkerCrashedError, known.NodeDiedError
