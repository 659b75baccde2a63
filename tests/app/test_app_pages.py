"""Pages by Streamlit's own test harness: what they say, and what a click does."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pytest
from harness import HOSTILE, PAGES, Start, examined, on_page, said, until
from streamlit.testing.v1 import AppTest

from workbench.cli import main
from workbench.evidence.metrics import BY_KEY
from workbench.evidence.verdict import verdict
from workbench.numbers import number, p_value
from workbench.opening import open_study
from workbench.statistics.rows import P_VALUES
from workbench.store import tables

pytestmark = pytest.mark.slow


def test_without_a_study_the_app_says_how_to_make_one(start: Start, tmp_path: Path) -> None:
    test = start(tmp_path)
    assert "workbench demo" in said(test)
    # Tests that go through every page have these.
    assert sorted(page["url_pathname"] for page in test._registered_pages.values()) == PAGES


def test_an_empty_study_says_what_to_do(start: Start, tmp_path: Path) -> None:
    open_study(tmp_path / "bare").close()
    test = start(tmp_path / "bare")
    assert "workbench capture bare" in said(test)
    assert not test.error


def test_an_unknown_study_and_an_unknown_concept_are_one_sentence(start: Start, study_folder: Path) -> None:
    test = start(study_folder, study="smal")
    assert "Did you mean" in test.error[0].value
    test = start(study_folder, study="small", concept="nothing.0")
    assert "There is no concept called" in test.error[0].value


def test_a_damaged_study_is_one_sentence(start: Start, study_folder: Path) -> None:
    (study_folder / "study.json").write_text("{")
    assert "damaged" in start(study_folder).error[0].value


def test_the_overview_counts_and_shows_failures(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        row = {"id": "broken-1", "analysis": "broken", "status": "failed", "config": {}, "seed": 0, "inputs": {}}
        row |= {"provenance": {}, "started": tables.now(), "error": HOSTILE}
        study.catalog.insert(tables.runs, [row])
    test = start(study_folder)
    text = said(test)
    assert "minilm (encoder)" in text
    assert "<b>74</b>" in text
    assert r"\<script\>" in test.warning[0].value


def test_several_studies_have_a_picker(start: Start, study_folder: Path) -> None:
    open_study(study_folder.parent / "bare").close()
    test = start(study_folder.parent)
    picker = next(s for s in test.selectbox if s.label == "Study")
    assert picker.options == ["bare", "small"]
    picker.select("small").run()
    assert "minilm" in said(test)


def test_a_link_opens_a_concept_with_its_evidence(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        concept = study.concept(examined(study))
        rows = concept.evidence()
    test = start(study_folder, study="small", concept=concept.id)
    text = said(test)
    assert concept.name in text
    assert "AUROC" in text
    assert 'class="fire"' in text
    assert "95th percentile" in text
    assert len(test.get("plotly_chart")) == 2
    hidden = next(t for t in test.toggle if "more measurements" in t.label)
    hidden.set_value(True).run()
    assert said(test).count('class="cw-row') == len(rows)


def test_python_terminal_app_and_report_say_the_same_numbers(start: Start, study_folder: Path, tmp_path: Path, capsys) -> None:
    with open_study(study_folder) as study:
        evidence = study.evidence(["detects.auroc"]).query("status == 'ok' and p == p")
        row = evidence.sort_values("p").iloc[0].to_dict()
        metric = BY_KEY["detects.auroc"]
        words = verdict(row, metric).sentence
        report = html.unescape(study.report(tmp_path / "report.html", concepts=[row["concept"]]).read_text())
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        main(["--json", "concept", str(study_folder), row["concept"]])
    told = capsys.readouterr().out
    listed = next(r for r in json.loads(told)["evidence"] if (r["metric"], r["label"]) == ("detects.auroc", row["label"]))
    columns = ("value", "low", "high", "null", "null_high", "p", "p_corrected", "n", "clusters", "clusters_positive")
    assert {c: listed[c] for c in columns} == {c: pytest.approx(row[c]) for c in columns}
    page = html.unescape(said(start(study_folder, study="small", concept=row["concept"])))
    place = report.index("Concepts on trial")
    for where in (page, report[place:]):
        assert words in where
        for column in columns:
            shown = p_value(row[column]) if column in P_VALUES else number(row[column])
            assert shown.removesuffix(".000") in where, (column, shown)


def test_failed_evidence_is_shown_as_failed_with_its_reason(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        concept = study.concepts(method="SAE").ids[0]
        row = dict.fromkeys(tables.EVIDENCE_COLUMNS) | {
            "concept": concept, "metric": "other.score", "label": "", "status": "failed", "value": 0.2, "dataset": "d",
            "run": study.runs()["id"].iloc[0], "error": f"no answer {HOSTILE}",
        }  # fmt: skip
        study.catalog.insert(tables.evidence, [row])
    text = said(start(study_folder, study="small", concept=concept))
    assert "Failed: no answer &lt;script&gt;" in text
    assert "0.200" not in text


def test_a_name_is_saved_with_its_author_and_the_old_one_stays(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        concept = study.concept(examined(study))
        before = concept.name
    test = start(study_folder, study="small", concept=concept.id)
    # The first box for one's own name is that of the name, the second that of a note.
    next(t for t in test.text_input if t.label == "New name").input("who plays")
    next(t for t in test.text_input if t.label == "Your name").input("Ada")
    next(b for b in test.button if b.label == "Save name").click().run()
    text = said(test)
    assert '<h1 class="cw-title"><bdi>who plays' in text
    assert "Ada (a person)" in text
    assert before in text
    assert test.session_state["author"] == "Ada"


def test_a_blank_name_is_refused_in_a_sentence(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        concept = examined(study)
    test = start(study_folder, study="small", concept=concept)
    next(b for b in test.button if b.label == "Save name").click().run()
    assert "at least one visible character" in test.error[0].value


def test_two_sessions_may_name_one_concept(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        concept = examined(study)
    first, second = (start(study_folder, study="small", concept=concept) for _ in range(2))
    for test, name in ((first, "one"), (second, "two")):
        next(t for t in test.text_input if t.label == "New name").input(name)
        next(b for b in test.button if b.label == "Save name").click().run()
    assert "two" in said(second)
    with open_study(study_folder) as study:
        names = study.concept(concept).names()
    assert list(names["text"])[-2:] == ["one", "two"]
    assert names["supersedes"].iloc[-1] == names["id"].iloc[-2]


def test_a_note_is_kept_and_shown_as_text(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        concept = examined(study)
    test = start(study_folder, study="small", concept=concept)
    next(t for t in test.text_area if t.label == "New note").input(HOSTILE)
    next(b for b in test.button if b.label == "Add note").click().run()
    assert "<script" not in said(test)
    assert "&lt;script&gt;alert(1)" in said(test)


def test_a_text_of_ones_own_is_shaded(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        concept = examined(study)
    test = start(study_folder, study="small", concept=concept)
    next(t for t in test.text_area if t.label == "Text").input("the bank & <b>the striker</b> won")
    next(b for b in test.button if b.label == "Read the concept").click().run()
    assert "&lt;b&gt;" in said(test)
    assert "strongest on" in said(test)


def test_a_text_that_is_cut_says_so_to_every_session(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        concept = examined(study)
    for _ in range(2):
        test = start(study_folder, study="small", concept=concept)
        next(t for t in test.text_area if t.label == "Text").input("the bank won. " * 400)
        next(b for b in test.button if b.label == "Read the concept").click().run()
        assert any("tokens were cut off" in warning.value or "longer than" in warning.value for warning in test.warning)


def test_words_find_a_concept(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        expected = study.concepts("money").ids
    test = start(study_folder)
    test = _table(test)
    test.text_input[0].input("money").run()
    shown = test.dataframe[0].value
    assert list(shown["id"]) == [i for i in expected if i in set(shown["id"])]
    assert "money" in shown["name"].iloc[0]


def test_an_input_finds_concepts_that_fire_on_it(start: Start, study_folder: Path) -> None:
    test = _table(start(study_folder))
    next(s for s in test.selectbox if s.label == "Search by").select("A text it fires on").run()
    test.text_input[0].input("the striker scored").run()
    shown = test.dataframe[0].value
    assert len(shown) > 3
    assert shown["relevance"].is_monotonic_decreasing


def test_filters_and_sorting(start: Start, study_folder: Path) -> None:
    test = _table(start(study_folder))
    next(m for m in test.multiselect if m.label == "Method").select("SAE").run()
    assert set(test.dataframe[0].value["method"]) == {"SAE"}
    next(m for m in test.multiselect if m.label == "Only with at least").select("detects.auroc").run()
    next(n for n in test.number_input if n.label == "Smallest AUROC").set_value(0.6).run()
    next(s for s in test.selectbox if s.label == "Sort by").select("detects.auroc").run()
    shown = test.dataframe[0].value["detects.auroc"]
    assert shown.min() >= 0.6
    assert shown.is_monotonic_decreasing


def test_a_name_given_elsewhere_is_in_the_table_at_once(start: Start, study_folder: Path) -> None:
    test = _table(start(study_folder))
    with open_study(study_folder) as study:
        concept = study.concepts(method="SAE").ids[5]
        study.concept(concept).rename("zebra crossings", "Bo")
    test.run()
    shown = test.dataframe[0].value.set_index("id")
    assert shown.loc[concept, "name"] == "zebra crossings"
    assert shown.loc[concept, "named_by"] == "human"


def test_the_report_of_a_concept_holds_its_name(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        concept = study.concept(examined(study))
        concept.rename("a name for the report", "Ada")
    test = start(study_folder, study="small", concept=concept.id)
    next(b for b in test.button if b.label == "Build report").click().run()
    until(test, lambda t: bool(t.get("download_button")))
    assert not test.error


def test_a_report_is_saved_also_where_building_it_compared_the_methods(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        study.delete([run for run in study.runs()["id"] if run.startswith("counterparts")])
        concept = examined(study)
    test = start(study_folder, study="small", concept=concept)
    next(b for b in test.button if b.label == "Build report").click().run()
    until(test, lambda t: bool(t.get("download_button")))
    assert not test.error
    # Once something is added it is out of date.
    with open_study(study_folder) as study:
        study.concept(concept).rename("another name", "Ada")
    test.run()
    assert not test.get("download_button")


def test_examining_a_concept_adds_evidence(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        known = set(study.evidence()["concept"])
        concept = next(i for i in study.concepts(method="SAE").ids if i not in known)
    test = start(study_folder, study="small", concept=concept)
    assert "has not stood trial" in said(test)
    next(b for b in test.button if b.label == "Examine this concept").click().run()
    until(test, lambda t: bool(t.success) or bool(t.error))
    assert not test.error
    assert "AUROC" in said(test)


def test_a_new_name_changes_the_version_that_tables_are_kept_under(study_folder: Path) -> None:
    from app.state import version

    with open_study(study_folder) as study:
        before = version(study)
        study.concept(study.concepts().ids[0]).rename("other", "Bo")
        assert version(study) != before


def _table(test: AppTest) -> AppTest:
    on_page(test, "concepts")
    assert any(t.label == "Search" for t in test.text_input), "this is not the page of the concepts"
    return test
