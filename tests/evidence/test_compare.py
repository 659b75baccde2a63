"""Two runs side by side: planted partners are found one to one, and chance is not taken for agreement."""

from typing import ClassVar

import pandas as pd
import pytest
import torch

from workbench.analysis import Analysis, Metric, Result, register
from workbench.concepts import LinearConcepts
from workbench.errors import ConfigError

WIDTH, SHARED, OWN = 24, 4, 2


class Directions(Analysis):
    """Directions that two seeds share, and some of each seed's own; for tests."""

    name = "directions_for_tests"
    title = "Directions"
    method = "direction"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("d.score", "Score", "Planted."),)

    labelled: bool = False
    score: float = 0.5

    def run(self, context):
        """Return the planted directions in another order a seed."""
        basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(1)))[0]
        first = SHARED + OWN * (context.seed % 2)
        rows = torch.cat([basis[:SHARED].flip(0) if context.seed % 2 else basis[:SHARED], basis[first : first + OWN]])
        labels = [f"kind={i}" for i in range(len(rows))] if self.labelled else [""] * len(rows)
        table = pd.DataFrame({"label": labels})
        metrics = pd.DataFrame(
            [
                {"metric": "d.score", "label": "a", "value": self.score, "low": self.score - 0.1, "high": self.score + 0.1},
                {"metric": "d.score", "label": "b", "value": 0.5},
            ]
        ).assign(site="resid_post.0")
        return Result(concepts=[LinearConcepts("resid_post.0", rows, table=table)], metrics=metrics)


register(Directions)


def test_planted_partners_are_found_one_to_one(planted) -> None:
    study, acts, _, _ = planted()
    one, two = (study.run("directions_for_tests", acts, seed=seed) for seed in (0, 1))
    found = one.compare(two)
    pairs = found.concepts[found.concepts["verdict"].eq("agree")]
    # The shared directions come in the opposite order in the other run.
    expected = {f"{one.id}.{i}": f"{two.id}.{SHARED - 1 - i}" for i in range(SHARED)}
    assert dict(zip(pairs["concept"], pairs["other"], strict=True)) == expected
    assert pairs["cosine"].min() == pytest.approx(1.0, abs=1e-5)
    alone = found.concepts[found.concepts["verdict"].eq("alone")]
    assert len(alone) + len(found.concepts[found.concepts["verdict"].eq("chance")]) * 2 == 2 * OWN
    assert found.concepts["concept"].is_unique


def test_labelled_concepts_meet_their_label_even_where_they_disagree(planted) -> None:
    study, acts, _, _ = planted()
    one, two = (study.run("directions_for_tests", acts, seed=seed, labelled=True) for seed in (0, 1))
    found = one.compare(two).concepts
    assert (found["other"].str.rpartition(".")[2] == found["concept"].str.rpartition(".")[2]).all()
    # Turned round, no label but none has its own direction: orthogonal partners are as close as chance.
    assert found["verdict"].eq("chance").all()


def test_options_and_metrics_stand_side_by_side(planted) -> None:
    study, acts, _, _ = planted()
    one, two = (study.run("directions_for_tests", acts, score=score) for score in (0.5, 0.9))
    found = one.compare(two)
    differs = found.config[~found.config["same"]]
    assert differs["option"].tolist() == ["score"]
    assert differs[["first", "second"]].iloc[0].tolist() == ["0.5", "0.9"]
    table = found.metrics.set_index("label")
    assert table.loc["a", "difference"] == pytest.approx(0.4)
    assert table.loc["a", "overlap"] is False
    assert table.loc["b", "overlap"] is None
    assert "1 options differ" in repr(found)


def test_a_run_is_not_compared_with_itself(planted) -> None:
    study, acts, _, _ = planted()
    run = study.run("directions_for_tests", acts)
    with pytest.raises(ConfigError):
        run.compare(run)
