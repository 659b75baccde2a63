"""What a person does with the app, in a real browser: name by keys, run and stop, compare, report, and two people at once."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from browsing import Seen, drawn

from workbench.jobs import jobs
from workbench.opening import open_study

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Serve = Callable[[Path], str]


def happens(page: Any, done: Callable[[], bool], seconds: float) -> bool:
    """Whether something is so within some seconds; the page goes on meanwhile."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if done():
            return True
        page.wait_for_timeout(300)
    return False


def shown_concept(page: Any) -> str:
    """The id of the concept that the queue shows."""
    return page.locator(".cw-chip", has_text="id ").last.inner_text().removeprefix("id").strip()


def next_concept(page: Any, before: str) -> str:
    page.wait_for_function(
        "before => [...document.querySelectorAll('.cw-chip')].some(c => c.innerText.startsWith('id')"
        " && c.innerText.replace(/^id\\s*/, '') !== before)",
        arg=before,
    )
    drawn(page)
    # While a page is drawn anew, parts of the one before may still stand.
    page.wait_for_function("() => document.querySelectorAll('input[aria-label=\"A name of your own\"]').length === 1")
    return shown_concept(page)


def test_the_queue_is_walked_by_keys_and_typing_is_not_taken_for_a_key(serve: Serve, browser: Any, study_folder: Path) -> None:
    base = serve(study_folder)
    page, seen = browser.pages[0], Seen(base)
    seen.watch(page)
    page.goto(f"{base}/naming")
    drawn(page, "Naming")
    page.get_by_text("null to").first.wait_for(timeout=120_000)
    first = shown_concept(page)
    page.keyboard.press("s")
    second = next_concept(page, first)
    page.keyboard.press("b")
    assert next_concept(page, second) == first
    own = page.get_by_label("A name of your own")
    own.click()
    own.press_sequentially("12 bosses & <b>banks</b>")
    assert own.input_value() == "12 bosses & <b>banks</b>"
    own.press("Enter")
    assert next_concept(page, first) == second
    page.get_by_text("Saved 12 bosses & <b>banks</b>").wait_for()
    page.get_by_text("null to").first.wait_for(timeout=120_000)
    page.get_by_text("of 64 have a name by a person").wait_for()
    drawn(page)
    # The first key that follows typing must be a key again.
    page.locator("h1.cw-title").click()
    with open_study(study_folder) as study:
        # One that meets the page while it is laid out anew is lost, as it is for a person, who presses it again.
        for _ in range(3):
            page.keyboard.press("1")
            if happens(page, lambda: study.concept(second).names()["source"].iloc[-1] == "human", 15):
                break
    third = next_concept(page, second)
    page.get_by_text("2 of 64 have a name by a person").wait_for()
    with open_study(study_folder) as study:
        assert study.concept(first).name == "12 bosses & <b>banks</b>"
        assert study.concept(second).names()["source"].iloc[-1] == "human"
        assert "human" not in set(study.concept(third).names()["source"])
    seen.nothing_else()


def test_two_people_who_name_one_concept_see_each_other(serve: Serve, browser: Any, study_folder: Path) -> None:
    with open_study(study_folder) as study:
        concept = study.concepts(method="SAE").ids[0]
    base = serve(study_folder)
    seen = Seen(base)
    ada, bo = browser.pages[0], browser.new_page()
    for page in (ada, bo):
        seen.watch(page)
        page.goto(f"{base}/concept?" + urlencode({"study": "small", "concept": concept}))
        drawn(page)
        page.get_by_label("New name").wait_for()
    bo.get_by_label("New name").fill("what Bo")
    ada.get_by_label("New name").fill("what Ada saw")
    ada.get_by_label("Your name").first.fill("Ada")
    ada.get_by_role("button", name="Save name").click()
    drawn(ada, "what Ada saw")
    bo.get_by_text("Ada has just named it what Ada saw").wait_for()
    # What Bo was typing is still there.
    assert bo.get_by_label("New name").input_value() == "what Bo"
    bo.get_by_label("New name").fill("what Bo saw")
    bo.get_by_label("Your name").first.fill("Bo")
    bo.get_by_role("button", name="Save name").click()
    drawn(bo, "what Bo saw")
    ada.get_by_text("Bo has just named it what Bo saw").wait_for()
    with open_study(study_folder) as study:
        history = study.concept(concept).names()
    assert history["text"].tolist()[-2:] == ["what Ada saw", "what Bo saw"]
    assert history["supersedes"].iloc[-1] == history["id"].iloc[-2]
    seen.nothing_else()


def choose(page: Any, label: str, option: str) -> None:
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()
    drawn(page)


def test_an_analysis_is_started_outlives_a_reload_and_is_stopped(serve: Serve, browser: Any, study_folder: Path) -> None:
    base = serve(study_folder)
    page, seen = browser.pages[0], Seen(base)
    seen.watch(page)
    page.goto(f"{base}/runs?start=true")
    drawn(page, "Runs")
    choose(page, "Analysis", "Sparse autoencoder")
    for option, value in {"samples": "500000000", "d_sae": "64", "k": "4", "batch_size": "64"}.items():
        page.get_by_role("spinbutton", name=option, exact=True).fill(value)
    page.keyboard.press("Tab")
    drawn(page)
    with open_study(study_folder) as study:
        # A click that meets the form while it is laid out anew is lost, as it is for a person, who clicks again.
        for _ in range(4):
            page.get_by_role("button", name="Start", exact=True).click()
            if happens(page, lambda: bool(jobs(study)), 15):
                break
        assert jobs(study)
    # Streamlit shows a "Stop" of its own in the header while a page is being drawn.
    stop = page.get_by_test_id("stMain").get_by_role("button", name="Stop")
    stop.wait_for()
    page.reload()
    stop.wait_for()
    with open_study(study_folder) as study:
        assert happens(page, lambda: bool(len(study.runs("running"))), 120), jobs(study)
        concepts = len(study.concepts())
        stop.click()
        page.get_by_text("was stopped").first.wait_for()
        record = study.runs(None).iloc[-1]
        assert (record["analysis"], record["status"]) == ("sparse_autoencoder", "cancelled")
        assert len(study.concepts()) == concepts
        assert not list((study_folder / "runs").glob(f"{record['id']}*"))
    seen.nothing_else()


def test_runs_are_compared_and_reported(serve: Serve, browser: Any, study_folder: Path, tmp_path: Path) -> None:
    with open_study(study_folder) as study:
        study.run("linear_probe", study.activation_set(), seed=1, controls=False)
    base = serve(study_folder)
    page, seen = browser.pages[0], Seen(base)
    seen.watch(page)
    page.goto(f"{base}/compare")
    drawn(page, "Compare")
    page.get_by_text("pairs that agree").wait_for()
    # The table is painted on a canvas: its first row lies below its header.
    table = page.locator("[data-testid=stDataFrame]").last
    table.scroll_into_view_if_needed()
    box = table.locator("canvas").first.bounding_box()
    page.mouse.click(box["x"] + 18, box["y"] + 35 + 17)
    page.get_by_label("New name").wait_for()
    assert "concept=linear_probe" in page.url
    page.goto(f"{base}/report")
    drawn(page, "Report")
    page.get_by_label("Title").fill("Probes & <b>more</b>")
    page.get_by_role("button", name="Build report").click()
    with page.expect_download(timeout=120_000) as saving:
        page.get_by_role("button", name="Download report").click(timeout=120_000)
    saving.value.save_as(tmp_path / "report.html")
    assert "<h1>Probes &amp; &lt;b&gt;more&lt;/b&gt;</h1>" in (tmp_path / "report.html").read_text()
    page.get_by_role("button", name="Pack the tables").click()
    with page.expect_download(timeout=120_000) as saving:
        page.get_by_role("button", name="Download tables").click(timeout=120_000)
    saving.value.save_as(tmp_path / "tables.zip")
    assert "evidence.parquet" in zipfile.ZipFile(tmp_path / "tables.zip").namelist()
    seen.nothing_else()


def test_on_a_phone_the_pages_and_the_studies_are_in_reach(serve: Serve, browser: Any, study_folder: Path) -> None:
    open_study(study_folder.parent / "bare").close()
    base = serve(study_folder.parent)
    page, seen = browser.pages[0], Seen(base)
    seen.watch(page)
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{base}/layers")
    drawn(page, "Layers")
    page.get_by_text("No run has measured anything").wait_for()
    choose(page, "Study", "small")
    page.locator("[data-testid=stPlotlyChart]").wait_for()
    assert "study=small" in page.url
    page.get_by_test_id("stExpandSidebarButton").click()
    page.get_by_role("link", name="Naming").click()
    drawn(page, "Naming")
    page.get_by_text("of 64 have a name by a person").wait_for()
    seen.nothing_else()
