"""The pages for work, by Streamlit's own harness: naming, layers, information, runs, comparison, report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
from harness import HOSTILE, PAGES, Start, labelled, on_page, said, until
from streamlit.testing.v1 import AppTest

from app.components.form import LEFT_OUT
from workbench import registry
from workbench.analysis import Analysis, Context, Input, Result
from workbench.jobs import jobs
from workbench.numbers import p_value
from workbench.opening import open_study
from workbench.store import tables

pytestmark = pytest.mark.slow


# The calibration is the same whatever a study holds.
@pytest.mark.parametrize("page", [page for page in PAGES if page != "calibration"])
def test_every_page_says_in_one_line_what_an_empty_study_lacks(start: Start, tmp_path: Path, page: str) -> None:
    open_study(tmp_path / "bare").close()
    test = start(tmp_path / "bare")
    if page:
        on_page(test, page)
    text = said(test)
    assert "workbench " in text or "needs two finished runs" in text
    assert 'class="cw-empty"' in text


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_hostile_labels_as_text(start: Start, hostile_folder: Path, page: str) -> None:
    test = start(hostile_folder)
    if page:
        on_page(test, page)
    text = said(test)
    assert "<script" not in text.replace("&lt;script", "")
    assert "<img" not in text


def test_the_queue_gives_a_name_and_goes_on(start: Start, study_folder: Path) -> None:
    test = on_page(start(study_folder), "naming")
    queue = test.session_state[f"queue {study_folder}"]
    first = queue.ids[0]
    with open_study(study_folder) as study:
        best = study.evidence(["detects.auroc"]).groupby("concept")["value"].max()
        discovered = [i for i in study.concepts(method="SAE").ids if i in best.index]
        assert first == max(discovered, key=lambda i: best[i])
    labelled(test.text_input, "Your name").input("Ada").run()
    labelled(test.text_input, "A name of your own").input(HOSTILE[:60])
    labelled(test.button, "Save and go on").click().run()
    assert "&lt;script&gt;" in said(test)
    assert test.session_state[f"queue {study_folder}"].place == 1
    with open_study(study_folder) as study:
        last = study.concept(first).names().iloc[-1]
    assert (last["source"], last["author"]) == ("human", "Ada")
    assert "1 of" in test.get("progress")[0].proto.text
    labelled(test.button, "Back").click().run()
    assert test.session_state[f"queue {study_folder}"].place == 0
    labelled(test.button, "Skip").click().run()
    assert test.session_state[f"queue {study_folder}"].place == 1


def test_the_queue_offers_names_with_their_scores(start: Start, study_folder: Path) -> None:
    test = on_page(start(study_folder), "naming")
    first = test.session_state[f"queue {study_folder}"].ids[0]
    until(test, lambda t: "null to" in said(t) or "not measured" in said(t))
    buttons = [b for b in test.button if b.key and b.key.startswith(f"take {first}")]
    assert len(buttons) >= 2
    with open_study(study_folder) as study:
        current = study.concept(first).name
    assert buttons[0].label == current
    buttons[1].click().run()
    with open_study(study_folder) as study:
        assert study.concept(first).name == buttons[1].label


def test_the_queue_says_what_somebody_else_wrote_meanwhile(start: Start, study_folder: Path) -> None:
    test = on_page(start(study_folder), "naming")
    first = test.session_state[f"queue {study_folder}"].ids[0]
    with open_study(study_folder) as study:
        study.concept(first).rename("what Bo saw", "Bo")
    test.run()
    assert "Bo has just named it <b><bdi>what Bo saw" in said(test)
    labelled(test.text_input, "A name of your own").input("what Ada saw")
    labelled(test.button, "Save and go on").click().run()
    assert "Bo had named it <b><bdi>what Bo saw" in said(test)
    with open_study(study_folder) as study:
        assert study.concept(first).names()["text"].tolist()[-2:] == ["what Bo saw", "what Ada saw"]


def test_layers_draw_any_declared_measurement_with_its_null(start: Start, study_folder: Path) -> None:
    test = on_page(start(study_folder), "layers")
    with open_study(study_folder) as study:
        metrics = study.get_run("linear_probe").metrics
    shown = test.dataframe[0].value
    assert len(test.get("plotly_chart")) == 1
    first = metrics[metrics["metric"].eq("probe.auroc")].set_index(["site", "label"])
    for row in shown.to_dict("records"):
        assert row["value"] == first.loc[(row["site"], row["series"]), "value"]
        assert row["null"] == first.loc[(row["site"], row["series"]), "null"]
    labelled(test.selectbox, "Measurement").select("probe.selectivity").run()
    assert "control task" in said(test)
    labelled(test.multiselect, "Labels").set_value([]).run()
    assert "Choose a label" in said(test)


def test_information_shows_bits_with_their_null(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        acts = study.activation_set()
        run = study.run("mutual_information", acts, labels="topic", permutations=19, max_rows=600)
        bound = run.metrics[run.metrics["metric"].eq("mi.bound")]
    test = on_page(start(study_folder), "information")
    assert "from permuted labels" in said(test)
    best = test.dataframe[0].value
    assert best["Bits"].max() == pytest.approx(bound["value"].max())
    row = bound.loc[bound["value"].idxmax()]
    shown = best.iloc[0]
    assert shown["Null, 95th"] == pytest.approx(row["null_high"])
    assert shown["Sampling error"] == pytest.approx(row["standard_error"])
    assert shown["Clusters"] == row["clusters"]
    assert shown["p"] == p_value(row["p"])
    assert shown["Corrected p"] == p_value(row["p_corrected"])
    expected = "above its null" if row["p_corrected"] <= 0.05 else "not told apart from its null"
    assert shown["Reading"] == (expected if pd.notna(row["p"]) else "too few documents to test")


def test_a_forms_fields_come_from_the_options_and_faults_are_told_beside_it(start: Start, study_folder: Path) -> None:
    test = on_page(start(study_folder), "runs")
    labelled(test.toggle, "Start an analysis").set_value(True).run()
    labelled(test.selectbox, "Analysis").select("concept_activation").run()
    labels = {w.label for w in [*test.selectbox, *test.multiselect, *test.number_input, *test.toggle]}
    assert {"per_side", "random_sets", "estimator", "classes", "labels", "Sites", "seed"} <= labels
    assert labelled(test.number_input, "random_sets").min == 19
    assert labelled(test.selectbox, "estimator").options[:2] == ["logistic", "pattern"]
    assert labelled(test.selectbox, "classes").options == ["topic"]
    assert labelled(test.multiselect, "labels").placeholder == LEFT_OUT
    labelled(test.selectbox, "Analysis").select("linear_probe").run()
    labelled(test.number_input, "C").set_value(0.0)
    labelled(test.button, "Start").click().run()
    assert "greater than 0" in test.error[0].value
    with open_study(study_folder) as study:
        assert jobs(study) == []


class Reads(Analysis):
    """Reads concepts of other runs; for tests."""

    name: ClassVar[str] = "reads_for_tests"
    title: ClassVar[str] = "Reads"
    method: ClassVar[str] = "none"
    inputs: ClassVar[tuple[Input, ...]] = (
        Input("concepts", "concepts", "what it is made of", many=True),
        Input("data", "dataset", optional=True),
    )

    def run(self, context: Context) -> Result:
        """Return nothing."""
        return Result()


def test_a_form_has_a_chooser_for_what_an_analysis_reads_besides(
    start: Start, study_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._registered, "reads_for_tests", Reads)
    test = on_page(start(study_folder), "runs")
    labelled(test.toggle, "Start an analysis").set_value(True).run()
    labelled(test.selectbox, "Analysis").select("reads_for_tests").run()
    with open_study(study_folder) as study:
        runs = study.runs()
        names = {data.name for data in study.datasets()}
    offered = labelled(test.multiselect, "input concepts")
    assert offered.options == runs.loc[~runs["analysis"].isin(["examine", "counterparts"]), "id"].tolist()[::-1]
    assert {option.split(" ")[0] for option in labelled(test.selectbox, "input data").options} == names
    labelled(test.button, "Start").click().run()
    assert "reads the concepts of runs (concepts: what it is made of)" in test.error[0].value.replace("\\", "")


def test_a_run_started_from_the_form_is_there_without_a_restart(start: Start, study_folder: Path) -> None:
    test = on_page(start(study_folder), "runs")
    labelled(test.toggle, "Start an analysis").set_value(True).run()
    labelled(test.selectbox, "Analysis").select("linear_probe").run()
    labelled(test.multiselect, "Sites").set_value(["resid_post.2"])
    labelled(test.multiselect, "labels").set_value(["topic"])
    labelled(test.toggle, "controls").set_value(False)
    labelled(test.number_input, "seed").set_value(3)
    before = len(test.dataframe[0].value)
    labelled(test.button, "Start").click().run()
    until(test, lambda t: bool(t.success) or bool(t.error))
    assert not test.error, test.error[0].value
    assert len(test.dataframe[0].value) == before + 1
    with open_study(study_folder) as study:
        record = study.runs().iloc[-1]
    assert record["config"]["labels"] == ["topic"]
    assert record["inputs"]["sites"] == ["resid_post.2"]
    assert record["seed"] == 3
    assert record["id"] in test.success[0].value.replace("\\", "")
    # Another session of the same server sees it too.
    assert record["id"] in list(on_page(start(study_folder), "compare").selectbox[0].options[0].split(" "))


def test_a_runs_page_shows_its_options_and_where_it_came_from(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        run = study.get_run("linear_probe")
        examined = study.runs().query("analysis == 'examine'").iloc[0]
    test = start(study_folder)
    test.query_params["run"] = run.id
    text = said(on_page(test, "runs"))
    assert "option max_rows" in text
    assert "40000" in text
    test.query_params["run"] = examined["id"]
    on_page(test, "runs")
    links = [str(e.proto.label) for e in test.get("page_link")]
    assert any(run.id in link.replace("\\", "") or "sparse" in link for link in links)


def test_two_runs_are_compared(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        acts = study.activation_set()
        other = study.run("linear_probe", acts, seed=1, C=0.2, controls=False)
        first = study.get_run("linear_probe")
    test = on_page(start(study_folder), "compare")
    config = test.dataframe[0].value
    assert set(config["option"]) == {"C", "controls", "seed"}
    metrics, matched = test.dataframe[1].value, test.dataframe[2].value
    assert set(metrics["Intervals"]) <= {"overlap", "apart", "–"}
    assert len(matched) == len(first.concepts)
    assert matched["Partner's id"].str.startswith(other.id).all()
    assert "pairs that agree" in said(test)


def test_a_report_of_a_collection_is_built_and_saved(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        ids = study.concepts(method="SAE").ids[:2]
        study.collections.add("for paper <b>", ids, "Ada")
    test = on_page(start(study_folder), "report")
    labelled(test.text_input, "Title").input("What <i>we</i> found").run()
    labelled(test.selectbox, "Concepts with a card").select("a collection").run()
    assert list(test.dataframe[0].value["Id"]) == ids
    assert "MiB" in " ".join(m.value for m in test.markdown)
    labelled(test.button, "Build report").click().run()
    until(test, lambda t: bool(t.get("download_button")) or bool(t.error))
    assert not test.error, test.error[0].value
    assert "Download report" in test.get("download_button")[0].proto.label
    labelled(test.button, "Pack the tables").click().run()
    until(test, lambda t: len(t.get("download_button")) == 2)


def test_a_concept_can_be_put_into_a_collection(start: Start, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        concept = study.concepts(method="SAE").ids[0]
        study.collections.add("known", study.concepts(method="probe").ids[:1])
    test = start(study_folder, study="small", concept=concept)
    labelled(test.selectbox, "Collection").select("known")
    labelled(test.button, "Add this concept").click().run()
    assert "Added to known" in test.success[0].value
    with open_study(study_folder) as study:
        assert study.collections["known"].ids[-1] == concept


def test_only_a_decoder_is_searched_by_the_token_that_it_makes_likelier(start: Start, study_folder: Path) -> None:
    def ways(test: AppTest) -> list[str]:
        return list(labelled(on_page(test, "concepts").selectbox, "Search by").options)

    assert ways(start(study_folder)) == ["Name or meaning", "A text it fires on"]
    with open_study(study_folder) as study:
        record = study.model_record()
        study.catalog.set_info("model", json.dumps(record | {"kind": "decoder"}))
    assert ways(start(study_folder))[-1] == "A token that it makes likelier"


def test_a_run_whose_process_died_is_shown_as_failed(start: Start, study_folder: Path) -> None:
    from workbench.processes import identity

    with open_study(study_folder) as study:
        row = {"id": "gone-1", "analysis": "gone", "status": "running", "config": {}, "seed": 0, "inputs": {}}
        process = identity() | {"pid": 2**22 - 1}
        study.catalog.insert(tables.runs, [row | {"provenance": {"process": process}, "started": tables.now()}])
    test = on_page(start(study_folder), "runs")
    shown = test.dataframe[0].value.set_index("Id")
    assert shown.loc["gone-1", "Status"] == "failed"


def test_a_page_that_a_job_overtook_is_drawn_anew_and_no_click_is_lost() -> None:
    def page() -> None:
        import time

        import streamlit as st

        from app import jobs

        job = jobs.find_job(("overtaking",)) or jobs.start(("overtaking",), "Quick", lambda show: time.sleep(60))
        if not job.finished:
            # The job ends while this page, which took it for running, is drawn after a click.
            if st.session_state.get("clicked"):
                job.result, job.finished = "whole", True
            jobs.watch(("overtaking",))
        with st.form("naming"):
            if st.form_submit_button("Save", on_click=lambda: st.session_state.update(clicked=True)):
                st.session_state["saved"] = st.session_state.get("saved", 0) + 1
        st.text(f"{job.result} {st.session_state.get('saved', 0)}")
        jobs.redraw()

    test = AppTest.from_function(page).run(timeout=20)
    assert [t.value for t in test.text] == ["None 0"]
    test.button[0].click().run(timeout=20)
    assert [t.value for t in test.text] == ["whole 1"]
    assert "a job overtook the page" not in test.session_state
