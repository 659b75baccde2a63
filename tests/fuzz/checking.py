"""One case: a reader gives a result or one sentence, in time and in memory, and touches nothing outside its folder."""

from __future__ import annotations

import faulthandler
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fuzz.mutate import mutated
from tests.fuzz.readers import EVERY, Reader
from workbench.concepts import sae_lens_format
from workbench.errors import WorkbenchError
from workbench.store import trust

State = list[tuple[str, int, int, int]]

SECONDS, STUCK_SECONDS = 10, 60
"""Of work a case may take, and of waiting before a process that does not answer ends itself."""
MOST_KIB = 700 * 1024
"""How much more memory than before a case may take: Parquet files of a few bytes may unpack to 256 MiB."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = frozenset(
    {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod", "shutil.rmtree"}
)
_CALLS = frozenset({"socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn"})
_NEVER_THERE = ("/dev/null", "/dev/shm")


class TooLongError(BaseException):
    """A case took longer than it may. No reader may catch it."""


class Watch:
    """Sees what is written, removed or called outside one folder, while it is on. A process has one for good."""

    def __init__(self, inside: Path) -> None:
        self.inside, self.on, self.seen = str(inside.resolve()), False, ""
        # Libraries make locks in memory; where the cases are there as well, nothing else there may be written.
        self.beside = [place for place in _NEVER_THERE if not self.inside.startswith(place)]
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in _CALLS:
            self.seen = self.seen or f"{event} {arguments!r}"[:400]
        elif event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES:
            self._look(event, arguments[0])
        elif event in _CHANGES:
            # Names in a folder that is open come with its number, which stands last.
            folder = arguments[-1] if isinstance(arguments[-1], int) and arguments[-1] >= 0 and event != "shutil.rmtree" else None
            for path in arguments[:2]:
                self._look(event, path, folder)

    def _look(self, event: str, path: Any, folder: int | None = None) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            home = os.getcwd() if folder is None else os.readlink(f"/proc/self/fd/{folder}")
            name = os.path.normpath(os.path.join(home, os.fsdecode(path)))
            if not name.startswith((self.inside, *self.beside)) and "__pycache__" not in name:
                self.seen = self.seen or f"{event} {name}"


class Checker:
    """Runs cases of readers below a folder of its own.

    Args:
        place: An empty folder; ``own`` in it is the user's, and must stay as it is.
    """

    def __init__(self, place: Path) -> None:
        self.place, self.work = place, place / "work"
        self.own = place / "own"
        self.own.mkdir(parents=True)
        (self.own / "victim.txt").write_text("mine")
        (place / "victim.txt").write_text("mine")
        (self.own / "empty").mkdir()
        self.work.mkdir()
        # Libraries ask the system for this and that when they are imported.
        sae_lens_format._sae_lens_loaders()
        self._before = self._state()
        self.watch = Watch(self.work)
        self._seeds: dict[str, list[bytes]] = {}
        self._files: dict[str, Path] = {}
        self._unread: dict[str, State] = {}
        os.environ["XDG_CONFIG_HOME"] = os.environ["XDG_CACHE_HOME"] = str(self.work / "settings")
        tempfile.tempdir = str(self.work / "temporary")
        Path(tempfile.tempdir).mkdir()

    def case(self, reader: Reader, rng: random.Random) -> bytes:
        """A changed file for a reader."""
        if reader.name not in self._seeds:
            self._seeds[reader.name] = reader.seeds(self.work / f"seeds of {reader.name}")
        seeds = self._seeds[reader.name]
        return mutated(rng.choice(seeds), Path(reader.file).suffix, rng, seeds)

    def check(self, reader: Reader, content: bytes) -> str:
        """What is wrong with how a reader takes a file; empty where nothing is."""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wrong = ""
        for read in [reader.read, *([reader.whole] if reader.whole and zlib.crc32(content) % EVERY == 0 else [])]:
            folder = self._prepared(reader)
            self._files[reader.name].write_bytes(content)
            wrong = wrong or self._outcome(read, folder)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        if not wrong and grown > MOST_KIB:
            wrong = f"It took {grown // 1024} MiB."
        if not wrong and self.watch.seen:
            wrong = f"It reached outside its folder: {self.watch.seen}"
        if not wrong and self._state() != self._before:
            wrong = "It changed a file outside its folder."
        self.watch.seen = ""
        return wrong

    def _prepared(self, reader: Reader) -> Path:
        """The folder that a reader reads; where reading changed it, or made it known, as it was before."""
        folder = self.work / "cases" / reader.name.replace(" ", "-").replace(".", "-")
        if reader.fresh:
            trust._HERE.clear()
            shutil.rmtree(self.work / "settings", ignore_errors=True)
            if folder.is_dir() and _listed(folder, self._files[reader.name]) != self._unread[reader.name]:
                shutil.rmtree(folder)
        if not folder.is_dir():
            template = self.work / f"template of {reader.name}"
            if not template.is_dir():
                reader.honest(template)
            shutil.copytree(template, folder)
            self._files[reader.name] = sorted(folder.glob(reader.file))[0]
            self._unread[reader.name] = _listed(folder, self._files[reader.name])
        return folder

    def _outcome(self, read: Callable[[Path], object], folder: Path) -> str:
        self.watch.on = True
        try:
            with in_time(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(folder)
        except WorkbenchError as error:
            return _unclear(str(error))
        except BaseException:
            return traceback.format_exc()
        finally:
            self.watch.on = False
        return ""

    def _state(self) -> State:
        found = [self.place / "victim.txt", *sorted(self.own.rglob("*"))]
        return [(str(path), (state := path.lstat()).st_mode, state.st_size, state.st_mtime_ns) for path in found if path.exists()]


def _listed(folder: Path, but: Path) -> State:
    """All that lies in a folder but one file."""
    found = [Path(root) / name for root, folders, names in os.walk(folder) for name in (*folders, *names)]
    states = ((path, path.lstat()) for path in sorted(found) if path != but)
    return [(str(p), s.st_mode, 0 if p.is_dir() else s.st_size, 0 if p.is_dir() else s.st_mtime_ns) for p, s in states]


def _unclear(said: str) -> str:
    """What is wrong with a sentence; empty where nothing is."""
    try:
        said.encode()
    except UnicodeEncodeError:
        return f"Its sentence cannot be printed: {said!r}"
    if not said.strip() or "\n" in said or len(said) > 3000 or "\0" in said or "\x1b" in said:
        return f"Its sentence is not one line of visible characters: {said[:4000]!r}"
    return ""


@contextmanager
def in_time() -> Iterator[None]:
    """Raise what takes too long; end the process where even that is not heard."""

    def late(_signal: int, _frame: Any) -> None:
        raise TooLongError(f"It worked for more than {SECONDS} s.")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    # A thread that waits instead would have to be made and joined in each case, which takes longer than most cases.
    faulthandler.register(signal.SIGALRM, chain=True)
    signal.setitimer(signal.ITIMER_REAL, STUCK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.unregister(signal.SIGALRM)
        signal.signal(signal.SIGPROF, before)
