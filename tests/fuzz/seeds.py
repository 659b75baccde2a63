"""Makes the corpus anew: ``python -m tests.fuzz.seeds``. Small honest examples of everything that is read."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save_file

import workbench as wb
from tests.fuzz.readers import CORPUS, Line
from tests.store.axes import AXES
from workbench.concepts import Graph, LinearConcepts, LinearHead
from workbench.models import SmallModel
from workbench.plots import lines
from workbench.recipes import Recipe
from workbench.store.texts import keep_texts
from workbench.testing.worlds import planted_table, word_index, write_activations
from workbench.views import CurveView, GraphView, HeadView, MatrixView, save_views

CONVERSATION = [{"role": "user", "content": "How far is it?"}, {"role": "assistant", "content": "Two days."}]

JOB = {
    "analysis": AXES, "activations": "0" * 16, "sites": [], "options": {}, "seed": 0, "force": False,
    "started": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


def main() -> None:
    """Write all of it."""
    shutil.rmtree(CORPUS, ignore_errors=True)
    with tempfile.TemporaryDirectory() as place:
        _study(Path(place))
    for write in (_tables, _concepts, _dictionary, _arrays, _parts, _others):
        write()
    for path in sorted(CORPUS.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:>8,} {path.relative_to(CORPUS)}")


def _study(place: Path) -> None:
    dataset = wb.dataset_from_table(
        planted_table(40, 0), text="text", labels=["kind"], spans="spans", split="split", group="group", name="planted"
    )
    index = word_index(dataset.inputs())
    rows = np.random.default_rng(0).normal(size=(len(index), 6)).astype(np.float32)
    with wb.open_study(place / "study") as study:
        study.catalog.set_info("model", json.dumps({"name": "planted", "kind": "module", "weights_hash": "0" * 64, "source": {}}))
        study.use_dataset(dataset)
        keep_texts(study.folder, dataset)
        acts = write_activations(study.folder / "activations", dataset, {"resid_post.0": rows}, index)
        run = study.run(AXES, acts)
        study.examine(run, families=("detects",), replicate=False)
        run.concepts[0].rename("the first", "ada")
        run.concepts[1].note("look again", "grace")
        study.collections.add("for the paper", [run.concepts[0].id], "ada")
        study.keep_recipe(Recipe.made(steps=[{"concept": run.concepts[0].id, "amount": 1.0}], name="more of it"), ["a", "b"])
        (CORPUS / "pack").mkdir(parents=True)
        study.pack(CORPUS / "pack" / "study.zip", activations=True)
        shutil.copytree(acts.folder, CORPUS / "set")
        (CORPUS / "saved").mkdir()
        shutil.copy(next((study.folder / "datasets").glob("*.parquet")), CORPUS / "saved" / "table.parquet")


def _tables() -> None:
    home = CORPUS / "tables"
    home.mkdir()
    table = planted_table(12, 1).assign(score=np.linspace(0, 1, 12), number=range(12))
    table.assign(spans=[json.dumps(spans) for spans in table["spans"]]).to_csv(home / "table.csv", index=False)
    table.to_json(home / "table.jsonl", orient="records", lines=True)
    table.drop(columns="spans").to_parquet(home / "table.parquet", index=False)
    more = CORPUS / "more"
    for name, content in {
        "csv": 'text;kind\n"a; b";1\nc\td;2\n', "jsonl": json.dumps({"messages": CONVERSATION, "id": 2**64}) + "\n",
    }.items():  # fmt: skip
        (more / name).mkdir(parents=True)
        (more / name / "second").write_text(content)


def _concepts() -> None:
    table = pd.DataFrame({"label": ["", "kind=left", ""], "name": ["", "left", "x"]})
    LinearConcepts("resid_post.0", torch.eye(6)[:3], table=table).save(CORPUS / "concepts")


def _parts() -> None:
    """Parts of a run, each in a folder of its own."""
    home = CORPUS / "parts"
    nodes = pd.DataFrame({"id": ["a", "b"], "type": ["token", "concept"], "label": ["word", "two"]})
    Graph(nodes, pd.DataFrame({"source": ["a"], "target": ["b"], "weight": [0.5]})).save(home / "graph")
    LinearHead(["left", "right"], torch.eye(2, 3), concepts=[4, 5, 6], label="kind").save(home / "head")
    SmallModel(Line(width=3)).save(home / "model")
    views = [
        CurveView(title="a curve", table="t", x="x", y="y"), GraphView(title="a graph", graph="graph"),
        MatrixView(title="a matrix", tensor="m", rows=("a", "b")), HeadView(title="a head", about="weights", head="head"),
    ]  # fmt: skip
    save_views(views, home / "views.json")


def _dictionary() -> None:
    home = CORPUS / "dictionary"
    home.mkdir()
    d, c = 4, 8
    tensors = {"W_enc": torch.ones(d, c), "W_dec": torch.ones(c, d), "b_enc": torch.zeros(c), "b_dec": torch.zeros(d)}
    save_file(tensors, home / "sae_weights.safetensors")
    config = {
        "architecture": "topk", "k": 2, "d_in": d, "d_sae": c, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": True,
        "normalize_activations": "none", "reshape_activations": "none", "rescale_acts_by_decoder_norm": False,
        "metadata": {"sae_lens_version": "6.54.0", "hook_name": "blocks.0.hook_resid_post"},
    }  # fmt: skip
    (home / "cfg.json").write_text(json.dumps(config))
    old = {"architecture": "standard", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 2}, "d_in": d, "d_sae": c,
           "hook_name": "blocks.0.hook_resid_post", "apply_b_dec_to_input": True, "normalize_activations": "none"}  # fmt: skip
    (CORPUS / "more" / "cfg.json").mkdir(parents=True)
    (CORPUS / "more" / "cfg.json" / "old").write_text(json.dumps(old))


def _arrays() -> None:
    home = CORPUS / "arrays"
    home.mkdir()
    np.save(home / "resid_post.0.npy", np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32))
    rows = pd.DataFrame({"example": np.arange(40) // 4, "position": np.arange(40) % 4, "token": "word", "start": 0, "end": 4})
    rows.assign(text="word word").to_csv(home / "rows.csv", index=False)


def _others() -> None:
    recipe = Recipe.made(steps=[{"concept": "sae-1a2b3c4d.3", "amount": 4.0, "action": "add"}], prompt="The people", name="more")
    figure = lines(pd.DataFrame({"x": [1, 2, 3], "y": [0.5, 0.7, 0.6]}), "x", "y", "title", "x", "y")
    for name, file, content in (
        ("recipes", "recipe.json", recipe.model_dump_json()), ("figures", "figure.json", figure.to_json()),
        ("conversations", "a.json", json.dumps(CONVERSATION)),
        ("jobs", "20260101-000000-abcdef/job.json", json.dumps(JOB)),
        ("jobs", "20260101-000000-abcdef/end.json", json.dumps({"status": "done", "run": "", "error": "", "remarks": ["well"]})),
        ("jobs", "20260101-000000-abcdef/progress.json", json.dumps({"done": 3, "total": 4, "text": "fitting"})),
    ):  # fmt: skip
        (CORPUS / name / file).parent.mkdir(parents=True, exist_ok=True)
        (CORPUS / name / file).write_text(content)
    for number in range(3):
        (CORPUS / "conversations" / f"{'bcd'[number]}.json").write_text(
            json.dumps(CONVERSATION[: 2 - number % 2] + CONVERSATION[:number])
        )


if __name__ == "__main__":
    main()
