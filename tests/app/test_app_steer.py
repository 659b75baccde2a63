"""The playground: concepts of a causal model, text side by side, and recipes that replay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsing import Seen, drawn, tall
from harness import Start, on_page, said, until

from workbench.opening import open_study
from workbench.recipes import Recipe

pytestmark = pytest.mark.slow
PROMPT = "The people of this country"


@pytest.fixture
def folder(steer_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(steer_folder, tmp_path / "studies" / "steer"))


def busy_latent(folder: Path) -> str:
    """A latent that fires on the prompt."""
    with open_study(folder) as study:
        return study.concepts(method="SAE", fires_on=PROMPT).ids[0]


def steer_page(start: Start, folder: Path) -> Any:
    test = on_page(start(folder), "steer")
    assert not test.exception
    return test


def test_a_study_of_an_encoder_says_that_it_writes_no_text(start: Start, study_folder: Path) -> None:
    assert "writes no text" in said(on_page(start(study_folder), "steer"))


def test_text_without_steps_is_the_same_on_both_sides_and_a_concept_changes_it(start: Start, folder: Path) -> None:
    test = steer_page(start, folder)
    with open_study(folder) as study:
        base = study.model.generate(PROMPT, max_new_tokens=40).text
    assert said(test).count(base.split("\n")[0][:40]) == 2
    concept = busy_latent(folder)
    test.session_state[f"steps of {folder}"] = [{"concept": concept, "action": "scale", "amount": 6.0}]
    test.run()
    with open_study(folder) as study:
        recipe = Recipe.made(steps=[{"concept": concept, "action": "scale", "amount": 6.0}], prompt=PROMPT)
        edited = recipe.run(study).texts[1]
    assert edited != base
    assert edited.split("\n")[0][:40] in said(test)
    assert "no dose curve yet" in said(test)


def test_a_recipe_of_another_model_is_refused_in_a_sentence(start: Start, folder: Path) -> None:
    with open_study(folder) as study:
        good = study.keep_recipe(Recipe.made(prompt="Once", name="mine"), ["a", "b"], "Ada")
        row = good.model_copy(update={"weights_hash": "0" * 64, "name": "<script>alert(1)</script>"})
        from workbench.store import tables

        kept = {"name": row.name, "recipe": row.model_dump(), "texts": [], "author": "Eve", "at": tables.now()}
        study.catalog.insert(tables.interventions, [kept])
    test = steer_page(start, folder)
    assert "&lt;script&gt;" in said(test)
    next(b for b in test.button if b.label == "Use").click().run()
    assert "open the study it was made in" in test.error[0].value
    [b for b in test.button if b.label == "Use"][1].click().run()
    assert "Once" in said(test)


@pytest.mark.browser
def test_a_person_steers_and_takes_the_recipe_home(
    serve: Callable[[Path], str], browser: Any, folder: Path, tmp_path: Path
) -> None:
    concept = busy_latent(folder)
    base = serve(folder)
    page, seen = browser.pages[0], Seen(base)
    seen.watch(page)
    page.goto(f"{base}/concept?study=steer&concept={concept}")
    drawn(page)
    page.get_by_role("link", name="Steer with this concept").click()
    drawn(page, "Steer")
    # The model is loaded for the first text.
    page.get_by_text("The next token").wait_for(timeout=180_000)
    page.get_by_label("Dose, in deviations of the activations from their mean").wait_for()
    with page.expect_download() as saving:
        page.get_by_role("button", name="Download recipe").click()
    saving.value.save_as(tmp_path / "recipe.json")
    recipe = Recipe.load(tmp_path / "recipe.json")
    assert recipe.steps[0].concept == concept
    with open_study(folder) as study:
        texts = recipe.run(study).texts
    shown = page.locator(".cw-text")
    assert [" ".join(t.split()) for t in shown.all_inner_texts()] == [" ".join((PROMPT + t).split()) for t in texts]
    page.get_by_label("Name of the recipe").fill("mine")
    page.get_by_label("Name of the recipe").press("Enter")
    page.get_by_role("button", name="Keep in the study").click()
    page.get_by_text("Kept: mine").wait_for()
    with open_study(folder) as study:
        assert json.loads(json.dumps(study.recipes()["recipe"].iloc[-1]))["name"] == "mine"
    seen.nothing_else()


@pytest.fixture
def bundled(bundled_steer: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundled_steer, tmp_path / "studies" / "steer"))


def best_of(folder: Path) -> dict[str, Any]:
    with open_study(folder) as study:
        return dict(study.steered().iloc[0])


@pytest.mark.parametrize(
    "path", ["", "concepts", "concept", "naming", "steer", "layers", "information", "runs", "compare", "report"]
)
def test_every_page_opens_on_the_bundled_study_which_has_no_activations(start: Start, bundled: Path, path: str) -> None:
    query = {"concept": best_of(bundled)["concept"]} if path == "concept" else {}
    test = start(bundled, **query)
    if path:
        on_page(test, path)
    assert not test.exception
    assert not test.error, test.error[0].value


def test_what_needs_activations_says_how_to_get_them(start: Start, bundled: Path) -> None:
    test = on_page(start(bundled), "naming")
    until(test, lambda t: "left out when the study was packed" in said(t), 60)
    assert "workbench recapture steer" in said(test)


def test_steered_concepts_are_listed_and_a_step_starts_at_the_recommended_dose(start: Start, bundled: Path) -> None:
    best = best_of(bundled)
    test = start(bundled)
    test.query_params["steer"] = best["concept"]
    on_page(test, "steer")
    shown = test.dataframe[-1].value
    assert shown["name"].iloc[0] == best["name"]
    assert shown["verdict"].nunique() > 1
    slider = next(s for s in test.slider if s.label.startswith("Dose"))
    with open_study(bundled, create=False) as study:
        concept = study.concept(best["concept"])
        assert slider.value == pytest.approx(concept.recommended_dose, rel=0.01)
        assert concept.recommended_push == pytest.approx(best["push"])


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_the_bundled_study_fits_its_screen(
    serve: Callable[[Path], str], browser: Any, bundled: Path, artifacts: Path, width: int, scheme: str
) -> None:
    concept = best_of(bundled)["concept"]
    base = serve(bundled)
    page, seen = browser.pages[0], Seen(base)
    seen.watch(page)
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900 if width > 800 else 844})
    for name, path in {"steer": f"steer?study=steer&steer={concept}", "latent": f"concept?study=steer&concept={concept}"}.items():
        page.goto(f"{base}/{path}")
        drawn(page)
        if name == "steer":
            page.get_by_text("Concepts that were steered").wait_for(timeout=120_000)
        page.wait_for_timeout(600)
        wide = page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth")
        assert wide <= width, f"{name} is {wide} pixels wide on a screen of {width}"
        tall(page, artifacts / f"{name}-{width}-{scheme}-whole.png")
    seen.nothing_else()
