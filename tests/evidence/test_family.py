"""A family of evidence of one's own stands beside the built-in ones."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import ClassVar

import pytest
import torch

import workbench as wb
from workbench.analysis import Analysis, Context, Result
from workbench.analysis import register as register_analysis
from workbench.concepts import LinearConcepts
from workbench.errors import WorkbenchWarning
from workbench.evidence import BY_KEY, QUESTIONS, Family, Tried, register
from workbench.evidence import family as registry
from workbench.evidence.attempts import Found
from workbench.metrics import Metric
from workbench.statistics.rows import NoNull, row


class Sizes(Family):
    """How large the largest code is."""

    name = "sizes"
    question = "Sizes: how large is its largest code?"
    metrics = (Metric("sizes.largest", "Largest code", "On the rows of the test split; a description without a null."),)

    def measure(self, tried: Tried) -> Found:
        """Of every concept."""
        found = tried.detection.codes.max(0)
        return [
            row("sizes.largest", value, NoNull("a description"), n=len(tried.test.rows), place=place)
            for place, value in enumerate(found)
        ], {}


@pytest.fixture
def sizes() -> Iterator[Family]:
    family = Sizes()
    register(family)
    yield family
    del registry._registered["sizes"], QUESTIONS["sizes"], BY_KEY["sizes.largest"]


def test_a_family_that_is_registered_is_measured_and_kept(planted, sizes, tmp_path) -> None:
    study, acts, _, _ = planted()
    run = study.run("linear_probe", acts, controls=False)
    found = study.examine(run, families=("detects", "sizes"))
    mine = found[found["metric"].eq("sizes.largest")]
    assert len(mine) == len(run.concepts)
    assert mine["status"].eq("ok").all()
    assert "sizes.largest" in set(study.evidence()["metric"])
    assert "Largest code" in study.report(tmp_path / "r.html", concepts=run.concepts.ids).read_text()
    # Nothing else changed.
    alone = study.examine(run, families=("detects",))
    columns = ["concept", "metric", "value", "p_corrected"]
    both = found[~found["metric"].eq("sizes.largest")]
    assert alone[columns].reset_index(drop=True).equals(both[columns].reset_index(drop=True))


def test_the_families_are_measured_in_the_order_of_the_card(sizes) -> None:
    assert list(registry.families()) == ["detects", "informs", "locates", "causes", "stable", "named", "sizes"]
    described = {metric.key for family in registry.families().values() for metric in family.metrics}
    assert described == set(BY_KEY)


def test_a_family_of_a_known_name_and_a_metric_of_another_are_refused(sizes) -> None:
    class Other(Sizes):
        """Another one."""

    class Strange(Sizes):
        """With a metric of another family."""

        name = "strange"

    class Detects(Sizes):
        """One that would take the place of a built-in one, under its very name."""

        name = "detects"
        metrics = ()

    with pytest.raises(wb.errors.ConfigError, match="There is a family of evidence 'sizes' already"):
        register(Other())
    with pytest.raises(wb.errors.ConfigError, match="There is a family of evidence 'detects' already"):
        register(Detects())
    with pytest.raises(wb.errors.ConfigError, match=r"'sizes.largest' of the family 'strange' has to be called 'strange"):
        register(Strange())


@pytest.mark.parametrize(
    ("metric", "place", "said"),
    [("sizes.other", 0, "measured 'sizes.other', which it does not declare"), ("sizes.largest", 9, "concept 9 of a set of 1")],
)
def test_rows_that_nobody_could_read_are_refused(planted, sizes, monkeypatch, metric: str, place: int, said: str) -> None:
    study, acts, _, _ = planted()
    run = study.run("linear_probe", acts, controls=False)
    bad = row(metric, 1.0, NoNull("a description"), n=1, place=place)
    monkeypatch.setattr(Sizes, "measure", lambda _self, _tried: ([bad], {}))
    with pytest.raises(wb.errors.ConfigError, match=said):
        study.examine(run, families=("sizes",))
    assert study.evidence().empty


def test_a_package_whose_family_cannot_be_used_takes_nothing_away(monkeypatch) -> None:
    broken = EntryPoint("broken", "no.such.module:Family", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [broken])
    registry.load_installed.cache_clear()
    with pytest.warns(WorkbenchWarning, match="The family of evidence 'broken' of an installed package cannot be used"):
        assert list(registry.families())[:2] == ["detects", "informs"]
    registry.load_installed.cache_clear()


class Fails(Analysis):
    """An analysis that cannot be repeated with another seed."""

    name: ClassVar[str] = "fails_again"
    title: ClassVar[str] = "Fails again"
    method: ClassVar[str] = "none"
    runs: ClassVar[list[int]] = []

    def run(self, context: Context) -> Result:
        """Two sets, at the first seed alone."""
        self.runs.append(context.seed)
        if context.seed:
            raise wb.errors.DataError("not with this seed")
        levels = ("token", "example")
        return Result([LinearConcepts("resid_post.0", torch.eye(24)[:2], level=level) for level in levels])


def test_a_replica_that_cannot_be_made_is_tried_once_for_all_sets(planted) -> None:
    study, acts, _, _ = planted()
    run = study.run(register_analysis(Fails).name, acts)
    found = study.examine(run, families=("stable",))
    assert Fails.runs == [0, 1]
    assert found["status"].eq("failed").all()
    assert len(found) == 4


class TwoSets(Analysis):
    """Two sets at one site: the same of every seed, and another of each; for tests."""

    name: ClassVar[str] = "two_sets_for_tests"
    title: ClassVar[str] = "Two sets"
    method: ClassVar[str] = "direction"

    def run(self, context: Context) -> Result:
        """Return coordinates, and random directions."""
        own = torch.randn(3, 24, generator=torch.Generator().manual_seed(context.seed))
        return Result([LinearConcepts("resid_post.0", torch.eye(24)[:3]), LinearConcepts("resid_post.0", own)])


def test_each_of_several_sets_at_a_site_is_compared_with_its_own_replica(planted) -> None:
    study, acts, _, _ = planted()
    run = study.run(register_analysis(TwoSets).name, acts)
    found = study.examine(run, families=("stable",)).set_index("concept")
    found = found[found["metric"].eq("stable.cosine")]["value"]
    assert found[run.concepts.ids[:3]].min() == pytest.approx(1, abs=1e-5)
    assert found[run.concepts.ids[3:]].max() < 0.9
