"""Make the bundled study "steer": the concepts of Scribe, on trial, in one file without activations.

    python data/scripts/steer_study.py --out data/studies/steer.zip

One core takes 70 minutes, most of it for steering. Every concept that was steered is in the study, whatever came of it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import workbench as wb
from workbench.cli.console import progress
from workbench.study import Study

SITE = "resid_post.4"
PROBED = ("resid_post.1", SITE, "resid_post.7")

# First, latents that moved their own tokens most against random directions when all were tried on texts of the validation split
# (`screen_latents.py`); their trial is on others. Then those whose directions raise their own tokens most at once, of those that
# can be said in words; then some that were picked by eye in the list of own tokens; last, latents that detect a label best,
# whatever tokens they have.
STEERED = (
    2906, 3646, 3376, 3225, 2739,
    3719, 1443, 471, 939, 1225, 2788, 1010, 3206, 968, 1245, 2131, 756, 1327, 2014, 3254, 486,
    3986, 4085, 3319, 2437, 828, 2230, 1341, 3293, 890, 1099, 2948, 915,
    2207, 1000, 548, 1106, 1246, 454,
)  # fmt: skip
# Read off the strongest examples and the tokens that come next; the automatic names stay in the history.
NAMES = {
    2906: "a stem: -ing, -ed, -s or -ment follows",
    3646: "a comparative: than follows",
    3376: "a stem that ends in -le or -ling",
    3225: "a stem that ends in -y, -ies or -ically",
    2739: "a stem that ends in -ent, -ence or -ency",
    3719: "will, would: an infinitive follows",
    1443: "a stem that takes -ation, -ate or -able",
    471: "a bound stem: its ending follows",
    939: "inside a number: a digit follows",
    1010: "the end of a sentence",
    1225: "inside what somebody says",
    2788: "why, that, way: a clause follows",
    3206: "a participle: a preposition follows",
    968: "inside a word in capitals",
    1245: "a verb of motion: its direction follows",
    2131: "have, has: a past participle follows",
    756: "to: an infinitive follows",
    1327: "of: a determiner follows",
    2014: "a comma between two phrases",
    3254: "it: a form of 'to be' follows",
    486: "she",
    3986: "debt and interest in reports",
    4085: "this, past: a stretch of time follows",
    3319: "most of, part of",
    1341: "recommended to Congress",
    2207: "dates and days",
    1000: "the end of a sentence in official prose",
    548: "the end of a sentence in reports to Congress",
    1106: "not",
    1246: "no, never",
    454: "inside a foreign name",
}
AUTHOR = "Concept Workbench"
PROMPT = "The people of this country"


def make(study: Study) -> None:
    """Every step; a run that is there is reused."""
    with progress() as show:
        model, texts = wb.load_model("scribe"), wb.load_dataset("topics")
        acts = study.capture(model, texts, sites="resid_post.*", progress=show)
        latents = study.run("pretrained_dictionary", acts.at(SITE), progress=show)
        probes = study.run("linear_probe", acts.select(PROBED), progress=show)
        means = study.run("concept_activation", acts.at(SITE), estimator="mean_difference", progress=show)
        latents.concepts.name(vocabulary="common-words", progress=show)
        for number, name in NAMES.items():
            if (latent := study.concept(f"{latents.id}.{number}")).name != name:
                latent.rename(name, AUTHOR)
        study.examine(latents, families=("detects", "informs", "locates"), progress=show)
        chosen = [study.concept(f"{latents.id}.{number}") for number in STEERED]
        study.examine(chosen, families=("causes", "named"), progress=show)
        for run, site, steer in ((probes, SITE, 8), (probes, "resid_post.7", 8), (means, SITE, 3)):
            study.examine(run, sites=[site], steer=steer, families=("detects", "informs", "locates", "causes"), progress=show)
        study.counterparts(progress=show)
    for site in acts.sites:
        # Kept in the catalog, for where there are no activations.
        study.dose_unit(site)
    best = study.concept(f"{latents.id}.{STEERED[0]}")
    doses = study.doses(best.site)
    assert doses is not None
    amount = round(best.recommended_push or doses.unit * doses.found[1], 3)
    steps = [{"concept": best.id, "action": "add", "amount": amount}]
    recipe = wb.Recipe.made(steps=steps, prompt=PROMPT, name=best.name)
    study.keep_recipe(recipe, recipe.bound(study).run(study).texts, AUTHOR)
    collection = [f"{latents.id}.{number}" for number in STEERED]
    study.collections.add("steered latents", collection, AUTHOR)


def main() -> None:
    """Make it in a scratch folder, or in the one given, and pack it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/studies/steer.zip"))
    parser.add_argument("--study", type=Path, help="Work here, and reuse what is there.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, wb.open_study(arguments.study or Path(scratch) / "steer") as study:
        make(study)
        path = study.pack(arguments.out)
    print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
