"""Train, validation and test: 70, 15 and 15 in a hundred of the groups, the same in every process."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

SPLITS = ("train", "validation", "test")

# Other names of the splits in people's files.
_ALIASES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}

# With so few groups no share of 15 in a hundred exists: the order below keeps a test part first, then a
# validation part.
_FEW = {
    1: ("train",),
    2: ("train", "test"),
    3: ("train", "validation", "test"),
    4: ("train", "train", "validation", "test"),
}


def split_name(value: object) -> str | None:
    """The split that a person's own word means ("dev" is "validation"), or None where it means none."""
    return _ALIASES.get(str(value).strip().lower())


def stable_digest(text: str) -> str:
    """A hexadecimal digest of a text, the same on every machine (Python's ``hash`` is not)."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def assign_splits(groups: Iterable[str], salt: str = "") -> dict[str, str]:
    """The split of every distinct group.

    The groups are put in the order of their digest and cut at 70 % and 85 %, so that with five groups or more
    no split is empty, and a whole group always falls on one side.
    """
    order = sorted(set(groups), key=lambda group: stable_digest(f"{salt}\0{group}"))
    few = _FEW.get(len(order))
    if few is not None:
        return dict(zip(order, few, strict=True))
    return {group: _at((rank + 0.5) / len(order)) for rank, group in enumerate(order)}


def deal_out(groups: Sequence[str], alone: Sequence[bool]) -> list[str]:
    """The split of every row, given the group of every row: shares of 70, 15 and 15 in a hundred of the rows, by whole groups.

    Groups stand in the order of their digest, and each falls where the middle of its rows falls. With three groups or more no
    split is empty. Rows that are ``alone``, in no named group, are dealt out by themselves, so that one row without a group
    never takes the place of a whole group.
    """
    chosen: dict[str, str] = {}
    for side in (False, True):
        sizes = Counter(group for group, lone in zip(groups, alone, strict=True) if lone is side and group not in chosen)
        chosen |= _dealt(sizes)
    return [chosen[group] for group in groups]


def _dealt(sizes: Counter[str]) -> dict[str, str]:
    order = sorted(sizes, key=lambda group: stable_digest(f"\0{group}"))
    if not order:
        return {}
    if len(order) <= 3:
        largest = max(order, key=lambda group: sizes[group])
        others = [group for group in order if group != largest]
        return {largest: "train"} | dict(zip(others, _FEW[len(order)][1:], strict=True))
    total, before = sum(sizes.values()), 0
    found: dict[str, str] = {}
    for group in order:
        found[group] = _at((2 * before + sizes[group]) / (2 * total))
        before += sizes[group]
    for needed in ("test", "validation"):
        if needed not in found.values():
            parts = Counter(found.values())
            movable = [group for group in reversed(order) if parts[found[group]] > 1]
            found[min(movable, key=lambda group: sizes[group])] = needed
    return found


def split_by_group(groups: Sequence[str], salt: str = "") -> list[str]:
    """The split of every row, given the group of every row."""
    chosen = assign_splits(groups, salt)
    return [chosen[group] for group in groups]


def _at(place: float) -> str:
    return "train" if place < 0.70 else "validation" if place < 0.85 else "test"
