"""Steer Scribe by every latent of its dictionary, and list those that move their own tokens most against random directions.

    python data/scripts/screen_latents.py studies/steer --device cuda --out screen.parquet

The texts are of the validation split: whatever is picked here stands trial on texts of the test split. A GPU takes minutes, two
cores an hour and a half; ``--latents`` tries some.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import workbench as wb
from workbench.cli.console import progress
from workbench.evidence import steering
from workbench.evidence.controls import Controls, ordinary_rows
from workbench.evidence.model_statistics import rows_of
from workbench.evidence.steered_inputs import passages_from
from workbench.evidence.steering_rows import recommended
from workbench.statistics.nulls import upper
from workbench.study import Study

SELECTED = 200


def screen(study: Study, device: str, most: int | None) -> pd.DataFrame:
    """The effect of each latent on its own tokens at its recommended dose, and what random directions do to the same tokens."""
    model, texts = wb.load_model("scribe", device=device), wb.load_dataset("topics")
    run = study.get_run("pretrained_dictionary")
    latents = run.sets[0]
    own = {number: torch.tensor(part["id"].to_numpy(), device=device) for number, part in run.tables["tokens"].groupby("number")}
    rows = np.flatnonzero(texts.table["split"].eq("validation"))
    passages = steering.read_passages(model, passages_from(texts.inputs(rows.tolist()), 0))
    site, unit = model.site(latents.site), study.dose_unit(latents.site)
    rows = ordinary_rows(rows_of(study.activation_set(run.record["inputs"]["activations"]).at(latents.site), texts))
    controls = Controls.drawn(100, latents.width, rows, 1)
    doses = steering.language_doses(model, site, controls, unit, passages)
    found, directions = [], latents.directions().to(device)
    with progress() as show:
        for place, (number, tokens) in enumerate(list(own.items())[:most]):
            show(place, min(len(own), most or len(own)), "steering by latents")
            one = directions[number][None]
            reading = steering.steer_passages(model, site, one, doses.found, unit, passages, [tokens])
            dose = recommended(reading, passages, doses.found)
            if dose is not None:
                at = doses.found.index(dose)
                cost = reading.loss[0, at].mean() / passages.loss.mean()
                found.append({"number": number, "dose": dose, "odds": reading.odds[0, at, :, 0].mean(), "cost": cost})
        table = pd.DataFrame(found)
        table = table.loc[table["odds"].abs().sort_values(ascending=False).index].head(SELECTED).reset_index(drop=True)
        sets = [own[number] for number in table["number"]]
        control = steering.steer_passages(model, site, controls.directions.to(device), doses.found, unit, passages, sets, show)
    null = controls.most(upper, np.abs(control.odds.mean(2)))
    table["null_high"] = [null[doses.found.index(dose), place] for place, dose in enumerate(table["dose"])]
    table["times_null"] = table["odds"].abs() / table["null_high"]
    table["tokens"] = [" ".join(run.tables["tokens"].query("number == @n")["token"].head(6)) for n in table["number"]]
    return table.sort_values("times_null", ascending=False).reset_index(drop=True)


def main() -> None:
    """Screen, print the first and write all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--latents", type=int, help="Try only so many.")
    parser.add_argument("--out", type=Path, default=Path("screen.parquet"))
    arguments = parser.parse_args()
    with wb.open_study(arguments.study, create=False) as study:
        table = screen(study, arguments.device, arguments.latents)
    table.to_parquet(arguments.out)
    print(table.head(30).round(2).to_string())


if __name__ == "__main__":
    main()
