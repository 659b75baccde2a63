"""Several sides measured turn and turn about, and the one line that tells how they compare."""

from __future__ import annotations

import gc
import json
import os
import platform
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

Side = Callable[[], Callable[[], int]]
"""Makes ready what is then timed; that does its work and returns how many units it was."""


@dataclass
class Speed:
    """Units a second of one side, round by round."""

    wall: list[float] = field(default_factory=list)
    """By the clock."""
    cpu: list[float] = field(default_factory=list)
    """By the processor time of the process, all threads together: what others do on the machine hardly shows in it."""


def turn_about(sides: Mapping[str, Side], rounds: int) -> dict[str, Speed]:
    """The speed of every side. Every round has an order of its own, or a side would always find the memory as the same other one
    left it; one round before them is not counted."""
    speeds = {name: Speed() for name in sides}
    order = random.Random(0)
    for number in range(-1, rounds):
        for name in order.sample(list(sides), len(sides)):
            work = sides[name]()
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            units = work()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if number >= 0:
                speeds[name].wall.append(units / wall)
                speeds[name].cpu.append(units / cpu)
    return speeds


def report(name: str, setting: str, unit: str, ours: str, peers: Sequence[str], speeds: Mapping[str, Speed], **more: Any) -> str:
    """One JSON line: medians, the ratio of medians by the clock, the least and greatest ratio of a round, and the ratio by
    processor time."""
    own = speeds[ours]
    line = {
        "name": name,
        "setting": setting,
        "unit": unit,
        "ours": round(median(own.wall)),
        "peers": {peer: round(median(speeds[peer].wall)) for peer in peers},
        "ratio": {peer: round(median(own.wall) / median(speeds[peer].wall), 2) for peer in peers},
        "spread": {peer: _spread(own, speeds[peer]) for peer in peers},
        "ratio by processor time": {peer: round(median(own.cpu) / median(speeds[peer].cpu), 2) for peer in peers},
        **more,
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores,"
        f" {torch.get_num_threads()} threads of torch",
    }
    return json.dumps(line)


def _spread(own: Speed, peer: Speed) -> list[float]:
    ratios = [one / other for one, other in zip(own.wall, peer.wall, strict=True)]
    return [round(min(ratios), 2), round(max(ratios), 2)]
