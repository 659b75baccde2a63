"""What a part of the calibration gives for one score in one setting, and how it is judged."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.stats import binom

LEVELS = (0.05, 0.01, 0.001)
ABOVE = "above the 95th percentile"
RATES = {f"p <= {level:g}": level for level in LEVELS} | {ABOVE: 0.05}
"""How often what there is to count happens by chance."""
COVERAGE = 0.93
"""The least coverage of an interval of 95%."""
POWER = 0.8
"""The least share of the reference test's power."""


@dataclass(frozen=True)
class Trials:
    """Draws of one score in one setting. Arrays are of any length; nan where the score refuses to answer.

    Attributes:
        p: p values where there is nothing to find.
        above: Whether the value was above the 95th percentile of its null, where there is nothing to find.
        covered: Whether intervals held the truth.
        power: By the size of a planted effect, the p values of ours and those of the reference test on the same draws.
        reference: What the reference test is.
    """

    p: Float[np.ndarray, " d"] | None = None
    above: np.ndarray | None = None
    covered: np.ndarray | None = None
    power: Mapping[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    reference: str = ""


@dataclass(frozen=True)
class Case:
    """One row of the table: a score in a setting. ``draw(draws, seed)`` gives about so many draws, of at most ``most`` in all."""

    metric: str
    setting: str
    draw: Callable[[int, int], Trials]
    most: int = 100_000


@dataclass(frozen=True)
class Judged:
    """One number of the table with its limit, and the day it was measured; ``ok`` where it holds."""

    metric: str
    setting: str
    what: str
    draws: int
    value: float
    limit: float
    ok: bool
    date: str = field(default_factory=lambda: str(dt.date.today()))


def judge(case: Case, trials: Trials, numbers: int) -> list[Judged]:
    """Every number of a case against its limit; limits are simultaneous over ``numbers`` numbers of the table at 95%."""
    found: list[Judged] = []

    def add(what: str, draws: int, value: float, limit: float, ok: bool) -> None:
        found.append(Judged(case.metric, case.setting, what, draws, value, limit, ok))

    def count(what: str, happened: np.ndarray) -> None:
        limit = _limit(what, len(happened), numbers)
        add(what, len(happened), float(happened.mean()), limit, float(happened.mean()) <= limit)

    for level in LEVELS if trials.p is not None else ():
        p = _known(trials.p)
        # Fewer draws than would give twenty at the level say little of it.
        if len(p) * level >= 20 or level == LEVELS[0]:
            count(f"p <= {level:g}", p <= level)
    if trials.above is not None and len(above := _known(trials.above)):
        count(ABOVE, above)
    if trials.covered is not None and len(covered := _known(trials.covered)):
        add("interval covers", len(covered), float(covered.mean()), COVERAGE, float(covered.mean()) >= COVERAGE)
    for effect, (ours, theirs) in trials.power.items():
        own, reference = (float((_known(p) <= 0.05).mean()) for p in (ours, theirs))
        add(
            f"power at {effect} ({trials.reference}: {reference:.2f})",
            len(ours),
            own,
            POWER * reference,
            own >= POWER * reference,
        )
    return found


def among(one: Judged, numbers: int) -> Judged:
    """A number judged again, in a table of so many numbers."""
    if one.what not in RATES:
        return one
    limit = _limit(one.what, one.draws, numbers)
    # The value may have been rounded when it was written.
    return replace(one, limit=limit, ok=round(one.value, 5) <= round(limit, 5))


def _limit(what: str, draws: int, numbers: int) -> float:
    return float(binom.ppf(1 - 0.05 / numbers, draws, RATES[what])) / draws


def _known(values: np.ndarray | None) -> np.ndarray:
    values = np.asarray(values, dtype=float).ravel()
    return values[np.isfinite(values)]


def save(trials: Trials, path: Path) -> None:
    """Keep draws in a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    own = {name: value for name in ("p", "above", "covered") if (value := getattr(trials, name)) is not None}
    powers = {f"power {side} {effect}": pair[side] for effect, pair in trials.power.items() for side in (0, 1)}
    np.savez_compressed(path, reference=np.array(trials.reference), **own, **powers)


def load(path: Path) -> Trials:
    """Read what :func:`save` kept."""
    with np.load(path) as kept:
        own = {name: kept.get(name) for name in ("p", "above", "covered")}
        effects = dict.fromkeys(name.split(" ", 2)[2] for name in kept if name.startswith("power"))
        power = {effect: (kept[f"power 0 {effect}"], kept[f"power 1 {effect}"]) for effect in effects}
        return Trials(**own, power=power, reference=str(kept["reference"]))


def joined(parts: list[Trials]) -> Trials:
    """Draws of one case that were made in parts."""
    first = parts[0]

    def together(name: str) -> np.ndarray | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else np.concatenate([np.asarray(v, dtype=float).ravel() for v in values])

    power = {
        effect: tuple(np.concatenate([np.ravel(part.power[effect][i]) for part in parts]) for i in (0, 1))
        for effect in first.power
    }
    return Trials(together("p"), together("above"), together("covered"), power, first.reference)  # type: ignore[arg-type]
