"""An analysis for the tests of a remote."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from workbench.analysis import Analysis, Result, register
from workbench.concepts import LinearConcepts


class Axes(Analysis):
    """Two coordinates as concepts, and a table; for tests."""

    name = "remote_axes_for_tests"
    title = "Axes"
    method = "axes"

    def run(self, context):
        """Return two concepts."""
        width = context.activations.width()
        numbers = pd.DataFrame({"n": np.arange(2000)})
        return Result(concepts=[LinearConcepts("resid_post.0", torch.eye(width)[:2])], tables={"numbers": numbers})


register(Axes)
AXES = Axes.name
