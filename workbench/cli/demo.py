"""The main job: the study 'topics', on MiniLM with Brown and the State of the Union."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.cli.console import STATE, progress, say, show_json, show_table
from workbench.evidence.steered import counts_of
from workbench.frames import records
from workbench.numbers import corrected_p
from workbench.opening import open_study
from workbench.progress import Progress
from workbench.recording import peak_memory
from workbench.store.members import STUDY_FILE
from workbench.store.run_kinds import EXAMINATION
from workbench.store.runs import Run, repetitions
from workbench.study import Study

SITE = "resid_post.3"
STEER, STEERED = "steer", 6


def run_demo(folder: Path, report: Path) -> None:
    """Make the study, or reuse what is there, print what was found, and write the report."""
    started = time.monotonic()
    with peak_memory() as peak, open_study(folder) as study:
        before = len(study.runs())
        with progress() as show:
            runs = make(study, show)
        anything_new = len(study.runs()) > before
        findings = found_by_label(study, runs)
        pairs = study.counterparts()
        path = study.report(report)
        seconds = time.monotonic() - started
    if STATE.json:
        show_json(
            {
                "study": str(folder),
                "report": str(path),
                "seconds": seconds,
                "peak_mib": peak(),
                "found": records(findings),
            }
        )
        return
    show_table(findings, title=f"Held-out AUROC by label at {SITE}: each method beside the best neuron and random latent")
    same = pairs[pairs["verdict"].eq("same")]
    say(f"\n{len(same) // 2} pairs of concepts were found to be the same by two methods; `workbench match {folder}` lists them.")
    say(f"Report: {path}")
    say(f"{'Made' if anything_new else 'Reused'} {folder} in {seconds:.0f} s, at most {peak() / 1024:.1f} GiB of memory.")


def open_steer(folder: Path, report: Path) -> None:
    """Unpack the bundled study of a causal language model where it is not there yet, print who steers, and write its report."""
    from workbench.opening import unpack

    if not (folder / STUDY_FILE).exists():
        unpack(STEER, folder).close()
    with open_study(folder, create=False) as study:
        found = study.steered()
        path = study.report(report)
    if STATE.json:
        return
    columns = ["name", "method", "tokens", "dose", "odds", "null_high", "times_null", "p_corrected", "cost", "verdict"]
    found["p_corrected"] = list(map(corrected_p, found["p"], found["p_corrected"]))
    show_table(
        found[columns].head(STEERED), title="Steering Scribe, a small causal language model: effect on a concept's own tokens"
    )
    say(counts_of(found))
    say(f"Report: {path}\n")


def make(study: Study, show: Progress) -> dict[str, Run]:
    """Capture, four analyses, names, and the trial."""
    from workbench.datasets import load_dataset
    from workbench.models import load_model

    options: dict[str, Any] = {"progress": show}
    model, texts = load_model("minilm"), load_dataset("topics")
    acts = study.capture(model, texts, sites="resid_post.*", pool="token", **options)
    runs = {
        "SAE": study.run("sparse_autoencoder", acts.at(SITE), d_sae=1024, k=32, **options),
        "probe": study.run("linear_probe", acts, **options),
        "CAV": study.run("concept_activation", acts, **options),
        "information": study.run("mutual_information", acts, **options),
    }
    if not _named(study, runs["SAE"]):
        runs["SAE"].concepts.name(vocabulary="common-words", **options)
    # A trial has the names in it. One that a person gives later is tried when that person asks, not by the demo.
    examinations = study.runs().query("analysis == @EXAMINATION")
    tried = {config.get("run") for config in examinations["config"]}
    if runs["SAE"].id not in tried:
        study.examine(runs["SAE"], texts, steer=10, **options)
    for method in ("probe", "CAV"):
        if runs[method].id not in tried:
            study.examine(runs[method], texts, sites=[SITE], steer=6, **options)
    study.counterparts(**options)
    return runs


def _named(study: Study, run: Run) -> bool:
    names = study.catalog.current_names()
    return bool(len(names)) and bool(names["concept"].str.startswith(f"{run.id}.").any())


def found_by_label(study: Study, runs: dict[str, Run]) -> pd.DataFrame:
    """One row a label: probe, CAV and best latent on the test split, beside the best neuron and the best random latent."""
    examined = study.runs()
    examined = examined[examined["analysis"].eq(EXAMINATION) & ~repetitions(examined)]
    labels = [Run(study, row).tables["labels"].assign(parent=row["config"]["run"]) for row in records(examined)]
    table = pd.concat(labels)
    latents = table[table["parent"].eq(runs["SAE"].id)].set_index("label")
    out = pd.DataFrame(index=latents.index)
    for method in ("probe", "CAV"):
        evidence = study.evidence(["detects.auroc"])
        mine = evidence[evidence["concept"].str.startswith(f"{runs[method].id}.") & evidence["status"].eq("ok")]
        out[method] = mine.groupby("label")["value"].max()
    out["best latent"] = latents["test"]
    out["random SAE"], out["best neuron"] = latents["random"], latents["neuron"]
    names = study.catalog.current_names().set_index("concept")["text"]
    out["latent's name"] = latents["concept"].map(names)
    return out.reset_index().sort_values("probe", ascending=False)
