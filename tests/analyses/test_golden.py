"""The numbers that every analysis and the trial give on a small study, against those kept in `golden.json`.

A change that is meant to leave the numbers alone must pass here. One that is meant to change them writes the file anew, and its
difference is reviewed: ``python -m tests.analyses.test_golden``.
"""

from __future__ import annotations

import json
import tempfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import workbench as wb
from tests.app.small_study import texts
from tests.conftest import threads
from workbench.registry import GROUP

GOLDEN = Path(__file__).with_name("golden.json")
SITE, WIDTH, LATENTS = "resid_post.3", 384, 48
OPTIONS: dict[str, dict[str, Any]] = {
    "concept_activation": {"labels": "topic", "random_sets": 19, "per_class": 10},
    "linear_probe": {"labels": ["topic", "money subject"]},
    "mutual_information": {"labels": "topic", "permutations": 19, "max_rows": 400, "dimensions": 3},
    "pretrained_dictionary": {},
    "sparse_autoencoder": {"d_sae": 64, "k": 8, "samples": 10_000, "batch_size": 256},
}
# Which concepts stand trial, and by which evidence.
TRIED = {
    "linear_probe": (2, ("detects", "informs", "locates")),
    "sparse_autoencoder": (3, ("detects", "stable")),
}
# Sentences are no part of it, nor are the ids of runs.
LEFT_OUT = ("run", "note", "error", "dataset")
# Sums are rounded differently by another processor.
TOLERANCE = 1e-4


def write_dictionary(folder: Path) -> Path:
    """A dictionary of random directions in the format of sae-lens."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(5)
    decoder = torch.randn(LATENTS, WIDTH, generator=generator)
    decoder /= decoder.norm(dim=1, keepdim=True)
    tensors = {
        "W_enc": decoder.T.contiguous(), "W_dec": decoder, "b_enc": torch.full((LATENTS,), -0.02), "b_dec": torch.zeros(WIDTH),
    }  # fmt: skip
    config = {
        "architecture": "standard", "d_in": WIDTH, "d_sae": LATENTS, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.20.0"},
    }  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config))
    save_file(tensors, folder / "sae_weights.safetensors")
    return folder


def kept(value: Any, run: str, name: str) -> Any:
    """A value as the file has it: a number to six digits, a text with the analysis for the run's id, None for nothing."""
    if isinstance(value, str):
        return value.replace(run, name) or None
    if isinstance(value, float):
        return None if np.isnan(value) else float(f"{value:.6g}")
    return value.item() if isinstance(value, np.generic) else value


def rows(table: pd.DataFrame, run: str, name: str) -> list[dict[str, Any]]:
    """Rows of a table, each without what is empty."""
    frame = table.drop(columns=[c for c in LEFT_OUT if c in table])
    found = [{key: kept(value, run, name) for key, value in row.items()} for row in frame.to_dict("records")]
    return [{key: value for key, value in row.items() if value is not None} for row in found]


def numbers(folder: Path) -> dict[str, Any]:
    """What is kept: by analysis the metrics, the other tables, the concepts and the evidence."""
    found: dict[str, Any] = {}
    table = texts()
    with threads(1), wb.open_study(folder / "study") as study:
        data = wb.dataset_from_table(table, text="text", labels=["topic"], spans="spans", split="split", name="sentences")
        acts = study.capture(wb.load_model("minilm"), data, sites=SITE)
        for name in sorted(OPTIONS):
            options = dict(OPTIONS[name])
            if name == "pretrained_dictionary":
                options["folder"] = str(write_dictionary(folder / "dictionary"))
            run = study.run(name, acts, **options)
            directions = torch.stack([concept.direction for concept in run.concepts]).double()
            found[name] = {
                "metrics": rows(run.metrics, run.id, name),
                "tables": {t: [len(run.tables[t]), list(run.tables[t].columns)] for t in run.tables if t != "metrics"},
                "concepts": [
                    len(run.concepts),
                    float(f"{directions.norm(dim=1).sum():.6g}"),
                    float(f"{directions.abs().sum():.6g}"),
                ],
            }
            if name in TRIED:
                count, families = TRIED[name]
                evidence = study.examine(list(run.concepts)[:count], families=families, replicate=False)
                found[name]["evidence"] = rows(evidence, run.id, name)
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return json.loads(json.dumps(numbers(tmp_path_factory.mktemp("golden"))))


def measured(row: dict[str, Any]) -> dict[str, float]:
    return {key: value for key, value in row.items() if not isinstance(value, str)}


def test_every_analysis_is_kept() -> None:
    ours = {point.name for point in distribution("concept-workbench").entry_points if point.group == GROUP}
    assert set(json.loads(GOLDEN.read_text())) == ours == set(OPTIONS)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_numbers_are_those_that_were_kept(found: dict[str, Any], name: str) -> None:
    before, now = json.loads(GOLDEN.read_text())[name], found[name]
    assert now["tables"] == before["tables"]
    assert now["concepts"] == pytest.approx(before["concepts"], rel=TOLERANCE)
    for part in ("metrics", "evidence"):
        assert len(now.get(part, [])) == len(before.get(part, []))
        for new, old in zip(now.get(part, []), before.get(part, []), strict=True):
            assert {k: v for k, v in new.items() if isinstance(v, str)} == {k: v for k, v in old.items() if isinstance(v, str)}
            assert measured(new) == pytest.approx(measured(old), rel=TOLERANCE, abs=TOLERANCE)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        rows_a_line = json.dumps(numbers(Path(place))).replace("}, {", "},\n{")
        GOLDEN.write_text(rows_a_line + "\n")
