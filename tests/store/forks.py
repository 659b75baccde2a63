"""Processes that tests end before their time.

They are forked by a process without threads. One that runs tests has those of browsers, clusters and libraries, and what such a
thread holds at a fork is held forever in the child.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

SECONDS = 300
"""After which a process is taken to hang, and ended."""

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.store.forks", "tests.store.anywhere"])


class Killed:
    """Ends this process at the nth thing that it writes, removes or asks of a database."""

    def __init__(self, nth: int) -> None:
        self.left = nth
        sys.addaudithook(self.seen)
        sa.event.listen(sa.Engine, "before_cursor_execute", lambda *_: self.count())
        sa.event.listen(sa.Engine, "commit", lambda *_: self.count())

    def seen(self, event: str, arguments: tuple) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in {"os.remove", "os.rmdir", "os.rename", "os.mkdir"}:
            self.count()

    def count(self) -> None:
        self.left -= 1
        if self.left == 0:
            os._exit(9)


class Fork:
    """A process that calls a function of a module with a function to send with, and the arguments."""

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        self._sent, send = _FORKS.Pipe(duplex=False)
        self._process = _FORKS.Process(target=_call, args=(work, send, dict(os.environ), arguments))
        self._process.start()
        send.close()
        self.pid = self._process.pid

    def received(self) -> Any:
        """The next thing that it sent; None once it has ended and all is read."""
        assert self._sent.poll(SECONDS), f"The process said nothing for {SECONDS} s."
        try:
            return self._sent.recv()
        except EOFError:
            return None

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join()

    def end(self) -> int:
        """Wait for its end; its exit code."""
        self._process.join(SECONDS)
        code = self._process.exitcode
        self.kill()
        assert code is not None, f"The process did not end within {SECONDS} s."
        return code


def _call(work: Callable[..., None], send: Any, environment: dict[str, str], arguments: tuple[Any, ...]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    try:
        work(send.send, *arguments)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    os._exit(code)
