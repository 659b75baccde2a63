"""Hostile parts of a run, with checksums that are right: graphs, heads, small models, views, edits of heads."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save

from tests.store.hostile import DEEP, RUN, Change, sql

FACTS: dict[str, Any] = {"outputs": ["left", "right"], "concepts": [0], "label": "kind", "task": "classes", "pool": "mean"}
HEAD = {"kind": "linear", "package": "", "facts": FACTS}
ONE = {"weights": torch.ones(2, 1), "bias": torch.zeros(2)}


def added(**files: bytes | str | dict[str, Any] | list[Any]) -> Change:
    """Files of a run, entered into its checksums; ``__`` in a name is a folder's slash, and ``_ending`` its dot."""

    def change(folder: Path, _own: Path) -> None:
        home = sorted(folder.glob(RUN))[0]
        sums = json.loads((home / "checksums.json").read_text())
        for name, content in files.items():
            stem, _, ending = name.replace("__", "/").rpartition("_")
            path = home / f"{stem}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(content) if isinstance(content, dict | list) else content
            path.write_bytes(text.encode() if isinstance(text, str) else text)
            sums[f"{stem}.{ending}"] = hashlib.sha256(path.read_bytes()).hexdigest()
        (home / "checksums.json").write_text(json.dumps(sums))

    return change


def view(kind: str, **fields: Any) -> Change:
    return added(views_json=[{"kind": kind, "package": "", "view": {"title": "v"} | fields}])


def head(about: Any, tensors: dict[str, torch.Tensor] | None = None) -> Change:
    return added(heads__x__head_json=about, heads__x__weights_safetensors=save(ONE if tensors is None else tensors))


def facts(**changed: Any) -> dict[str, Any]:
    return HEAD | {"facts": FACTS | changed}


def graph(nodes: dict[str, Any], edges: dict[str, Any]) -> Change:
    files = []
    for table in (nodes, edges):
        files.append(io.BytesIO())
        pd.DataFrame(table).to_parquet(files[-1], index=False)
    return added(graphs__x__nodes_parquet=files[0].getvalue(), graphs__x__edges_parquet=files[1].getvalue())


NODES = {"id": ["a"], "type": ["t"]}
EDGE = {"source": ["a"], "target": ["a"], "weight": [1.0]}
BROKEN: dict[str, Change] = {
    "views of an object": added(views_json={}),
    "views of text": added(views_json="not json"),
    "views nested": added(views_json=DEEP),
    "views without end": added(views_json=[{"kind": "graph", "package": "", "view": {"title": "v", "graph": "g"}}] * 300),
    "view of a path": view("table", table="../../victim"),
    "view of an absolute path": view("head", head="/etc/passwd"),
    "view of numbers": view("curve", table=1, x=2, y=3),
    "view of another field": view("graph", graph="x", href="http://a.example"),
    "view without a title": added(views_json=[{"kind": "graph", "package": "", "view": {"graph": "x"}}]),
    "title of a megabyte": view("graph", graph="x", title="x" * 2**20),
    "head of a list": head([]),
    "head without weights": added(heads__x__head_json=HEAD),
    "head without a file": added(heads__x__weights_safetensors=save(ONE)),
    "head of other weights": head(HEAD, {"weights": torch.ones(3, 7), "bias": torch.zeros(2)}),
    "head of another bias": head(HEAD, {"weights": torch.ones(2, 1), "bias": torch.zeros(9)}),
    "head of no numbers": head(HEAD, {"weights": torch.full((2, 1), float("nan")), "bias": torch.zeros(2)}),
    "head of no outputs": head(facts(outputs=[])),
    "head of one name twice": head(facts(outputs=["a", "a"])),
    "head of concepts below": head(facts(concepts=[-1])),
    "head of huge concepts": head(facts(concepts=[2**70])),
    "head of another pool": head(facts(pool="exec")),
    "graph to nowhere": graph(NODES, EDGE | {"target": ["b"]}),
    "graph of infinite weight": graph(NODES, EDGE | {"weight": [float("inf")]}),
    "graph of words": graph(NODES, EDGE | {"weight": ["heavy"]}),
    "graph of numbers": graph({"id": [1], "type": [2]}, EDGE),
    "graph of bytes": added(graphs__x__nodes_parquet=b"PAR1", graphs__x__edges_parquet=b""),
    "graph without edges": added(graphs__x__nodes_parquet=b"PAR1"),
    "model of a list": added(models__x__model_json=[], models__x__weights_safetensors=save(ONE)),
    "model without a file": added(models__x__weights_safetensors=save(ONE)),
}  # fmt: skip
"""What a check of the study finds broken."""
ABSENT: dict[str, Change] = {
    "view of a module": view("os:system", argument="touch victim.txt"),
    "head of a module": head(HEAD | {"kind": "os:system", "package": "os"}),
    "head of a class": head(HEAD | {"kind": "workbench.concepts.head:LinearHead"}),
    "model of a module": added(
        models__x__model_json={"kind": "torch.load", "package": "torch", "config": {"f": "/etc/passwd"}},
        models__x__weights_safetensors=save(ONE),
    ),
}
"""What is of a kind that nobody has installed: it is looked up by its name among entry points, and nothing is imported by it."""
EDITS: dict[str, Change] = {
    "edit of itself": sql('UPDATE runs SET analysis = \'edit_head\', config = \'{"run": "\' || id || \'", "head": "x"}\''),
    "edit of nothing": sql("UPDATE runs SET analysis = 'edit_head', config = '{}'"),
    "edit of a path": sql('UPDATE runs SET analysis = \'edit_head\', config = \'{"run": "../../victim", "head": "../x"}\''),
}
PARTS = {f"part: {name}": change for name, change in (BROKEN | ABSENT | EDITS).items()}
