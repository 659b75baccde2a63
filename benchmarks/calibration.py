"""Does every p value, interval and threshold of the product hold? Worlds with nothing to find, and with something planted.

Run with `make bench NAME=calibration`; it writes `docs/calibration.md` and what the app shows of it. `DRAWS=2000` makes a short
one. `ONLY="tcav;causes"` measures those scores alone and leaves the others in the table; a setting may follow a score's name:
`ONLY="detects.auroc few long"`. `KEEP=folder` keeps the draws of each case there, so that a run that was stopped goes on where it
was.
"""

from __future__ import annotations

import json
import os
import platform
import re
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path

import torch

from benchmarks.calibrate.cases import cases
from benchmarks.calibrate.table import together, write
from benchmarks.calibrate.trials import Case, Judged, Trials, joined, judge, load, save

DRAWS = 100_000
FEWEST = 2_000
"""Draws below which a table is not written."""
PART = 2_500
FEWEST_PARTS = 16


def drawn(index: int, draws: int, seed: int) -> Trials:
    """A part of the draws of one case, in a process of its own."""
    torch.set_num_threads(1)
    return cases()[index].draw(draws, seed)


def calibrate(chosen: list[int], draws: int) -> list[Judged]:
    """Draw and judge the cases of some numbers."""
    every: list[tuple[Case, Trials]] = []
    kept = Path(os.environ["KEEP"]) if "KEEP" in os.environ else None
    with ProcessPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        waiting = []
        for index in chosen:
            case = cases()[index]
            count = min(draws, case.most)
            if kept and (path := _most(kept, case, count)):
                every.append((case, load(path)))
                continue
            size = min(PART, -(-count // FEWEST_PARTS))
            parts = [pool.submit(drawn, index, size, 1000 * index + part) for part in range(-(-count // size))]
            waiting.append((case, parts))
        start = time.monotonic()
        while waiting:
            # What is done is kept at once, whichever it is: a run that is stopped loses little.
            wait([part for _, parts in waiting for part in parts if not part.done()], 5, FIRST_COMPLETED)
            for case, parts in [one for one in waiting if all(part.done() for part in one[1])]:
                waiting.remove((case, parts))
                trials = joined([part.result() for part in parts])
                every.append((case, trials))
                if kept:
                    save(trials, kept / _name(case, min(draws, case.most)))
                print(f"{case.metric:22s} {case.setting:36s} {time.monotonic() - start:6.0f} s", flush=True)
    place = {(case.metric, case.setting): number for number, case in enumerate(cases())}
    every.sort(key=lambda one: place[one[0].metric, one[0].setting])
    numbers = sum(len(judge(case, trials, 1)) for case, trials in every)
    return [number for case, trials in every for number in judge(case, trials, numbers)]


def _most(kept: Path, case: Case, count: int) -> Path | None:
    """The file with most draws of a case, if they are as many as are wanted."""
    found = {int(path.stem.rsplit("-", 1)[1]): path for path in kept.glob(_name(case, 0).replace("-0.npz", "-[0-9]*.npz"))}
    return found[max(found)] if found and max(found) >= count else None


def _name(case: Case, draws: int) -> str:
    return f"{re.sub('[^a-z0-9]+', '-', f'{case.metric} {case.setting}'.lower())}-{draws}.npz"


def main() -> None:
    """Measure, print, and write the table."""
    draws, only = int(os.environ.get("DRAWS", DRAWS)), os.environ.get("ONLY", "")
    chosen = [i for i, case in enumerate(cases()) if f"{case.metric} {case.setting}".startswith(tuple(only.split(";")))]
    found = calibrate(chosen, draws)
    for one in found:
        if not one.ok or only:
            print(
                f"{'ok' if one.ok else 'FAILS'}: {one.metric}, {one.setting}: {one.what} {one.value:.4f} (limit {one.limit:.4f})"
            )
    if draws >= FEWEST:
        root = Path(__file__).parent.parent
        write(together(found, root) if only else found, root)
    result = {
        "name": "calibration", "setting": f"{draws} draws a p value, {len(chosen)} cases", "unit": "numbers that hold",
        "ours": sum(one.ok for one in found), "peers": {}, "ratio": {}, "equal": f"of {len(found)} numbers",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
