"""Whatever draws by a seed refuses one that is none, before it does anything."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.edits import resample
from workbench.errors import ConfigError


def test_a_seed_is_a_whole_number_from_0_on(planted) -> None:
    study, acts, data, _ = planted(examples=200)
    run = study.run("linear_probe", acts, labels="kind", controls=False)
    calls = (
        lambda seed: study.run("linear_probe", acts, labels="kind", seed=seed),
        lambda seed: study.examine(run, families=("detects",), seed=seed),
        lambda seed: data.sample(2, seed=seed),
        lambda seed: acts.batches(2, seed=seed),
        lambda seed: resample("embed", np.ones((2, 3)), seed=seed),
    )
    for call in calls:
        for seed in (-1, 0.5, 2**40, "0"):
            with pytest.raises(ConfigError, match="A seed is a whole number from 0 to 2,000,000,000"):
                call(seed)
    assert set(study.runs(None)["status"]) == {"done"}
    with pytest.raises(ConfigError, match=r"No family of evidence is asked for: choose from detects"):
        study.examine(run, families=())
