"""The app in a real browser: a person's way through it, hostile text, and who is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from browsing import HOSTILE, SHOWN, Seen, drawn, tall
from harness import PAGES, TASKS
from small_study import HOSTILE_FIGURES, spoil

from workbench.opening import open_study

WORK = ["runs?start=true" if page == "runs" else page for page in PAGES if page not in {"", "concept", "concepts"}]

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_person_finds_names_and_reports_a_concept(
    serve: Callable[[Path], str], browser: Any, study_folder: Path, tmp_path: Path
) -> None:
    walk(serve(study_folder), browser, study_folder, tmp_path)


def test_the_same_way_through_the_demo(
    serve: Callable[[Path], str], browser: Any, demo: tuple[Path, str], tmp_path: Path
) -> None:
    folder = demo[0] / "topics"
    walk(serve(folder), browser, folder, tmp_path)


def walk(base: str, browser: Any, folder: Path, out: Path) -> None:
    """Find a concept by a word, name it, see the history, take the report home."""
    with open_study(folder) as study:
        found = study.concepts("money", limit=1).best()
        name, before = found.name, len(found.names())
    page, seen = browser.pages[0], Seen(base)
    seen.watch(page)
    page.goto(base)
    drawn(page, folder.name)
    page.get_by_role("link", name="Find a concept").click()
    drawn(page, "Find a concept")
    page.get_by_role("textbox", name="Search").fill("money")
    page.get_by_role("textbox", name="Search").press("Enter")
    # The first search loads the text encoder.
    page.get_by_text("your search.").wait_for(timeout=180_000)
    # The table is painted on a canvas: its first row lies below its header.
    box = page.locator("[data-testid=stDataFrame] canvas").first.bounding_box()
    page.mouse.click(box["x"] + 18, box["y"] + 35 + 17)
    page.get_by_label("New name").wait_for()
    drawn(page, name)
    page.get_by_label("New name").fill("cash & <b>banks</b>")
    page.get_by_label("Your name").first.fill("Ada")
    page.get_by_role("button", name="Save name").click()
    drawn(page, "cash & <b>banks</b>")
    page.get_by_text("Ada (a person)").wait_for()
    assert page.get_by_text("Ada (a person)").count() == 1
    assert "concept=" in page.url
    page.get_by_role("button", name="Build report").click()
    with page.expect_download(timeout=120_000) as saving:
        page.get_by_role("button", name="Download report").click(timeout=120_000)
    saving.value.save_as(out / "report.html")
    assert "cash &amp; &lt;b&gt;banks&lt;/b&gt;" in (out / "report.html").read_text()
    with open_study(folder) as study:
        assert len(study.concept(found.id).names()) == before + 1
    seen.nothing_else()


def test_a_server_knows_a_deep_link_before_it_has_shown_any_other_page(
    fresh_server: Any, browser: Any, study_folder: Path
) -> None:
    with open_study(study_folder) as study:
        concept = study.concepts(method="SAE")[0]
    fresh_server.show(study_folder)
    page, seen = browser.pages[0], Seen(fresh_server.base)
    seen.watch(page)
    page.goto(f"{fresh_server.base}/concept?" + urlencode({"study": "small", "concept": concept.id}))
    drawn(page, concept.name)
    seen.nothing_else()


# Each width and each scheme once: a colour makes no page wider.
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_every_page_fits_its_screen(
    serve: Callable[[Path], str], browser: Any, study_folder: Path, artifacts: Path, width: int, scheme: str
) -> None:
    with open_study(study_folder) as study:
        concept = study.evidence(["causes.readout"]).query("status == 'ok'")["concept"].iloc[0]
    base = serve(study_folder)
    page, seen = browser.pages[0], Seen(base)
    seen.watch(page)
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900 if width > 800 else 844})
    link = "concept?" + urlencode({"study": "small", "concept": concept})
    first = [("concept", link), ("study", ""), ("concepts", "concepts"), ("short-link", link.removeprefix("concept"))]
    for name, path in [*first, *((path.partition("?")[0], path) for path in WORK)]:
        page.goto(f"{base}/{path}")
        drawn(page)
        page.wait_for_timeout(600)
        wide = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
        assert wide <= width, f"{name} is {wide} pixels wide on a screen of {width}"
        tall(page, artifacts / f"{name}-{width}-{scheme}-whole.png")
    seen.nothing_else()


def test_hostile_names_texts_and_figures_do_nothing(
    serve: Callable[[Path], str], browser: Any, hostile_folder: Path, artifacts: Path, tmp_path: Path
) -> None:
    spoil(hostile_folder, HOSTILE)
    with open_study(hostile_folder) as study:
        concept = study.concepts(method="SAE").ids[0]
        reports = [study.report(tmp_path / "study.html", notes=HOSTILE, title=HOSTILE)]
        reports.append(study.report(tmp_path / "concept.html", concepts=[concept]))
        run = study.get_run("linear_probe").id
    base = serve(hostile_folder)
    page, seen = browser.pages[0], Seen(base)
    seen.watch(page)
    pages = ["", "concepts", *WORK, f"runs?run={run}", "runs?run=linear_probe-failed00"]
    pages += ["data?" + urlencode({"task": task}) for task in TASKS]
    for path in (*pages, "concept?" + urlencode({"study": hostile_folder.name, "concept": concept})):
        page.goto(f"{base}/{path}")
        drawn(page)
        page.wait_for_timeout(800)
        nothing_made_of_text(page)
        if path in {"", f"runs?run={run}"}:
            page.get_by_text("cannot be shown").first.wait_for()
            assert page.get_by_text("cannot be shown").count() == len(HOSTILE_FIGURES)
            page.locator(".gtitle", has_text="<a href=").first.wait_for()
    assert SHOWN in page.locator("h1.cw-title").inner_text()
    marks = page.locator(".cw-example")
    marks.first.wait_for()
    assert page.locator("script", has_text="alert(1)").count() == 0
    assert any("<script>alert(1)</script>" in text for text in page.locator(".cw-example").all_inner_texts())
    page.get_by_label("New note").fill(HOSTILE)
    page.get_by_role("button", name="Add note").click()
    page.get_by_text("someone,").first.wait_for()
    tall(page, artifacts / "hostile.png")
    for report in reports:
        page.goto(report.as_uri())
        page.locator(".plotly-graph-div .main-svg").first.wait_for()
        page.wait_for_timeout(800)
        nothing_made_of_text(page)
    page.goto(reports[0].as_uri())
    for name in HOSTILE_FIGURES:
        assert page.get_by_text(f"figure {name} of run").count() == 1
    seen.nothing_else()


def nothing_made_of_text(page: Any) -> None:
    """No element was made of a text: no picture, no link to another host, no emoji, no formula; no table has a CSV of its own."""
    assert not any(button.is_visible() for button in page.get_by_label("Download as CSV").all())
    assert page.locator("img[src=x], img[src*='a.example'], [href*='a.example'], .katex").count() == 0
    assert page.get_by_text("😄").count() == 0
