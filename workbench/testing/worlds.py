"""Worlds with known truth: studies whose activations were made from directions, labels and noise, without a model.

Texts are words of a small vocabulary, a row is a word, and every text is a document of its own. Their labels ``kind`` and
``coin 1`` to ``coin 6`` are coins, of which only the first is in the activations. With a strength of 0 the same texts, labels and
noise are there, and nothing is planted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from workbench.activations import ActivationSet
from workbench.activations.manifest import Request
from workbench.activations.writer import writing
from workbench.datasets import Dataset
from workbench.opening import open_study
from workbench.study import Study

WORDS = ("alpha", "beta", "gamma", "delta", "omega", "kappa", "sigma", "theta")
SPLITS = ("train", "train", "validation", "test")
WIDTH, COINS = 24, 6


@dataclass(frozen=True)
class World:
    """A study, and what was planted in its activations.

    Attributes:
        study: The open study.
        activations: Its activation set; ``activations.at(site)`` has one site.
        dataset: The texts, with the labels ``kind=left`` (of examples) and ``token:planted`` (of words).
        directions: ``[k, d]``, unit vectors that were planted; at the last site where there are several.
    """

    study: Study
    activations: ActivationSet
    dataset: Dataset
    directions: Float[np.ndarray, "k d"]


def directions(
    folder: Path, seed: int = 0, strength: float = 6.0, examples: int = 400, words: int = 8, width: int = WIDTH
) -> World:
    """One site, ``resid_post.0``: noise, a direction for the word 'omega', one for texts of the kind 'left'."""
    rng, dataset, index, where = _texts(seed, examples, words)
    planted = _orthonormal(rng, 2, width)
    rows = _noise(rng, len(index), width) + strength * (where @ planted)
    return _kept(write_world(folder, dataset, {"resid_post.0": rows}, index, planted))


def sparse(folder: Path, seed: int = 0, strength: float = 6.0, examples: int = 400, words: int = 8, width: int = WIDTH) -> World:
    """One site, ``resid_post.0``: more directions than it is wide (36 in 24), of which each row has about two, and noise."""
    rng, dataset, index, _ = _texts(seed, examples, words)
    planted = _unit(rng, 36, width)
    codes = _codes(rng, len(index), len(planted))
    rows = 0.1 * _noise(rng, len(index), width) + strength * (codes @ planted)
    return _kept(write_world(folder, dataset, {"resid_post.0": rows}, index, planted))


def transcoded(
    folder: Path, seed: int = 0, strength: float = 6.0, examples: int = 400, words: int = 8, width: int = WIDTH
) -> World:
    """Two sites, ``mlp_in.0`` and ``mlp_out.0``: for each direction of the first that a row has, it has one in the second."""
    rng, dataset, index, _ = _texts(seed, examples, words)
    read, planted = _orthonormal(rng, 12, width), _orthonormal(rng, 12, width)
    codes = _codes(rng, len(index), len(planted))
    into = 0.1 * _noise(rng, len(index), width) + 6.0 * (codes @ read)
    out = 0.1 * _noise(rng, len(index), width) + strength * (codes @ planted)
    return _kept(write_world(folder, dataset, {"mlp_in.0": into, "mlp_out.0": out}, index, planted))


WORLDS: dict[str, Callable[..., World]] = {"directions": directions, "sparse": sparse, "transcoded": transcoded}
"""Makers of worlds by name, called with ``folder, seed, strength, examples, words, width``."""


def write_world(
    folder: Path, dataset: Dataset, sites: dict[str, np.ndarray], index: pd.DataFrame, planted: np.ndarray,
    catalog: str | None = None,
) -> World:  # fmt: skip
    """A study with a whole activation set of arrays, as if it had been captured from a model that nobody has here.

    Args:
        folder: Of the study, which is made.
        dataset: The texts.
        sites: ``[n, d]`` by site.
        index: A row a row: ``example, position, token, start, end``.
        planted: What is known of it.
        catalog: Where the catalog is, as `workbench.open_study` takes it.
    """
    study = open_study(folder, catalog=catalog)
    study.catalog.set_info("model", '{"name": "planted", "kind": "module", "weights_hash": "' + "0" * 64 + '", "source": {}}')
    study.use_dataset(dataset)
    home = study.folder / "activations"
    home.mkdir()
    return World(study, write_activations(home, dataset, sites, index), dataset, planted)


def write_activations(folder: Path, dataset: Dataset, sites: dict[str, np.ndarray], index: pd.DataFrame) -> ActivationSet:
    """A whole activation set from arrays, as capture would have written it."""
    request = Request(
        model="planted", model_kind="module", weights_hash="0" * 64, inputs={}, dataset=dataset.name,
        dataset_hash=dataset.content_hash, sites=tuple(sites), widths=tuple(a.shape[1] for a in sites.values()), pool="token",
        dtype="float32",
    )  # fmt: skip
    home = folder / request.id
    with writing(home, request) as writer:
        writer.append(list(sites.values()), {str(c): index[c].to_numpy() for c in index})
        writer.finish({"name": "planted", "kind": "module"}, dict(dataset.source), len(dataset), None, dataset.hash)
    return ActivationSet.open(home)


def planted_table(examples: int, seed: int, words: int | None = None) -> pd.DataFrame:
    """Texts of known words, all different, in the splits train, train, validation, test by turns: the span label 'planted' marks
    every 'omega', the label 'kind' is a coin. Texts have 4 to 11 words, or as many as ``words``."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number in range(examples):
        text = ""
        while not text or text in seen:  # a copy would be in two splits
            text = " ".join(rng.choice(WORDS, size=rng.integers(4, 12) if words is None else words))
        seen.add(text)
        spans = [{"start": start, "end": end, "label": "planted"} for word, start, end in _places(text) if word == "omega"]
        rows.append(
            {
                "text": text,
                "kind": "left" if rng.random() < 0.5 else "right",
                "spans": spans,
                "split": SPLITS[number % len(SPLITS)],
                "group": str(number),
            }
        )
    return pd.DataFrame(rows)


def word_index(texts: list[str]) -> pd.DataFrame:
    """One row a word."""
    rows = [(example, position, *place) for example, text in enumerate(texts) for position, place in enumerate(_places(text))]
    frame = pd.DataFrame(rows, columns=["example", "position", "token", "start", "end"])
    return frame.astype({"example": "int32", "position": "int32", "start": "int32", "end": "int32"})


def _places(text: str) -> list[tuple[str, int, int]]:
    """The words of a text with their first character and the one after their last."""
    found, place = [], 0
    for word in text.split(" "):
        found.append((word, place, place + len(word)))
        place += len(word) + 1
    return found


def planted_dataset(examples: int, seed: int, words: int | None = None, coins: int = 0) -> Dataset:
    """The texts of `planted_table` as a data set, with so many more labels that are coins."""
    from workbench.datasets import dataset_from_table

    tossed = np.random.default_rng([seed, 2]).random((coins, examples)) < 0.5
    more = {f"coin {number + 1}": np.where(sides, "heads", "tails") for number, sides in enumerate(tossed)}
    return dataset_from_table(
        planted_table(examples, seed, words).assign(**more), text="text", labels=["kind", *more], spans="spans", split="split",
        group="group", name="planted",
    )  # fmt: skip


def _texts(seed: int, examples: int, words: int) -> tuple[np.random.Generator, Dataset, pd.DataFrame, np.ndarray]:
    """A generator, texts, their words, and ``[n, 2]``: whether a word is 'omega', and whether its text is of the kind 'left'."""
    dataset = planted_dataset(examples, seed, words, COINS)
    index = word_index(dataset.inputs())
    left = dataset.table["kind"].eq("left").to_numpy()[index["example"]]
    where = np.stack([index["token"].eq("omega").to_numpy(), left], axis=1).astype(np.float32)
    return np.random.default_rng([seed, 1]), dataset, index, where


def _kept(world: World) -> World:
    """The world, with its texts stored, so that a new process finds them."""
    world.study.keep_dataset(world.dataset)
    return world


def _noise(rng: np.random.Generator, n: int, width: int) -> Float[np.ndarray, "n d"]:
    return rng.normal(size=(n, width)).astype(np.float32)


def _codes(rng: np.random.Generator, n: int, count: int) -> Float[np.ndarray, "n k"]:
    return np.where(rng.random((n, count)) < 2 / count, rng.uniform(0.5, 1.5, (n, count)), 0).astype(np.float32)


def _unit(rng: np.random.Generator, count: int, width: int) -> Float[np.ndarray, "k d"]:
    rows = rng.normal(size=(count, width)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _orthonormal(rng: np.random.Generator, count: int, width: int) -> Float[np.ndarray, "k d"]:
    return np.linalg.qr(rng.normal(size=(width, count)))[0].T.astype(np.float32)
