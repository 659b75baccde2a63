"""Neighbours outside a row's own cluster, and the estimate of Ross (2014) from them for many labellings at once.

Rows of one document are near each other and share labels, and copies of a text are the same row several times: as each other's
neighbours they would read as information about any label that follows documents, a random one too. So the neighbours of a row
are sought among the rows of other clusters. Where every row is its own cluster this is the usual estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.spatial.distance import cdist
from scipy.special import digamma

from workbench.errors import ConfigError
from workbench.statistics.clusters import cluster_ids

MOST_ROWS = 5000
"""Rows whose neighbours are kept in order: 100 MB."""

_ROWS = 512
"""Rows whose distances to all others are held at once."""
_SAME = 1e-4
"""Deviations within which rows of one cluster are copies."""
_LATE = 0.08
"""Share of the rows below which those that still seek a neighbour are looked at one by one."""
_LOOKED = 240
"""Neighbours that are looked at for all rows together, at most."""
_WINDOW = 64
_CELLS = 1 << 22


def distinct(
    X: Float[np.ndarray, "n d"], clusters: Shaped[np.ndarray, " n"], labels: Shaped[np.ndarray, " n"] | None = None
) -> Int[np.ndarray, " k"]:
    """The rows without those that repeat another of their cluster and label, to 1e-4 of a feature's unit; ascending."""
    ids, _ = cluster_ids(clusters, len(X))
    parts = [np.round(X / _SAME), ids[:, None]]
    if labels is not None:
        parts.append(np.unique(labels, return_inverse=True)[1][:, None])
    return np.sort(np.unique(np.concatenate(parts, axis=1), axis=0, return_index=True)[1])


def apart(
    X: Float[np.ndarray, "k d"], Y: Float[np.ndarray, "n d"], own: Int[np.ndarray, " k"], other: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "k n"]:
    """Distances in the maximum norm; infinite between rows of one cluster."""
    distance = cdist(X, Y, "chebyshev")
    distance[own[:, None] == other] = np.inf
    return distance


@dataclass(frozen=True)
class Neighbours:
    """The rows of other clusters, for each row the nearest first.

    Attributes:
        order: ``[n, n]`` row numbers; the rows of its own cluster stand last.
        ids: ``[n]`` cluster of each row, numbered from 0.
        outside: ``[n]`` how many rows lie in other clusters.
        psi: ``[n + 2]`` digamma of 0 (nan), 1, 2, ...
    """

    order: Int[np.ndarray, "n n"]
    ids: Int[np.ndarray, " n"]
    outside: Int[np.ndarray, " n"]
    psi: Float[np.ndarray, " m"]

    @classmethod
    def of(cls, X: Float[np.ndarray, "n d"], clusters: Shaped[np.ndarray, " n"] | None) -> Neighbours:
        """Sort the neighbours of rows in the maximum norm.

        Raises:
            ConfigError: There are more rows than `MOST_ROWS`.
        """
        n = len(X)
        if n > MOST_ROWS:
            raise ConfigError(
                f"Neighbours in other clusters are sought among at most {MOST_ROWS:,} rows, not {n:,}: sample some."
            )
        ids, _ = cluster_ids(clusters, n)
        order = np.empty((n, n), dtype=np.int32)
        for start in range(0, n, _ROWS):
            part = slice(start, start + _ROWS)
            order[part] = np.argsort(apart(X[part], X, ids[part], ids), axis=1)
        psi = np.concatenate([[np.nan], digamma(np.arange(1, n + 2))])
        return cls(order, ids, n - np.bincount(ids)[ids], psi)

    def terms(self, labels: Int[np.ndarray, "n b"], k: int) -> Float[np.ndarray, "n b"]:
        """The term of each row for each labelling, in nats: their mean is the estimate.

        ``psi(N) + psi(k) - psi(N_y) - psi(m)``: N and N_y count the rows of other clusters, and those of them with the row's
        label, and the row itself; m is the place of the k-th of the latter among the former. Where there are fewer than k, all
        are used; nan where there is none.
        """
        labels = np.ascontiguousarray(labels.astype(np.min_scalar_type(int(labels.max()))))
        alike = self._alike(labels)
        needed = np.minimum(alike, k).astype(np.uint16)
        place = self._places(labels, needed)
        psi = self.psi
        return psi[self.outside + 1][:, None] + psi[needed] - psi[alike + 1] - np.where(needed > 0, psi[place], np.nan)

    def _alike(self, labels: Int[np.ndarray, "n b"]) -> Int[np.ndarray, "n b"]:
        """Rows of other clusters with the row's label."""
        by_cluster = np.argsort(self.ids, kind="stable")
        starts = np.searchsorted(self.ids[by_cluster], np.arange(self.ids.max() + 1))
        alike = np.zeros(labels.shape, dtype=np.int64)
        for value in range(int(labels.max()) + 1):
            holds = labels == value
            inside = np.add.reduceat(holds[by_cluster], starts, axis=0, dtype=np.int32)
            np.copyto(alike, (inside.sum(axis=0) - inside)[self.ids], where=holds)
        return alike

    def _places(self, labels: Int[np.ndarray, "n b"], needed: Int[np.ndarray, "n b"]) -> Int[np.ndarray, "n b"]:
        """The place, from 1, of each row's needed neighbour of its own label among its neighbours of any label."""
        # One byte a row and draw: this loop is most of the time of a null.
        found, place, few = (np.zeros(labels.shape, dtype=np.uint8) for _ in range(3))
        np.minimum(needed, _LOOKED + 1, out=few, casting="unsafe")
        position = 0
        for position in range(min(len(labels), _LOOKED)):
            found += (labels[self.order[:, position]] == labels).view(np.uint8)
            seeking = found < few
            place += seeking.view(np.uint8)
            if position % 8 == 7 and seeking.mean() < _LATE:
                break
        places = place.astype(np.uint16) + 1
        self._late(labels, needed, found, places, position + 1)
        return places

    def _late(
        self,
        labels: Int[np.ndarray, "n b"],
        needed: Int[np.ndarray, "n b"],
        found: Int[np.ndarray, "n b"],
        places: Int[np.ndarray, "n b"],
        position: int,
    ) -> None:
        """Finish the rows that are still seeking, in windows of twice the width each: a rare label's neighbours are far down."""
        row, draw = np.nonzero(found < needed)
        left = (needed[row, draw] - found[row, draw]).astype(np.uint16)
        width = _WINDOW
        while len(row):
            window = slice(position, position + width)
            pending = []
            for start in range(0, len(row), max(1, _CELLS // width)):
                part = slice(start, start + max(1, _CELLS // width))
                own = labels[row[part], draw[part]][:, None]
                same = labels[self.order[row[part], window], draw[part, None]] == own
                seen = np.cumsum(same, axis=1, dtype=np.uint16)
                reached = seen[:, -1] >= left[part]
                at = position + 1 + (seen >= left[part, None]).argmax(axis=1)
                places[row[part][reached], draw[part][reached]] = at[reached]
                left[part] -= np.where(reached, 0, seen[:, -1]).astype(np.uint16)
                pending.append(np.flatnonzero(~reached) + start)
            kept = np.concatenate(pending)
            row, draw, left = row[kept], draw[kept], left[kept]
            position, width = position + width, 2 * width
