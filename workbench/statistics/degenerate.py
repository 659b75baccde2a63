"""Directions that say little: one that is a single coordinate, and a set whose directions are nearly one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

ONE_COORDINATE = 0.5
"""Share of a direction's squared norm on one coordinate from which it is called that coordinate."""
ONE_DIRECTION = 0.9
"""Mean absolute cosine between the directions of a set from which they are called nearly one."""
_FEWEST = 8
"""Coordinates below which one of them may well hold most of a direction."""
_COMPARED = 512
"""Directions of a set that are compared with each other; of more, every n-th."""


def largest_coordinate(direction: Float[np.ndarray, " d"]) -> tuple[int, float]:
    """The coordinate that holds most of a direction's squared norm, and its share; 0 of a direction of no length."""
    squares = np.square(np.asarray(direction, dtype=np.float64))
    place, most, total = int(squares.argmax()), float(squares.max()), float(squares.sum())
    return place, most / total if total > 0 else 0.0


def mean_cosine(directions: Float[np.ndarray, "c d"]) -> float:
    """Mean absolute cosine over pairs of directions; nan for fewer than two. Of more than 512, every n-th is compared."""
    chosen = np.asarray(directions[:: -(-len(directions) // _COMPARED)] if len(directions) else directions, dtype=np.float64)
    length = np.linalg.norm(chosen, axis=1)
    chosen = chosen[length > 0] / length[length > 0, None]
    count = len(chosen)
    if count < 2:
        return float("nan")
    # The diagonal is the cosine of each with itself.
    return float((np.abs(chosen @ chosen.T).sum() - count) / (count * (count - 1)))


def remarks(directions: Float[np.ndarray, "c d"], number: int) -> list[str]:
    """What has to be read with the numbers of one concept of a set, as sentences; none for an ordinary one.

    Args:
        directions: ``[c, d]``, of the whole set.
        number: The concept's row.
    """
    found = []
    place, share = largest_coordinate(directions[number])
    if share > ONE_COORDINATE and directions.shape[1] >= _FEWEST:
        found.append(
            f"{share:.0%} of this direction's squared norm is coordinate {place} alone. It may stand for that coordinate rather"
            " than for the concept; compare with what the coordinate does by itself."
        )
    cosine = mean_cosine(directions)
    if cosine > ONE_DIRECTION:
        found.append(
            f"The {len(directions):,} directions of this set are nearly one (mean absolute cosine {cosine:.3f}): what holds for"
            " one holds for all, and none is evidence of its own."
        )
    return found
