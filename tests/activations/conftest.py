from __future__ import annotations

import hashlib
import os

import numpy as np
import pandas as pd
import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"
torch.set_num_threads(2)


class Table:
    """A data set of a handful of examples."""

    def __init__(self, inputs, column="text", name="handful"):
        self.content_hash = self.hash = hashlib.sha256(repr(inputs).encode()).hexdigest()
        self.name, self.earlier, self.source = name, (), {"name_or_path": name}
        splits = np.resize(["train", "train", "test"], len(inputs))
        self.table = pd.DataFrame({column: pd.Series(list(inputs), dtype=object), "split": splits})
        self._column = column

    def inputs(self, ids):
        return [self.table[self._column].iloc[i] for i in ids]

    def __len__(self):
        return len(self.table)


@pytest.fixture(scope="session")
def make_table():
    return Table


@pytest.fixture(scope="session")
def texts():
    words = [
        "the",
        "cat",
        "sat",
        "on",
        "a",
        "mat",
        "and",
        "money",
        "went",
        "to",
        "the",
        "unbelievable",
        "bank",
        "of",
        "Paris",
        "<b>now</b>",
        "🙂",
    ]
    rng = np.random.default_rng(0)
    return Table([" ".join(rng.choice(words, size=rng.integers(1, 24))) for _ in range(40)])


@pytest.fixture(scope="session")
def minilm():
    from workbench.models import load_model

    return load_model("minilm")


@pytest.fixture(scope="session")
def vision():
    from workbench.models import load_model

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1),
        torch.nn.ReLU(inplace=True),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(4, 3, 1),
    )
    return load_model(net, preprocess=lambda a: a[None].astype(np.float32), example=np.zeros((4, 6), np.uint8), name="small")


@pytest.fixture(scope="session")
def images():
    rng = np.random.default_rng(0)
    return Table([rng.integers(0, 255, (4, 6)).astype(np.uint8) for _ in range(7)], "image")
