"""Gives every reader changed files for so many seconds: ``python -m tests.fuzz.fuzz --seconds 60``.

Each process runs cases of all readers in turn. A case that fails is kept in a folder with what went wrong, and its path is
printed; ``--again FILE`` runs one once more. A process that dies is a failure of the case that it was at, and another takes its
place.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
MEMORY = (6 + (os.cpu_count() or 1) // 2) * 2**30
"""Bytes of addresses that a process may take besides those of its libraries; duckdb reserves some for each core."""
LEAST_FREE = 4 * 2**30

ROUND = 8
_SEED_STEP = 1_000_003


def main() -> int:
    """Share the time out among processes, and say how many cases each reader had."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--readers", default="", help="Their names, separated by commas; all of them otherwise.")
    parser.add_argument("--failures", type=Path, default=Path(tempfile.gettempdir()) / f"workbench-fuzz-{os.getpid()}")
    parser.add_argument("--again", type=Path, help="A kept case.")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.again:
        return again(told.again)
    if told.worker:
        work(told.worker, told.seconds, told.seed, told.readers, told.failures)
        return 0
    return together(told)


def together(told: argparse.Namespace) -> int:
    """Run the processes; 1 where a case failed."""
    end, number, counts = time.monotonic() + told.seconds, 0, Counter[str]()
    with tempfile.TemporaryDirectory(prefix="workbench-fuzzing-", dir=memory_folder()) as place:
        alive: dict[Path, subprocess.Popen[bytes]] = {}
        while alive or time.monotonic() < end - 1:
            while len(alive) < told.processes and time.monotonic() < end - 1:
                own, number = Path(place) / str(number), number + 1
                own.mkdir()
                command = [
                    sys.executable, "-m", "tests.fuzz.fuzz", "--worker", str(own), "--seconds", str(end - time.monotonic()),
                    "--seed", str(told.seed + number * _SEED_STEP), "--readers", told.readers, "--failures", str(told.failures),
                ]  # fmt: skip
                with (own / "said").open("wb") as said:
                    alive[own] = subprocess.Popen(command, cwd=ROOT, stderr=said)
            time.sleep(0.2)
            for own in [own for own, process in alive.items() if process.poll() is not None]:
                counts.update(json.loads((own / "counts").read_text()) if (own / "counts").exists() else {})
                if code := alive.pop(own).returncode:
                    _died(own, code, told.failures)
    for name, count in sorted(counts.items()):
        print(f"{name:16} {count:>9,} cases")
    failures = sorted(told.failures.glob("*.why")) if told.failures.is_dir() else []
    print(f"{sum(counts.values()):,} cases of {len(counts)} readers, seed {told.seed}; {len(failures)} kinds of failures")
    for path in failures:
        print(path.with_suffix(""))
    return 1 if failures else 0


def memory_folder() -> str | None:
    """A file system in memory, where there is one with room: every case writes files, and none of them is kept."""
    place = Path("/dev/shm")
    with suppress(OSError):
        if os.access(place, os.W_OK) and shutil.disk_usage(place).free > LEAST_FREE:
            return str(place)
    return None


def _died(own: Path, code: int, failures: Path) -> None:
    said = (own / "said").read_text(errors="replace")[-6000:]
    reader = (own / "reader").read_text() if (own / "reader").exists() else "none"
    content = (own / "content").read_bytes() if (own / "content").exists() else b""
    keep(failures, reader, content, f"Its process ended with {code}.\n{said}")


def work(own: Path, seconds: float, seed: int, names: str, failures: Path) -> None:
    """Run cases until the time is over."""
    from tests.fuzz.checking import Checker
    from tests.fuzz.readers import READERS

    checker, counts, rng = Checker(own / "place"), Counter[str](), random.Random(seed)
    chosen = [READERS[name] for name in names.split(",") if name] or list(READERS.values())
    limit_memory()
    end = time.monotonic() + seconds
    spent = dict.fromkeys((reader.name for reader in chosen), 0.0)
    while time.monotonic() < end:
        # The reader that had the least time so far comes next: slow ones have fewer cases.
        reader = min(chosen, key=lambda one: spent[one.name])
        since = time.monotonic()
        for _ in range(ROUND):
            content = checker.case(reader, rng)
            (own / "reader").write_text(reader.name)
            (own / "content").write_bytes(content)
            if wrong := checker.check(reader, content):
                keep(failures, reader.name, content, wrong)
            counts[reader.name] += 1
        spent[reader.name] += time.monotonic() - since
        (own / "counts").write_text(json.dumps(counts))


def limit_memory() -> None:
    """A case that asks for more memory than there is gets an error, and the machine keeps its own."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, resource.RLIM_INFINITY))


def keep(failures: Path, reader: str, content: bytes, wrong: str) -> None:
    """Keep a case, unless one of the same kind is kept: that ends with the same lines."""
    import hashlib

    failures.mkdir(parents=True, exist_ok=True)
    # Where it went wrong tells kinds apart; values in the last line do not.
    lines = [line for line in wrong.splitlines() if line.strip().startswith("File ")] or [wrong[:60]]
    kind = hashlib.sha256("\n".join([reader, *lines[-3:]]).encode("utf-8", "replace")).hexdigest()[:10]
    path = failures / f"{reader.replace(' ', '-').replace('.', '-')}-{kind}"
    if not path.with_suffix(".why").exists():
        path.write_bytes(content)
        path.with_suffix(".why").write_text(f"{reader}\n{wrong}", errors="replace")


def again(path: Path) -> int:
    """Run a kept case once more; 1 where it still fails."""
    from tests.fuzz.checking import Checker
    from tests.fuzz.readers import READERS

    reader = READERS[path.with_suffix(".why").read_text().split("\n")[0]]
    with tempfile.TemporaryDirectory(prefix="workbench-fuzzing-") as place:
        wrong = Checker(Path(place)).check(reader, path.read_bytes())
    print(wrong or "It is read, or refused in one sentence.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
