"""A post-hoc concept bottleneck (Yuksekgonul, Wang and Zou, 2023): concept directions, and a linear head over them."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from pydantic import Field
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from workbench.activations.labels import example_means
from workbench.analysis import Analysis, Context, Metric, Result
from workbench.concepts import Head, HeadFacts, LinearConcepts, LinearHead
from workbench.statistics.rows import NoNull, Null, row
from workbench.views import FigureView, HeadView, Parts


class ProductHead(Head):
    """One output that is the product of all concepts: it has no weights, and asks what correcting one does."""

    kind = "product"

    def predict(self, z: Tensor, h: Any = None, rows: Any = None) -> Tensor:
        return z.prod(-1, keepdim=True)

    def _tensors(self) -> dict[str, Tensor]:
        return {"count": torch.tensor([len(self.facts.concepts)])}

    @classmethod
    def _load(cls, facts: HeadFacts, tensors: dict[str, Tensor]) -> Head:
        return cls(facts)


class BarsView(FigureView):
    """Bars of a column of a table."""

    kind: ClassVar[str] = "bars"
    table: str
    column: str

    def problem(self, parts: Parts) -> str:
        return "" if self.table in parts.tables else f"the table '{self.table}' is not there"

    def figure(self, parts: Parts) -> go.Figure:
        return go.Figure(go.Bar(y=parts.tables[self.table][self.column].tolist()))


class Bottleneck(Analysis):
    """Principal directions of the example means as concepts, and a logistic head over them for one label."""

    name: ClassVar[str] = "bottleneck"
    title: ClassVar[str] = "Concept bottleneck"
    method: ClassVar[str] = "CBM"
    one_site: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("cbm.accuracy", "Accuracy", "A share."), Metric("cbm.use", "Use", "A size."))
    label: str = Field(description="What is predicted.", json_schema_extra={"choices": "columns"})
    concepts: int = Field(6, ge=1, description="How many concepts.")

    def run(self, context: Context) -> Result:
        acts, table, site = context.activations, context.dataset.table, str(context.activations.sites[0])
        examples = np.unique(acts.index["example"])
        x, y, split = example_means(acts, examples), *(table[c].to_numpy(str)[examples] for c in (self.label, "split"))
        train, test = split == "train", split == "test"
        directions = np.linalg.svd(x[train] - x[train].mean(0), full_matrices=False)[2][: self.concepts].astype(np.float32)
        z = x @ directions.T
        fitted = LogisticRegression(max_iter=1000).fit(z[train], y[train])
        weights, bias = np.vstack([-fitted.coef_, fitted.coef_]) / 2, np.array([-fitted.intercept_[0], fitted.intercept_[0]]) / 2
        head = LinearHead(list(fitted.classes_), torch.tensor(weights), torch.tensor(bias), label=self.label)
        share, null = float((fitted.predict(z[test]) == y[test]).mean()), Null(float((y[test] == y[test][0]).mean()))
        used = np.abs(weights).max(0)
        evidence = [row("cbm.use", size, NoNull("a weight"), n=int(train.sum()), place=i) for i, size in enumerate(used)]
        product = ProductHead(HeadFacts(outputs=("product",), concepts=(0, 1), task="quantities"))
        found, tables = LinearConcepts(site, torch.tensor(directions), level="example"), {"use": pd.DataFrame({"use": used})}
        views = [HeadView(title="What each concept counts", head="label"), BarsView(title="Use", table="use", column="use")]
        heads, metrics = {"label": head, "product": product}, pd.DataFrame([row("cbm.accuracy", share, null, n=len(z))])
        return Result([found], metrics, tables, evidence=pd.DataFrame(evidence), heads=heads, views=views)
