"""Graphs of concepts, features, tokens and outputs: typed nodes and weighted, typed edges, as two tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from workbench.errors import DataError
from workbench.numbers import counted
from workbench.parquet import read_parquet
from workbench.paths import shown
from workbench.shapes import ShapeError, reading

NODES_FILE, EDGES_FILE = "nodes.parquet", "edges.parquet"
AGAIN = "Run the analysis again."


class Graph:
    """A directed graph.

    Args:
        nodes: One row a node: ``id`` and ``type`` as texts, and any of ``label``, which a drawing shows; ``concept``, the number
            of a concept of the run; ``x`` and ``y``, its place in a drawing; and columns of the method's own.
        edges: One row an edge: ``source`` and ``target``, ids of nodes; ``weight``, a finite number; and any of ``type`` and
            columns of the method's own.

    Raises:
        DataError: A column is missing, an id stands twice, an edge ends at no node, or a weight is no finite number.
    """

    def __init__(self, nodes: pd.DataFrame, edges: pd.DataFrame) -> None:
        if problem := next(_problems(nodes, edges), ""):
            raise DataError(f"This is no graph: {problem}.")
        self.nodes, self.edges = nodes.reset_index(drop=True), edges.reset_index(drop=True)

    def __len__(self) -> int:
        return len(self.nodes)

    def strongest(self, count: int) -> Graph:
        """The edges of largest absolute weight, with the nodes at their ends, and as many more nodes as there is room for."""
        order = self.edges["weight"].abs().sort_values(ascending=False, kind="stable").index[:count]
        edges = self.edges.loc[sorted(order)]
        ends = self.nodes["id"].isin({*edges["source"], *edges["target"]})
        more = np.flatnonzero(~ends)[: max(count - int(ends.sum()), 0)]
        kept = ends.to_numpy(copy=True)
        kept[more] = True
        return Graph(self.nodes[kept], edges)

    def save(self, folder: Path) -> None:
        """Write the graph into ``folder``, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        self.nodes.to_parquet(folder / NODES_FILE, index=False, compression="zstd")
        self.edges.to_parquet(folder / EDGES_FILE, index=False, compression="zstd")

    @staticmethod
    def load(folder: Path) -> Graph:
        """Read a graph that :meth:`save` wrote.

        Raises:
            StudyError: The folder holds none.
        """
        with reading(f"The graph {shown(folder.name)}", AGAIN):
            nodes, edges = read_parquet(folder / NODES_FILE), read_parquet(folder / EDGES_FILE)
            if problem := next(_problems(nodes, edges), ""):
                raise ShapeError(problem)
        return Graph(nodes, edges)

    def __repr__(self) -> str:
        return f"<Graph: {counted(len(self.nodes), 'node')}, {counted(len(self.edges), 'edge')}>"


def _problems(nodes: pd.DataFrame, edges: pd.DataFrame) -> Iterator[str]:
    for what, table, needed in (("nodes", nodes, ("id", "type")), ("edges", edges, ("source", "target", "weight"))):
        if missing := next((column for column in needed if column not in table), None):
            yield f"its {what} lack the column '{missing}'"
            return
        texts = [c for c in ("id", "type", "label", "source", "target") if c in table]
        if wrong := next((c for c in texts if not table[c].map(lambda value: isinstance(value, str)).all()), None):
            yield f"the column '{wrong}' of its {what} holds something else than texts"
            return
    numbers = [(nodes, "x"), (nodes, "y"), (edges, "weight")]
    for table, column in numbers:
        if column in table and not (is_numeric_dtype(table[column]) and np.isfinite(table[column].to_numpy(float)).all()):
            yield f"the column '{column}' holds what is no finite number"
    if nodes["id"].duplicated().any():
        yield f"two nodes are called {shown(nodes['id'][nodes['id'].duplicated()].iloc[0])}"
    known = set(nodes["id"])
    if lost := next((end for column in ("source", "target") for end in edges[column] if end not in known), None):
        yield f"an edge ends at {shown(lost)}, which is no node"
