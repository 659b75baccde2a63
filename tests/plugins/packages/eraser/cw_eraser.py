"""An eraser of a yes/no label (LEACE; Belrose et al., 2023, for one label): no linear probe reads it any more."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from probes import LogisticProbe
from workbench.activations.labels import row_targets
from workbench.analysis import Analysis, Context, Metric, Planted, Result
from workbench.edits import Edit, edit_kind
from workbench.errors import ConfigError
from workbench.sites import Site
from workbench.statistics.rows import Null, row


@edit_kind("oblique", strength="strength")
def oblique(site: str | Site, along: Any, reader: Any, centre: Any, strength: float = 1.0) -> Edit:
    """An oblique projection: ``x - strength * ((x - centre) @ reader) * along``; each of the three is ``[d]``."""
    a, r, c = (torch.as_tensor(part, dtype=torch.float64) for part in (along, reader, centre))
    if a.dim() != 1 or not a.shape == r.shape == c.shape or not torch.isfinite(torch.stack([a, r, c])).all():
        raise ConfigError("An oblique projection is three vectors of one length and of finite numbers.")

    def transform(rows: Tensor) -> Tensor:
        x = rows.double()
        return (x - strength * ((x - c.to(x)) @ r.to(x))[..., None] * a.to(x)).to(rows.dtype)

    return Edit(Site.parse(site), transform, "oblique", {"along": a, "reader": r, "centre": c, "strength": strength})


class LabelEraser(Analysis):
    """Fit an affine map that takes a label out of the activations of one site, changing them as little as possible."""

    name: ClassVar[str] = "eraser"
    title: ClassVar[str] = "Eraser of a label"
    method: ClassVar[str] = "eraser"
    one_site: ClassVar[bool] = True
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("eraser.before", "Probe before", "Balanced accuracy of a linear probe on held-out rows."),
        Metric("eraser.after", "Probe after", "The same of a probe that was fitted to erased rows.", direction="down"),
    )
    # How much of the probe's accuracy goes.
    planted: ClassVar[Planted] = Planted(
        options={"label": "kind=left"}, score=lambda run, _: -np.diff(run.metrics["value"])[0], least=0.4
    )

    label: str = Field(description="The label that is erased.", json_schema_extra={"choices": "labels"})

    def run(self, context: Context) -> Result:
        acts, site, targets = (
            context.activations,
            str(context.activations.sites[0]),
            row_targets(context.activations, context.dataset),
        )
        if self.label not in targets.names:
            raise ConfigError(f"There is no label '{self.label}': there are {', '.join(targets.names[:8])}.")
        labels = targets.values[:, targets.names.index(self.label)]
        (x, y), (x_test, y_test) = (
            (torch.from_numpy(acts.read(rows)), labels[rows])
            for rows in (np.flatnonzero(~np.isnan(labels) & np.isin(np.arange(acts.n_rows), acts.rows(split, context.dataset)))
                         for split in ("train", "test"))
        )  # fmt: skip
        positive, rows = torch.from_numpy(y == 1), x.double()
        difference = rows[positive].mean(0) - rows[~positive].mean(0)
        reader = torch.linalg.pinv(torch.cov(rows.T), hermitian=True) @ difference
        edit = oblique(site, difference, reader / (difference @ reader), rows.mean(0))
        rng, found = np.random.default_rng(context.seed), []
        for name, change in (("before", lambda h: h), ("after", lambda h: edit(h[None])[0])):
            said = LogisticProbe(balanced=True).fit(change(x).numpy(), y).predict(change(x_test).numpy())
            null = [balanced_accuracy_score(rng.permutation(y_test), said) for _ in range(99)]
            null_row = Null(float(np.mean(null)), float(np.quantile(null, 0.95)))
            value = balanced_accuracy_score(y_test, said)
            found.append(row(f"eraser.{name}", value, null_row, n=len(y_test), site=site, label=self.label))
        return Result(metrics=pd.DataFrame(found), edits={"eraser": edit})
