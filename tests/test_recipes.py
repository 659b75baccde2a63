"""Recipes: the same intervention in Python, on the command line and from a file; and what a study of a causal model knows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import workbench as wb
from workbench.cli import main
from workbench.errors import ConfigError, StudyError, UnknownNameError
from workbench.recipes import Recipe, RecipeStep

PROMPT = "The people of this country"


@pytest.fixture
def study(steer_folder: Path):
    with wb.open_study(steer_folder, create=False) as opened:
        yield opened


def first(study, method: str):
    return study.concepts(method=method)[0]


def busy_latent(study):
    """A latent that fires on the prompt, so that scaling it must show."""
    return study.concepts(method="SAE", fires_on=PROMPT).best()


def recipe_of(study, **more) -> Recipe:
    latent, probe = busy_latent(study), first(study, "probe")
    steps = [
        RecipeStep(concept=latent.id, action="scale", amount=4.0),
        RecipeStep(concept=probe.id, action="add", amount=6.0, start=3),
    ]
    return Recipe.made(steps=steps, prompt=PROMPT, max_new_tokens=12, **more).bound(study)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]):
    """``workbench --json …``: its exit code and what it printed."""

    def call(*arguments: str) -> tuple[int, dict]:
        with pytest.raises(SystemExit) as end:
            main(["--json", *arguments])
        return end.value.code or 0, json.loads(capsys.readouterr().out)

    return call


def test_a_recipe_gives_the_same_text_by_the_command_and_in_python(study, tmp_path, command) -> None:
    recipe = recipe_of(study, temperature=0.8, seed=5)
    path = recipe.save(tmp_path / "recipe.json")
    found = Recipe.load(path).run(study)
    assert Recipe.load(path) == recipe
    assert found.texts[0] != found.texts[1]
    code, said = command("steer", str(study.folder), "--recipe", str(path))
    assert code == 0, said
    assert [said["base"], said["edited"]] == found.texts
    with study.model.edited(recipe.edits(study)):
        inside = study.model.generate(PROMPT, max_new_tokens=12, temperature=0.8, seed=5)
    assert inside.text == found.texts[1]


def test_concepts_on_the_command_line_make_the_recipe_that_is_saved(study, tmp_path, command) -> None:
    probe, path = first(study, "probe"), tmp_path / "made.json"
    code, said = command(
        "steer", str(study.folder), "--concept", f"{probe.id}=add:5", "--prompt", PROMPT, "--tokens", "8", "--save", str(path)
    )
    assert code == 0, said
    recipe = Recipe.load(path)
    assert recipe.steps == (RecipeStep(concept=probe.id, amount=5.0),)
    assert recipe.weights_hash == study.model.weights_hash
    assert said["edited"] == recipe.run(study).texts[1]


def test_a_recipe_without_steps_changes_nothing(study) -> None:
    found = Recipe.made(prompt=PROMPT, max_new_tokens=6).run(study)
    assert found.texts[0] == found.texts[1]


def test_what_a_recipe_cannot_be_is_one_sentence(study, tmp_path, command) -> None:
    recipe = recipe_of(study)
    with pytest.raises(StudyError, match="open the study it was made in"):
        recipe.model_copy(update={"weights_hash": "0" * 64}).edits(study)
    with pytest.raises(UnknownNameError, match="no concept called"):
        Recipe.made(steps=[{"concept": "nothing.1", "amount": 1}]).edits(study)
    probe = first(study, "probe")
    with pytest.raises(ConfigError, match="no latent"):
        Recipe.made(steps=[{"concept": probe.id, "action": "scale", "amount": 2}]).edits(study)
    for text in ("{", "[]", '{"steps": [{"concept": "a"}]}', '{"temperature": 99}', '{"format": 3}', '{"more": 1}'):
        with pytest.raises(ConfigError, match="no recipe"):
            Recipe.parse(text)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        Recipe.load(tmp_path / "binary")
    for arguments in (["--concept", "a"], ["--concept", "a=b"], [], ["--recipe", str(tmp_path / "none.json")]):
        code, said = command("steer", str(study.folder), *arguments)
        assert code == 2
        assert "error" in said


def test_kept_recipes_stay_and_hold_what_came_of_them(study) -> None:
    recipe = recipe_of(study).model_copy(update={"name": "<script>alert(1)</script>"})
    before = len(study.recipes())
    study.keep_recipe(recipe, ["base", "edited"], author="Ada")
    study.keep_recipe(recipe, ["base", "edited"], author="Bo")
    kept = study.recipes()
    assert len(kept) == before + 2
    assert kept["author"].tolist()[-2:] == ["Ada", "Bo"]
    assert Recipe.parse(json.dumps(kept["recipe"].iloc[-1])) == recipe


def test_every_action_does_what_its_name_says(study) -> None:
    latent = busy_latent(study)
    assert latent.actions == ("add", "clamp", "ablate", "set", "scale")
    assert first(study, "probe").actions == ("add", "clamp", "ablate")
    h = study.model.activations(study.model.batch([PROMPT]), [latent.site])[study.model.site(latent.site)]
    d = latent.direction
    torch.testing.assert_close(latent.edit("add", 3.0)(h), h + 3 * d)
    torch.testing.assert_close(latent.edit("clamp", 2.0)(h) @ d, torch.full(h.shape[:2], 2.0), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(latent.edit("ablate", 1.0)(h) @ d, torch.zeros(h.shape[:2]), atol=1e-3, rtol=1e-3)
    dictionary, column = latent.place
    codes = dictionary.encode(h[0])[:, column]
    moved = latent.edit("scale", 3.0)(h)[0] - h[0]
    torch.testing.assert_close(moved, 2 * codes[:, None] * dictionary.written(column), atol=1e-3, rtol=1e-3)


def test_concepts_of_a_causal_model_know_their_tokens(study) -> None:
    latent = busy_latent(study)
    tokens, effects = latent.tokens(), latent.effects()
    assert len(effects) == 20
    assert tokens["z"].is_monotonic_decreasing
    word = effects.query("side == 'raises' and rank == 0")["token"].item()
    found = study.concepts(output=word, method="SAE", limit=40)
    assert latent.id in found.ids or found.relevance[-1] >= effects["z"].max() - 0.5
    assert found.relevance == sorted(found.relevance, reverse=True)
    with pytest.raises(ConfigError, match="no single token"):
        study.concepts(output="antidisestablishmentarianism")


def test_the_bundled_dictionary_is_measured_like_any_other(study) -> None:
    run = study.get_run("pretrained_dictionary")
    values = run.metrics.set_index("metric")
    assert values.loc["sae.fvu", "value"] < 0.25 < values.loc["sae.fvu", "null"]
    assert values.loc["sae.l0", "value"] == pytest.approx(32, abs=0.5)
    assert len(run.concepts) == 4096
    acts = study.activation_set().at("resid_post.4")
    with pytest.raises(ConfigError, match="no dictionary"):
        study.run("pretrained_dictionary", acts, folder="/nowhere")
    with pytest.raises(ConfigError, match=r"acts\.at"):
        study.run("pretrained_dictionary", study.activation_set())


@pytest.mark.slow
def test_the_example_runs_on_the_command_that_the_docs_give(tmp_path) -> None:
    example = Path(__file__).parent.parent / "examples" / "steer.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    base, edited = done.stdout.split("base:   ")[1].split("\nedited: ")
    assert base.strip() != edited.strip()
    with wb.open_study(tmp_path / "studies" / "steering") as study:
        assert Recipe.load(tmp_path / "recipe.json").run(study).texts[1].strip() == edited.strip()


@pytest.mark.parametrize("version", ["true", "1.0", "2.0", '"2"', "3", "null", "[2]"])
def test_a_version_that_is_no_known_number_is_refused(version: str) -> None:
    with pytest.raises(ConfigError, match="format"):
        Recipe.parse(f'{{"format": {version}}}')
    assert Recipe.parse('{"format": 1}').format == 2
