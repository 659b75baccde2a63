"""A result with every part that a method may return."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd
import torch
from pydantic import Field
from torch import nn

from workbench.analysis import Result
from workbench.concepts import Graph, LinearConcepts, LinearHead
from workbench.models import ModelBuilder, SmallModel
from workbench.views import (
    CurveView,
    GraphView,
    HeadView,
    ImagesView,
    MatrixView,
    PointsView,
    TableView,
    TokensView,
)

BAD = "<script>alert(1)</script><img src=x onerror=alert(2)>"


class TwoLayers(ModelBuilder):
    """A perceptron."""

    kind: ClassVar[str] = "two-layers-of-a-test"
    width: int = Field(4, ge=1, le=64)

    def build(self) -> nn.Module:
        """Two layers."""
        return nn.Sequential(nn.Linear(self.width, 3), nn.ReLU(), nn.Linear(3, 2))


def graph() -> Graph:
    nodes = pd.DataFrame({"id": ["a", "b", "c"], "type": ["token", "concept", "output"], "label": [BAD, "two", "three"]})
    return Graph(nodes, pd.DataFrame({"source": ["a", "b"], "target": ["b", "c"], "weight": [0.5, -2.0]}))


def every_part() -> Result:
    """A result with a part and a view of each kind, and hostile texts in all of them."""
    torch.manual_seed(0)
    table = pd.DataFrame({"x": [1.0, 2, 3], "y": [0.1, 0.4, 0.2], "low": 0.0, "high": 0.6, "name": [BAD, "b", "b"]})
    images = torch.arange(3 * 4 * 4, dtype=torch.float32).reshape(3, 4, 4)
    curve = CurveView(title="A curve", table="points", x="x", y="y", low="low", high="high", null="low", by="name")
    return Result(
        [LinearConcepts("resid_post.0", torch.eye(24)[:3])],
        tables={"points": table},
        tensors={"maps": images, "photos": torch.full((3, 8, 8, 3), 200, dtype=torch.uint8), "matrix": torch.eye(3) - 0.5},
        graphs={"circuit": graph()},
        heads={"kind": LinearHead(["left", BAD], torch.tensor([[1.0, 0, -1], [0, 2, 0]]), label="kind")},
        models={"machine": SmallModel(TwoLayers(width=5))},
        views=[
            curve, TableView(title=BAD, table="points", columns=("name", "x")), GraphView(title="A graph", graph="circuit"),
            MatrixView(title="A matrix", tensor="matrix", rows=(BAD, "b", "c"), columns=("a", "b", "c")),
            PointsView(title="A map", table="points", x="x", y="y", label="name", colour="name"),
            TokensView(title="Tokens", table="points", token="name", value="y", by="x"), HeadView(title="A head", head="kind"),
            ImagesView(title="Maps", tensor="maps", under="photos", captions=(BAD, "b", "c"), scale="each"),
            ImagesView(title="Shades", tensor="maps"),
        ],
    )  # fmt: skip
