"""Collections: named lists of concepts; taking out is recorded, not erased."""

import pytest
import sqlalchemy as sa
import torch

from workbench.analysis import Analysis, Result, register
from workbench.concepts import LinearConcepts
from workbench.errors import ConfigError, UnknownNameError
from workbench.store import tables

CATALOGS = ("sqlite", "postgresql")


class Axes(Analysis):
    """Three coordinates as concepts; for tests."""

    name = "axes_for_tests"
    title = "Axes"
    method = "axis"

    def run(self, context):
        """Return three concepts."""
        return Result(concepts=[LinearConcepts("resid_post.0", torch.eye(context.activations.width())[:3])])


register(Axes)


@pytest.fixture
def study(planted):
    made, acts, _, _ = planted()
    made.run("axes_for_tests", acts)
    return made


def test_what_was_put_in_comes_out_in_order_and_once(study) -> None:
    ids = study.concepts().ids
    study.collections.add("chosen", [ids[2], ids[0]], "ada")
    study.collections.add("chosen", [ids[0], ids[1]], "bo")
    assert study.collections["chosen"].ids == [ids[2], ids[0], ids[1]]
    assert study.collections.names() == ["chosen"]
    assert study.collections.table()["author"].tolist() == ["ada", "ada", "bo"]


def test_taking_out_is_recorded_and_an_empty_collection_is_gone(study) -> None:
    ids = study.concepts().ids
    study.collections.add("chosen", ids[:2])
    study.collections.remove("chosen", ids[:1])
    assert study.collections["chosen"].ids == ids[1:2]
    study.collections.remove("chosen", study.collections["chosen"])
    assert "chosen" not in study.collections
    with pytest.raises(UnknownNameError):
        study.collections["chosen"]
    assert len(study.catalog.frame(sa.select(tables.collections))) == 4


def test_blank_names_and_unknown_concepts_are_refused(study) -> None:
    with pytest.raises(ConfigError):
        study.collections.add(" ", study.concepts())
    with pytest.raises(UnknownNameError):
        study.collections.add("chosen", ["axes.99"])
    with pytest.raises(UnknownNameError):
        study.collections.remove("never", study.concepts())
    assert study.collections.names() == []
