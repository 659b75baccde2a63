"""The card of a concept says what has to be read with its numbers."""

from __future__ import annotations

from typing import Any

import torch
from harness import Start, said

from workbench.analysis import Analysis, Result, register
from workbench.concepts import LinearConcepts


class NearlyOne(Analysis):
    """Three directions that are nearly coordinate 5; for tests."""

    name = "nearly_one_for_tests"
    title = "Nearly one"
    method = "given"

    def run(self, context: Any) -> Result:
        """Make them."""
        generator = torch.Generator().manual_seed(0)
        width = context.activations.width()
        return Result(
            concepts=[LinearConcepts("resid_post.0", torch.eye(width)[5] + 0.02 * torch.randn(3, width, generator=generator))]
        )


register(NearlyOne)


def test_a_direction_that_is_one_coordinate_is_flagged_on_its_card(start: Start, planted: Any) -> None:
    study, acts, _, _ = planted(examples=40)
    run = study.run("nearly_one_for_tests", acts)
    test = start(study.folder, study=study.name, concept=f"{run.id}.0")
    text = said(test)
    assert "coordinate 5 alone" in text
    assert "The 3 directions of this set are nearly one" in text
