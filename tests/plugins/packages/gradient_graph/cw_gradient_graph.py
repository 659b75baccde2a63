"""A graph of concepts by gradients with frozen attention and norms (Marks et al., 2024): what a concept does to a later one."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import Field

import workbench as wb
from workbench.analysis import Analysis, Context, Input, Metric, Planted, Result
from workbench.concepts import Graph
from workbench.models.targets import ConceptCode
from workbench.statistics.rows import NoNull, row
from workbench.store.runs import Run
from workbench.testing.worlds import World, planted_dataset
from workbench.views import GraphView


def same_place(folder: Path, seed: int = 0, examples: int = 240, words: int = 8, **_: Any) -> World:
    """Probes at ``resid_post.3`` and ``resid_pre.4`` of the bundled model, two names of one place: what they do is known."""
    study, data = wb.open_study(folder), planted_dataset(examples, seed, words)
    acts = study.capture(wb.load_model("scribe"), data, sites=["resid_post.3", "resid_pre.4"])
    study.run("linear_probe", acts, controls=False, labels="kind")
    return World(study, acts, data, np.zeros((0, acts.width("resid_post.3"))))


def exact(run: Run, world: World) -> float:
    """1 less how far the weight of an edge is from its closed form, the later probe's weights times the earlier direction."""
    earlier, later = world.study.get_run("linear_probe").sets
    known = (later.weights @ earlier.directions().T).T.flatten().numpy()
    return 1 - float(np.abs(run.graphs["graph"].edges["weight"].to_numpy() / known - 1).max())


class GradientGraph(Analysis):
    """Draw how much each concept of a run adds to each one at a later site, attention patterns and norms held constant."""

    name: ClassVar[str] = "gradient_graph"
    title: ClassVar[str] = "Graph of concepts by gradients"
    method: ClassVar[str] = "node"
    reads_labels: ClassVar[bool] = False
    inputs: ClassVar[tuple[Input, ...]] = (Input("concepts", "concepts", "whose graph it is, at two sites or more"),)
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("graph.edge", "Edge", "The largest weight.", direction="none"),)
    planted: ClassVar[Planted] = Planted(same_place, {"concepts": "linear_probe"}, score=exact, least=0.99)
    texts: int = Field(8, ge=1, le=256, description="How many texts of the test split are read.")

    def run(self, context: Context) -> Result:
        """Take the gradient of each concept's mean code along each earlier direction, added at every position."""
        model, whole = context.model(), context.inputs["concepts"]
        order = {str(site): place for place, site in enumerate(model.sites)}
        sets = sorted(enumerate(whole.sets), key=lambda pair: order[pair[1].site])
        firsts = np.cumsum([0, *(len(one) for one in whole.sets)])
        examples = np.flatnonzero(context.dataset.table["split"].eq("test"))[: self.texts]
        batch, edges = model.batch(context.dataset.inputs(examples.tolist())), []
        with model.frozen(batch):
            for place, (last, later) in enumerate(sets):
                for number in range(len(later) if place else 0):
                    context.progress(place, len(sets), f"gradients of concepts at {later.site}")
                    sites = [earlier.site for _, earlier in sets[:place]]
                    found = model.gradients(batch, sites, ConceptCode(later, number))
                    for first, earlier in sets[:place]:
                        along = found[model.site(earlier.site)][batch.keep] @ earlier.directions().T
                        weights = (along.sum(0) / len(examples)).tolist()
                        target, sources = f"{whole.run.id}.{firsts[last] + number}", firsts[first] + np.arange(len(weights))
                        edges += [(f"{whole.run.id}.{source}", target, w) for source, w in zip(sources, weights, strict=True)]
        nodes = pd.DataFrame({"id": whole.ids, "type": "concept", "label": whole.run.labels})
        table = pd.DataFrame(edges, columns=["source", "target", "weight"])
        rows = [row("graph.edge", float(table["weight"].abs().max()), NoNull("a description"), n=len(examples))]
        return Result(
            metrics=pd.DataFrame(rows),
            graphs={"graph": Graph(nodes, table)},
            views=[GraphView(title="What adds to what", graph="graph")],
        )
