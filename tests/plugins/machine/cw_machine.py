"""A finite-state machine out of activations (Giles et al., 1992): clusters are states, counts of what follows are transitions."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from sklearn.cluster import KMeans
from torch import nn

from workbench.analysis import Analysis, Context, Metric, Result
from workbench.concepts import Graph, LinearConcepts
from workbench.models import ModelBuilder, SmallModel
from workbench.statistics.rows import Null, row
from workbench.views import GraphView, TableView, TokensView


class NextState(ModelBuilder):
    """A layer that predicts the next state from an activation."""

    kind: ClassVar[str] = "next-state"
    width: int = Field(ge=1, le=65536)
    states: int = Field(ge=2, le=256)

    def build(self) -> nn.Module:
        """The layer."""
        return nn.Linear(self.width, self.states)


class Machine(Analysis):
    """Extract a finite-state machine from the activations at one site, and train a layer that predicts its next state."""

    name: ClassVar[str] = "machine"
    title: ClassVar[str] = "Finite-state machine"
    method: ClassVar[str] = "state"
    one_site: ClassVar[bool] = True
    reads_labels: ClassVar[bool] = False
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("machine.next", "Next state", "Share predicted; null: the most frequent."),)
    states: int = Field(4, ge=2, le=256, description="How many states.")

    def run(self, context: Context) -> Result:
        """Cluster, count, and fit."""
        acts, rows = context.activations, context.activations.index
        x, train = acts.read().astype(np.float32), context.dataset.table["split"].eq("train").to_numpy()[rows["example"]]
        fitted = KMeans(self.states, n_init=4, random_state=context.seed).fit(x[train])
        state, follows = fitted.predict(x), np.append(rows["example"].to_numpy()[1:] == rows["example"].to_numpy()[:-1], False)
        first, second = state[follows], state[np.flatnonzero(follows) + 1]
        counts = np.zeros((self.states, self.states))
        np.add.at(counts, (first, second), 1)
        shares = counts / counts.sum(1, keepdims=True).clip(1)
        ids = [f"state {number}" for number in range(self.states)]
        places = [(i, j) for i in range(self.states) for j in range(self.states) if counts[i, j]]
        edges = pd.DataFrame([{"source": ids[i], "target": ids[j], "weight": shares[i, j]} for i, j in places])
        machine = Graph(pd.DataFrame({"id": ids, "type": "state", "concept": range(self.states)}), edges)
        torch.manual_seed(context.seed)
        model, target = SmallModel(NextState(width=x.shape[1], states=self.states)), torch.from_numpy(second).long()
        inputs, fit = torch.from_numpy(x[follows]), torch.from_numpy(train[follows])
        optimizer = torch.optim.Adam(model.module.parameters(), lr=0.05)
        for _ in range(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model.module(inputs[fit]), target[fit]).backward()
            optimizer.step()
        right = float((model.module(inputs[~fit]).argmax(-1) == target[~fit]).float().mean())
        usual = float(np.bincount(second[~fit.numpy()]).max() / (~fit).sum())
        data = pd.DataFrame({"text": rows["example"].astype(str), "token": rows["token"].astype(str), "state": state + 1.0})
        views = [
            GraphView(title="The machine", graph="machine"), TableView(title="Data", table="data"),
            TokensView(title="States", table="data", value="state", by="text"),
        ]  # fmt: skip
        found = LinearConcepts(str(acts.sites[0]), torch.from_numpy(fitted.cluster_centers_ - x[train].mean(0)))
        metrics = pd.DataFrame([row("machine.next", right, Null(usual), n=int((~fit).sum()))])
        return Result([found], metrics, {"data": data}, graphs={"machine": machine}, models={"next": model}, views=views)
