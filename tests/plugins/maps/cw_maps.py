"""Principal directions of the patches of images, with a map of each over the images where it is strongest."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from workbench.analysis import Analysis, Context, Metric, Result
from workbench.concepts import LinearConcepts
from workbench.statistics.rows import NoNull, row
from workbench.views import ImagesView, MatrixView


class Maps(Analysis):
    """Find directions along which patches differ most, and draw where in an image each is present."""

    name: ClassVar[str] = "maps"
    title: ClassVar[str] = "Maps of principal directions"
    method: ClassVar[str] = "PC"
    one_site: ClassVar[bool] = True
    reads_labels: ClassVar[bool] = False
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("maps.peak", "Peak", "Share of a map's absolute values in its largest tenth; a description.", direction="none"),
    )
    count: int = Field(3, ge=1, le=64, description="How many directions.")
    shown: int = Field(4, ge=1, le=16, description="How many images of each are kept.")

    def run(self, context: Context) -> Result:
        """Fit on the training split; draw the images whose map is strongest."""
        acts, (height, width) = context.activations, context.activations.grid
        train = acts.read(acts.rows("train", context.dataset))
        directions = np.linalg.svd(train - train.mean(0), full_matrices=False)[2][: self.count]
        examples = np.unique(acts.index["example"])
        maps = ((acts.read() - train.mean(0)) @ directions.T).reshape(len(examples), height, width, self.count)
        kept, captions, evidence = [], [], []
        for place in range(self.count):
            strongest = np.argsort(-maps[..., place].max((1, 2)), kind="stable")[: self.shown]
            kept += [(int(number), place) for number in strongest]
            captions += [f"direction {place + 1}, image {examples[number]}" for number in strongest]
            values = np.sort(np.abs(maps[..., place]).ravel())
            share = float(values[-max(len(values) // 10, 1) :].sum() / values.sum())
            evidence.append(row("maps.peak", share, NoNull("a description"), n=len(examples), place=place))
        photos = np.stack(context.dataset.inputs([int(examples[number]) for number, _ in kept]))
        photos = np.repeat(photos[..., None], 3, -1) if photos.ndim == 3 else photos
        tensors = {"maps": np.stack([maps[number, ..., place] for number, place in kept]), "photos": photos}
        tensors["likeness"] = np.corrcoef(maps.reshape(-1, self.count).T).reshape(self.count, self.count)
        names = tuple(f"direction {place + 1}" for place in range(self.count))
        views = [
            ImagesView(title="Where each is", tensor="maps", under="photos", captions=tuple(captions), scale="each"),
            MatrixView(title="How alike the maps are", tensor="likeness", rows=names, columns=names),
        ]
        found = LinearConcepts(str(acts.sites[0]), torch.from_numpy(directions), table=pd.DataFrame({"name": names}))
        kept_tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()}
        return Result([found], evidence=pd.DataFrame(evidence), tensors=kept_tensors, views=views)
