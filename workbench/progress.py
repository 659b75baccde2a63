"""Progress of work, and estimates of the time left."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence

Progress = Callable[[int, int, str], None]
"""Called with the work done so far, the whole work, and a text.

Work is counted in units that take about the same time each: tokens or characters read, passes, steps. The text is the name of
the step; what changes while it runs follows after a comma and a space (``training 2,048 latents, loss 0.213``).
"""

# No estimate before this share of the work is done.
_LEAST_SHARE = 0.01
# Units of a step whose parts count in units of their own.
UNITS = 1_000_000
# Characters that stand for the tokens which the tokenizer adds to a text, and the usual characters of a token.
_TEXT_OVERHEAD, CHARACTERS_A_TOKEN = 12, 4.0


def silent(_done: int, _total: int, _text: str) -> None:
    """A progress callback that shows nothing."""


def step_name(text: str) -> str:
    """The name of the step that a progress text is about, without what changes while it runs."""
    return text.split(", ", maxsplit=1)[0]


def part_of(progress: Progress | None, before: int, total: int) -> Progress:
    """A callback for one part of a step: work is counted on from ``before``, and out of ``total``."""
    if progress is None:
        return silent
    return lambda done, _total, text: progress(before + done, total, text)


def shares(progress: Progress, sizes: Sequence[float], name: str = "") -> list[Progress]:
    """A callback for each of the parts of one step, done one after another, whose sizes say about how long each takes.

    A part counts in units of its own. With the name of the step, what a part says of itself follows it.
    """
    whole, before = max(sum(sizes), 1e-9), 0.0

    def part(begin: float, size: float) -> Progress:
        def show(done: int, total: int, text: str) -> None:
            share = (begin + size * done / max(total, 1)) / whole
            progress(round(UNITS * min(share, 1.0)), UNITS, f"{name}, {text}" if name else text)

        return show

    parts = []
    for size in sizes:
        parts.append(part(before, size))
        before += size
    return parts


def adding(progress: Progress | None, total: int, text: str) -> Callable[[int], None]:
    """A function that is called with each amount of work that was done, and shows how much of the whole that makes."""
    done = 0

    def add(amount: int) -> None:
        nonlocal done
        done += amount
        if progress is not None:
            progress(min(done, total), total, text)

    add(0)
    return add


def text_work(inputs: Sequence[object], max_length: int = 0, characters_a_token: float = CHARACTERS_A_TOKEN) -> list[int]:
    """About how much work it is to read each input: the characters of a text, as far as a model of ``max_length`` tokens reads
    it, plus a constant; the same for every image."""
    most = max(1, round(max_length * characters_a_token)) if max_length else None
    return [_TEXT_OVERHEAD + (len(item[:most]) if isinstance(item, str) else 0) for item in inputs]


def batch_work(work: Sequence[int], size: int) -> list[int]:
    """The work of each batch of ``size`` inputs, in their order: every input of a batch is padded to its longest."""
    parts = [work[begin : begin + size] for begin in range(0, len(work), size)]
    return [len(part) * max(part) for part in parts]


class TimeLeft:
    """Estimates how long the current step still takes, from the time that the later half of the work done so far took.

    A slow beginning is soon forgotten, and so is a machine that had more to do, or less, than it has now. A new step begins when
    its name changes, when its whole work changes, or when the work done falls back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.name = ""
        self._total = self._last = 0
        # The work done and the time at each update of this step.
        self._done: list[int] = [0]
        self._times: list[float] = [0.0]

    def update(self, done: int, total: int, text: str) -> bool:
        """Note how far the step is; true when it is a new one."""
        name = step_name(text)
        new = name != self.name or total != self._total or done < self._last
        if new:
            self.name, self._total, self._done, self._times = name, total, [], []
        if new or done > self._last:
            self._done.append(done)
            self._times.append(self._clock())
        self._last = done
        return new

    @property
    def elapsed(self) -> float:
        """Seconds since the step began."""
        return self._clock() - self._times[0]

    @property
    def seconds(self) -> float | None:
        """Seconds left, or None where too little is done to tell."""
        first = self._done[0]
        did = self._last - first
        if self._last >= self._total or did <= 0 or did < _LEAST_SHARE * (self._total - first):
            return 0.0 if self._total and self._last >= self._total else None
        half = bisect_right(self._done, first + did / 2) - 1
        rate = (self._times[-1] - self._times[half]) / (self._last - self._done[half])
        return rate * (self._total - self._last)


def with_time_left(text: str, seconds: float | None) -> str:
    """A progress text with the time left, where that is known."""
    return f"{text}, {time_text(seconds)} left" if seconds else text


def time_text(seconds: float) -> str:
    """A duration for a person: ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
