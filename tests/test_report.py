"""The report: one file, nothing from outside, hostile text shown as text."""

import io
import re
import zipfile
from html.parser import HTMLParser
from typing import ClassVar

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.analysis import Analysis, Result, register
from workbench.concepts import LinearConcepts
from workbench.errors import UnknownNameError
from workbench.reports import choose, expected_bytes, export_tables, highlight, visible, zip_tables

HOSTILE = "<script>alert(1)</script>\"'&\x00\u202eevil\u200f" + "<img src=x onerror=alert(2)>"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags, self.text, self.links = [], [], []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in {"src", "href", "action", "data"} and v]
        assert not [k for k, _ in attrs if k.startswith("on")]

    def handle_data(self, data) -> None:
        self.text.append(data)


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    return tags


@pytest.fixture(scope="module")
def report(small_study, tmp_path_factory):
    concept = small_study.get_run("linear_probe").concepts[0]
    before = concept.name
    # A name that `rename` would have cleaned: a study from a stranger may hold it all the same.
    small_study.catalog.add_names([{"concept": concept.id, "text": HOSTILE, "source": "human", "author": "<b>eve</b>"}])
    concept.note("</table><script>alert(3)</script>")
    path = small_study.report(tmp_path_factory.mktemp("report") / "report.html", concepts=[concept.id, *_latents(small_study)])
    concept.rename(before, "test")
    return path.read_text(encoding="utf-8")


def _latents(study) -> list[str]:
    return [c.id for c in study.concepts(method="SAE", limit=2)]


def test_nothing_is_fetched_from_anywhere(report) -> None:
    tags = parsed(report)
    assert all(link.startswith("#") for link in tags.links)
    assert "default-src 'none'" in report
    outside = re.sub(r"<script>.*?</script>", "", report, flags=re.S)
    assert not re.search(r"(?:src|href|url\()\s*=?\s*[\"']?(?:https?:)?//", outside)


def test_a_hostile_name_is_shown_as_text(report) -> None:
    tags = parsed(report)
    text = "".join(tags.text)
    assert "<script>alert(1)</script>" in text
    assert "img" not in tags.tags
    assert "\x00" not in report
    assert "\u202e" not in report
    assert "‹U+202E›" in text


def test_scores_stand_beside_their_null_and_failures_are_told(report, small_study) -> None:
    text = " ".join("".join(parsed(report).text).split())
    assert "Null" in text
    assert "95% interval" in text
    failed = small_study.evidence().query("status == 'failed'")
    assert len(failed)
    assert str(failed["error"].iloc[0]) in text
    assert "torch 2." in text


def test_a_study_without_anything_still_has_a_report(tmp_path, minilm) -> None:
    import workbench as wb

    with wb.open_study(tmp_path / "study") as study:
        study.capture(minilm, wb.load_dataset("film", limit=12), sites="resid_post.0")
        text = study.report(tmp_path / "report.html").read_text()
    assert "No concept has been examined yet" in text


@given(st.text(max_size=80), st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80), st.floats(-5, 5)), max_size=8))
def test_highlighting_shows_the_text_and_only_the_text(text, marks) -> None:
    tags = parsed(highlight(text, marks, window=10_000))
    assert set(tags.tags) <= {"bdi", "mark"}
    # HTML turns a bare carriage return into a newline, so both sides are compared as shown.
    assert "".join(tags.text) == visible(text) + ("…" if "".join(tags.text).endswith("…") and not text.endswith("…") else "")


def test_a_special_token_is_marked_where_it_stands() -> None:
    shown = highlight("old money", [(0, 0, 2.0), (4, 9, 1.0), (9, 9, 0.5)])
    assert re.sub(r' (style|title)="[^"]*"', "", shown) == (
        '<bdi class="text"><mark class="fire"></mark>old <mark class="fire">money</mark><mark class="fire"></mark></bdi>'
    )


def test_a_text_of_a_million_characters_is_cut_to_its_peak() -> None:
    text = "a" * 500_000 + " money " + "b" * 500_000
    shown = highlight(text, [(500_001, 500_006, 1.0)])
    assert "money" in shown
    assert len(shown) < 2000


def test_a_report_holds_what_was_chosen_and_nothing_else(small_study, tmp_path) -> None:
    run = small_study.get_run("linear_probe")
    concept = run.concepts[0].id
    chosen = {"runs": [run.id], "concepts": [concept], "sections": ["concepts", "provenance"]}
    path = small_study.report(tmp_path / "one.html", title=HOSTILE, **chosen)
    text = path.read_text(encoding="utf-8")
    tags = parsed(text)
    shown = "".join(tags.text)
    assert tags.tags.count("script") == text.count("<script") == 1 + text.count('<script type="text/javascript">')
    assert "img" not in tags.tags
    assert "<script>alert(1)</script>" in re.search(r"<h1>(.*?)</h1>", text, re.S)[1].replace("&lt;", "<").replace("&gt;", ">")
    assert concept in shown
    assert "Linear probes" not in shown
    assert "One concept, found by several methods" not in shown
    assert "Mutual information" not in shown
    size = expected_bytes(small_study, choose(small_study, **chosen))
    assert abs(size - path.stat().st_size) / path.stat().st_size < 0.1


@pytest.mark.parametrize("wrong", [{"runs": ["nothing"]}, {"concepts": ["nothing.1"]}, {"sections": ["nothing"]}])
def test_a_report_of_something_unknown_is_refused(small_study, tmp_path, wrong) -> None:
    with pytest.raises(UnknownNameError):
        small_study.report(tmp_path / "none.html", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_the_tables_of_chosen_runs_are_packed(small_study, tmp_path) -> None:
    run = small_study.get_run("linear_probe")
    with zipfile.ZipFile(zip_tables(small_study, tmp_path / "tables.zip", [run.id])) as archive:
        names = archive.namelist()
        concepts = pd.read_csv(archive.open("concepts.csv"))
        metrics = pd.read_parquet(io.BytesIO(archive.read(f"{run.id}.metrics.parquet")))
    assert set(concepts["run"]) == {run.id}
    assert len(metrics) == len(run.metrics)
    assert not [n for n in names if n.startswith("sparse_autoencoder")]


class First(Analysis):
    """Three coordinates as concepts; for tests."""

    name = "first_axes_for_tests"
    title = method = "first axes"
    axes: ClassVar[slice] = slice(3)

    def run(self, context):
        """Return three concepts."""
        return Result(concepts=[LinearConcepts("resid_post.0", torch.eye(context.activations.width())[self.axes])])


class Next(First):
    """Three others; for tests."""

    name = "next_axes_for_tests"
    title = method = "next axes"
    axes: ClassVar[slice] = slice(3, 6)


register(First)
register(Next)


def test_methods_that_found_nothing_alike_leave_nothing_out(planted, tmp_path) -> None:
    study, acts, _, _ = planted()
    study.run("first_axes_for_tests", acts)
    study.run("next_axes_for_tests", acts)
    text = study.report(tmp_path / "report.html").read_text(encoding="utf-8")
    pairs = study.counterparts()
    assert len(pairs)
    assert not pairs["verdict"].eq("same").any()
    assert "pairs of concepts" not in " ".join("".join(parsed(text).text).split())


def test_what_is_broken_is_left_out_by_name_and_the_rest_is_written(planted, tmp_path) -> None:
    study, acts, _, _ = planted()
    probes = study.run("linear_probe", acts, labels="kind", controls=False)
    vectors = study.run("concept_activation", acts, labels="kind")
    (probes.folder / "figures").mkdir(exist_ok=True)
    (probes.folder / "figures" / "map.json").write_text('{"data": [{"type": "scattergeo"}]}')
    (vectors.folder / "tables" / "metrics.parquet").write_bytes(b"PAR1 is no table")
    pd.DataFrame({"other": [1]}).to_parquet(probes.folder / "tables" / "summary.parquet")
    text = study.report(tmp_path / "report.html", concepts=[study.concepts(run=probes.id).ids[0]]).read_text(encoding="utf-8")
    shown = " ".join("".join(parsed(text).text).split())
    assert f"figure map of run {probes.id}" in shown
    assert "may load a map" in shown
    assert f"run {vectors.id}" in shown
    assert "Linear probes" in shown
    assert "Provenance" in shown
    assert expected_bytes(study, choose(study)) > 0
    written = {path.name for path in export_tables(study, tmp_path / "tables")}
    assert f"{vectors.id}.metrics.csv" not in written
    assert f"{probes.id}.metrics.csv" in written
    # The summary lacks every column that a summary has.
    left_out = pd.read_csv(tmp_path / "tables" / "left_out.csv")["what"].tolist()
    assert left_out == [f"{probes.id}.summary", f"{vectors.id}.metrics"]


@register
class Tabled(Analysis):
    """An analysis that returns a table and nothing else."""

    name: ClassVar[str] = "tabled"
    title: ClassVar[str] = "Tabled"
    method: ClassVar[str] = "none"
    table: ClassVar[pd.DataFrame]

    def run(self, context) -> Result:
        """The table."""
        return Result(tables={"mine": self.table})


def test_the_tables_of_an_analysis_are_shown_with_every_text_as_text(planted, tmp_path) -> None:
    study, acts, _, _ = planted()
    bad = "<script>alert(1)</script>"
    table = pd.DataFrame({bad: [bad, None], "size": [1.5, float("nan")], "many": [[1, 2], []]})
    Tabled.table = pd.concat([table] * 20)
    run = study.run("tabled", acts)
    assert run.own_tables == ["mine"]
    assert [len(run.tables.first("mine", count)[0]) for count in (3, 40, 90)] == [3, 40, 40]
    assert [run.tables.first("mine", count)[1] for count in (3, 40, 90)] == [True, False, False]
    text = study.report(tmp_path / "r.html").read_text()
    assert "Table: mine" in text
    assert "&lt;script&gt;alert(1)" in text
    assert bad not in text
    assert "Its first 12 rows" in text


def test_a_report_of_a_run_in_a_study_without_any_evidence(planted, tmp_path) -> None:
    study, acts, _, _ = planted(examples=40)
    run = study.run("first_axes_for_tests", acts)
    assert run.id in study.report(tmp_path / "report.html", runs=[run.id]).read_text()
