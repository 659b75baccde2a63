"""Train, validation and test: 70, 15 and 15 in a hundred of the groups, the same in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

SPLITS = ("train", "validation", "test")

# What people call the three in their own files.
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

# With so few groups no share of 15 in a hundred exists: the order below keeps a test part first, then a validation part.
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

    The groups are put in the order of their digest and cut at 70 % and 85 %, so that with five groups or more no split
    is empty, and a whole group always falls on one side.
    """
    order = sorted(set(groups), key=lambda group: stable_digest(f"{salt}\0{group}"))
    few = _FEW.get(len(order))
    if few is not None:
        return dict(zip(order, few, strict=True))
    return {group: _at((rank + 0.5) / len(order)) for rank, group in enumerate(order)}


def split_by_group(groups: Sequence[str], salt: str = "") -> list[str]:
    """The split of every row, given the group of every row."""
    chosen = assign_splits(groups, salt)
    return [chosen[group] for group in groups]


def _at(place: float) -> str:
    return "train" if place < 0.70 else "validation" if place < 0.85 else "test"
