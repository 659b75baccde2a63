"""A small study made by the real engine, for the tests of the app."""

from __future__ import annotations

import itertools
import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from workbench import dataset_from_table, load_dataset, load_model, load_vocabulary, open_study
from workbench.store import tables
from workbench.study import Study

MAIN = Path(__file__).parents[2] / "app" / "main.py"

SUBJECTS = {
    "money": ["the bank", "a trader", "the treasury", "our accountant", "the lender"],
    "weather": ["a storm", "the rain", "cold fog", "the north wind", "summer heat"],
    "sport": ["the striker", "a swimmer", "the home team", "our goalkeeper", "the coach"],
}
VERBS = {
    "money": ["raised the interest on every loan", "sold the bonds at a profit", "counted the cash twice", "refused the debt"],
    "weather": ["covered the valley before noon", "froze the river overnight", "passed over the coast", "soaked the fields"],
    "sport": ["won the match in extra time", "trained before the final", "scored from the corner", "lost the second race"],
}
ENDS = ["last week", "again", "as everyone had expected"]


def texts() -> pd.DataFrame:
    """A hundred and eighty sentences with their topic; the subject of every sentence is marked."""
    rows = []
    for topic, subjects in SUBJECTS.items():
        for subject, verb, end in itertools.product(subjects, VERBS[topic], ENDS):
            span = [{"start": 0, "end": len(subject), "label": f"{topic} subject"}]
            rows.append({"text": f"{subject} {verb} {end}.", "topic": topic, "spans": span})
    random.Random(0).shuffle(rows)
    for place, row in enumerate(rows):
        row["split"] = ("train", "train", "validation", "test")[place % 4]
    return pd.DataFrame(rows)


def make(folder: Path, frame: pd.DataFrame | None = None) -> Study:
    """Capture two sites of MiniLM, run two methods, name, examine and compare."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.parent / f"{folder.name}.parquet"
    made = dataset_from_table(texts() if frame is None else frame, text="text", labels=["topic"], split="split", name="sentences")
    made.save(path)
    data = load_dataset(path, labels=["topic"], split="split")
    study, model = open_study(folder), load_model("minilm")
    acts = study.capture(model, data, sites=["resid_post.2", "resid_post.3"], pool="token")
    probes = study.run("linear_probe", acts)
    sae = study.run("sparse_autoencoder", acts.at("resid_post.3"), d_sae=64, k=8, samples=20_000, batch_size=256)
    sae.concepts.name(["money", "bank", "rain", "storm", "race", "match", "week", "valley", "cash", "river", "team"])
    quick = {"families": ["detects", "informs", "locates", "causes", "named"], "replicate": False}
    study.examine(list(study.concepts(run=probes.id, site="resid_post.3"))[:3], **quick)
    study.examine(list(sae.concepts)[:6], **quick | {"families": ["detects", "informs", "locates", "named"]})
    study.counterparts()
    # The pages that suggest names compare with every word: the words are embedded here once, for all tests.
    study.embedder().embed(load_vocabulary("common-words"))
    return study


OUT = "http://a.example"
SCATTER = {"type": "scatter", "x": [1, 2], "y": [1, 2]}
HOSTILE_FIGURES: dict[str, dict[str, Any]] = {
    "image": {"data": [SCATTER], "layout": {"images": [{"source": f"{OUT}/x.png", "xref": "paper", "yref": "paper"}]}},
    "geo": {"data": [{"type": "scattergeo", "lon": [0], "lat": [0]}], "layout": {}},
    "shapes": {"data": [{"type": "choropleth", "geojson": f"{OUT}/x.json", "locations": ["a"], "z": [1]}], "layout": {}},
    "map": {"data": [{"type": "scattermap", "lon": [0], "lat": [0]}], "layout": {"map": {"style": f"{OUT}/style.json"}}},
    "button": {"data": [SCATTER], "layout": {"updatemenus": [{"buttons": [{"method": "relayout", "args": [{"images": []}]}]}]}},
}
LINKED = f"<a href='{OUT}'>linked</a> <img src='{OUT}/x.png'> <span style='background:url({OUT}/x)'>x</span>"
LINKED_FIGURE = {"data": [{**SCATTER, "name": LINKED, "text": [LINKED, LINKED]}], "layout": {"title": {"text": LINKED}}}


def spoil(folder: Path, text: str) -> None:
    """Put a hostile text wherever a study keeps one, and figures that load something into a run."""
    with open_study(folder) as study:
        run, concept = study.get_run("linear_probe"), study.concepts(method="SAE").ids[0]
        home = run.folder / "figures"
        home.mkdir(exist_ok=True)
        for name, figure in {**HOSTILE_FIGURES, "linked": LINKED_FIGURE}.items():
            (home / f"{name}.json").write_text(json.dumps(figure))
        row = study.catalog.frame(sa.select(tables.runs).where(tables.runs.c.id == run.id)).iloc[0].to_dict()
        said = {"id": "linear_probe-failed00", "status": "failed", "error": text, "config": {"labels": text}}
        study.catalog.insert(tables.runs, [row | said | {"provenance": row["provenance"] | {"note": text}}])
        common = {"concept": concept, "source": "human", "author": text}
        study.catalog.add_names([{**common, "text": "x" * 1_000_000}])
        study.catalog.add_names([{**common, "text": text}])
        study.catalog.insert(tables.notes, [{"concept": concept, "text": text * 20_000, "author": text, "at": tables.now()}])
        study.collections.add("a.example www.a.example", [concept], "ada@a.example")


def make_hostile(folder: Path) -> Study:
    """A study whose texts and labels try to be something else than text."""
    frame = texts().drop(columns="spans")
    # A text cannot be blank, and the tokenizer cuts a long one.
    bad = "<script>alert(1)</script> \"'\x00\u202e [l](javascript:alert(1)) "
    frame["text"] = bad + frame["text"]
    frame.loc[0, "text"] = bad * 20_000
    frame["topic"] = frame["topic"].replace("money", "<img src=x onerror=alert(2)>")
    path = folder.parent / "hostile.parquet"
    dataset_from_table(frame, text="text", labels=["topic"], split="split", name="hostile").save(path)
    study, model = open_study(folder), load_model("minilm")
    data = load_dataset(path, labels=["topic"], split="split")
    acts = study.capture(model, data, sites=["resid_post.3"], pool="token")
    study.run("linear_probe", acts, controls=False)
    study.run("sparse_autoencoder", acts, d_sae=32, k=4, samples=4_000, batch_size=256)
    study.counterparts()
    return study
