"""Views of a run and the editor of a head, by Streamlit's own harness; no page knows the method."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Start, labelled, on_page, said
from small_study import MAIN

from tests.analyses.every_part import BAD, every_part
from tests.analyses.returning import Returns
from tests.analyses.test_head_edits import with_head
from tests.analyses.test_own_evidence import honest
from tests.plugins.installing import in_new_process, installed
from tests.plugins.test_bottleneck import RUN
from workbench.opening import open_study


def opened(start: Start, study: Any, run: str) -> Any:
    """The page of a run."""
    test = start(study.folder, study=study.name, run=run)
    return on_page(test, "runs")


def test_every_kind_of_view_is_drawn_and_texts_stay_texts(start: Start, planted: Any) -> None:
    study, acts, dataset, _ = planted(examples=60)
    study.keep_dataset(dataset)
    Returns.result = staticmethod(every_part)
    run = study.run("returns", acts)
    test = opened(start, study, run.id)
    text = said(test)
    for view in run.views[2:]:
        assert view.title in text
    assert text.count("data:image/png;base64") == 6
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert len(test.get("plotly_chart")) == 5
    assert "Small models: machine" in text
    assert labelled(test.selectbox, "Output").options == ["left", BAD]


def test_a_shortcut_is_taken_out_in_the_editor_and_saved_as_a_run(start: Start, planted: Any) -> None:
    study, run = with_head(planted)
    study.keep_dataset(study.dataset_of(study.activation_set()))
    test = opened(start, study, run.id)
    assert "Not saved" not in said(test)
    labelled(test.multiselect, "Concepts that count for no output").select(1).run()
    text = said(test)
    assert "Not saved" in text
    assert "Accuracy after: <b>1.000</b>" in text
    # Nothing is written before it is saved.
    assert len(study.runs(status=None)) == 1
    labelled(test.button, "Save as a run").click().run()
    assert "Saved as edit" in "".join(str(e.value) for e in test.success)
    with open_study(study.folder) as again:
        (saved,) = again.runs().query("analysis == 'edit_head'")["id"]
        assert again.get_run(saved).config["mask"] == [1]
        assert again.get_run(saved).record["inputs"]["parents"] == [run.id]
    test = opened(start, study, saved)
    assert "Change of accuracy" in test.dataframe[1].value["metric"].tolist()


def test_the_card_of_a_concept_has_what_its_method_measured(start: Start, planted: Any) -> None:
    study, acts, _, _ = planted(examples=60)
    Returns.result = staticmethod(honest)
    run = study.run("returns", acts)
    text = said(start(study.folder, study=study.name, concept=f"{run.id}.0"))
    assert "measured by the method that found it" in text
    assert "<b>known</b>" in text
    assert "Significant at 5%" in text
    assert "Failed: too few rows" in said(start(study.folder, study=study.name, concept=f"{run.id}.1"))


def test_a_weight_is_set_and_taken_back(start: Start, planted: Any) -> None:
    study, run = with_head(planted)
    study.keep_dataset(study.dataset_of(study.activation_set()))
    test = opened(start, study, run.id)
    labelled(test.number_input, "Weight").set_value(0.0)
    labelled(test.button, "Set").click().run()
    assert "Accuracy after: <b>1.000</b>" in said(test)
    labelled(test.button, "Take back all changes").click().run()
    assert "Not saved" not in said(test)


@pytest.mark.browser
@pytest.mark.slow
def test_the_bottleneck_of_a_plug_in_is_edited_in_a_browser(
    run_server: Callable[..., Any], browser: Any, planted: Any, tmp_path: Path
) -> None:
    plugin = installed("bottleneck", tmp_path / "plugins" / "bottleneck")
    study, _, dataset, _ = planted(examples=120)
    study.keep_dataset(dataset)
    run = in_new_process(RUN.format(folder=str(study.folder)), plugin).split()[-2]
    with run_server(tmp_path, PYTHONPATH=os.pathsep.join(map(str, [plugin, MAIN.parents[1]]))) as server:
        server.show(study.folder)
        page = browser.pages[0]
        page.goto(f"{server.base}/runs?study={study.name}&run={run}")
        page.get_by_text("What each concept counts").wait_for()
        # The concept of largest weight is chosen, and the weight 0.
        page.get_by_role("button", name="Set", exact=True).click()
        page.get_by_text("Accuracy after").wait_for()
        page.get_by_role("button", name="Save as a run").click()
        page.get_by_text("Saved as edit").wait_for()
    (edited,) = study.runs().query("analysis == 'edit_head'")["id"]
    metrics = study.get_run(edited).metrics.set_index(["metric", "label"])["value"]
    assert metrics["head.accuracy", "before"] > 0.9
    assert metrics["head.accuracy", "after"] < metrics["head.accuracy", "before"]
    assert study.get_run(edited).record["inputs"]["parents"] == [run]
