"""A family of evidence of one's own stands beside the built-in ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import workbench as wb
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

    with pytest.raises(wb.errors.ConfigError, match="There is a family of evidence 'sizes' already"):
        register(Other())
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
