"""The main job on real text, as a newcomer runs it, and what it must show."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from tests.conftest import run_demo

ROOT = Path(__file__).parent.parent
SITE = "resid_post.3"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def study(demo):
    with wb.open_study(demo[0] / "topics", create=False) as opened:
        yield opened


def metrics(study, analysis: str) -> pd.DataFrame:
    return study.get_run(analysis).metrics


def test_it_prints_its_time_and_its_memory_and_needs_less_than_six_gib(demo) -> None:
    said = re.search(r"in (\d+) s, at most ([\d.]+) GiB", demo[1])
    assert said, demo[1]
    print(said.group())
    assert float(said[2]) < 6


def test_a_second_time_everything_is_there(demo) -> None:
    again = run_demo(demo[0])
    assert again.returncode == 0
    assert "Reused" in again.stdout
    with wb.open_study(demo[0] / "topics") as study:
        assert study.runs().groupby("analysis").size()["sparse_autoencoder"] == 2  # one, and its replica


def test_probes_reach_their_known_scores(study) -> None:
    table = metrics(study, "linear_probe").query("metric == 'probe.auroc' and site == @SITE").set_index("label")["value"]
    print(table[[n for n in table.index if n.startswith("token:")]])
    assert table["token:past verb"] >= 0.97
    assert table["token:plural noun"] >= 0.97


def test_shuffled_labels_are_at_chance_within_their_intervals(study) -> None:
    # Labels in fewer than eight documents have no interval.
    table = metrics(study, "linear_probe").query("metric == 'probe.shuffled' and low == low")
    assert len(table) > 100
    inside = (table["low"] <= 0.5) & (table["high"] >= 0.5)
    print(f"{inside.mean():.3f} of {len(table)} intervals hold .5")
    # 95% intervals: some miss. The six sites of a label are one draw, so the mean is that of some forty.
    assert inside.mean() > 0.85
    assert abs(table["value"].mean() - 0.5) < 0.02


def test_the_best_latent_stands_beside_its_floors(study) -> None:
    run = study.get_run("sparse_autoencoder")
    examined = [study.get_run(i) for i in study.runs().query("analysis == 'examine'")["id"]]
    table = next(e for e in examined if e.config["run"] == run.id).tables["labels"].set_index("label")
    print(table[["test", "random", "neuron"]])
    assert {"token:past verb", "token:plural noun"} <= set(table.index)
    assert table[["test", "random", "neuron"]].notna().all().all()
    spans = table[table.index.str.startswith("token:")]
    assert (spans["test"] > spans["random"]).mean() > 0.7


def test_one_concept_is_found_three_ways_and_listed_as_the_same(study) -> None:
    pairs = study.counterparts().query("verdict == 'same'")
    sae = pairs[pairs["method"].eq("SAE")]
    found = {c: set(part["other_method"]) for c, part in sae.groupby("concept")}
    three = [c for c, methods in found.items() if {"probe", "CAV"} <= methods]
    columns = [
        "concept",
        "other_method",
        "cosine",
        "cosine_null_high",
        "cofiring",
        "cofiring_low",
        "cofiring_high",
        "cofiring_null_high",
    ]
    rows = sae[sae["concept"].isin(three)][columns]
    print(rows)
    assert three
    families = study.families()
    assert families.groupby("family")["method"].nunique().max() >= 3
    assert (rows["cosine"] > rows["cosine_null_high"]).all()
    assert (rows["cofiring"] > rows["cofiring_null_high"]).all()
    assert ((rows["cofiring_low"] < rows["cofiring"]) & (rows["cofiring"] < rows["cofiring_high"])).all()


def test_every_family_of_evidence_is_there_for_every_method(study) -> None:
    evidence = study.evidence()
    method = evidence["concept"].map({c.id: c.method for c in study.concepts()})
    ok = evidence[evidence["status"].eq("ok")]
    for name in ("SAE", "probe", "CAV"):
        families = set(ok.loc[method[ok.index].eq(name), "metric"].str.split(".").str[0])
        assert families == {"detects", "informs", "locates", "causes", "stable", "named"}, name
    assert ok["value"].notna().all()
    assert np.isfinite(ok["value"]).all()


def test_the_example_runs_on_the_same_study(demo, tmp_path) -> None:
    command = [sys.executable, str(ROOT / "examples" / "topics.py"), str(demo[0] / "topics"), str(tmp_path / "topics.html")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "Concept '" in done.stdout
    assert (tmp_path / "topics.html").exists()


def test_the_readmes_script_is_the_example() -> None:
    readme = (ROOT / "README.md").read_text().split("```python")[1].split("```")[0]
    example = (ROOT / "examples" / "topics.py").read_text()

    def calls(text: str) -> list[str]:
        wanted = re.compile(r"\s*(\w+ = )?(wb|study|sae|model|edited)\b")
        return [line.split("  #")[0].strip() for line in text.splitlines() if wanted.match(line)]

    def body(lines: list[str]) -> list[str]:
        return [line.replace('"studies/topics"', "folder").replace('"topics.html"', "out") for line in lines]

    assert body(calls(readme)) == [line for line in calls(example) if not line.startswith("folder")]
