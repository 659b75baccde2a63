"""Does a small study's work in processes of its own that are killed at random instants, and again until all is done.

``python victim.py PLACE SEED KILLS`` makes ``PLACE/undisturbed`` and as many ``PLACE/killed*`` as it takes, and prints JSON: the
folders that were killed at random, how many of the ``KILLS`` fell into each stage, and how many writes ``PLACE/writes`` took. The
libraries and the model are loaded once; each process is a fork, so that a kill falls into the work and not into imports.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pandas as pd
import torch

import tests.store.clock  # noqa: F401
import workbench as wb
from workbench.activations import capturing, writer
from workbench.analysis import Analysis, Result, find_analysis, register
from workbench.concepts import LinearConcepts
from workbench.testing.worlds import planted_table

STAGES = ("capture", "run", "name")
SITES = ["embed", "resid_post.0"]
PEOPLE = [f"name {number} by a person" for number in range(12)]
# What part of a stage a process lives at most, so that a stage outlives several kills.
PART = 0.3


class Axes(Analysis):
    """A few coordinates as concepts, and a table."""

    name = "axes_for_kills"
    title = "Axes"
    method = "axes"

    def run(self, context):
        """Return eight concepts that the seed chooses."""
        acts = context.activations
        chosen = np.random.default_rng(context.seed).permutation(acts.width())[:8]
        norms = np.linalg.norm(acts.read(), axis=1)
        return Result(
            concepts=[LinearConcepts(str(acts.sites[0]), torch.eye(acts.width())[chosen])],
            tables={"norms": pd.DataFrame({"row": np.arange(len(norms)), "norm": norms})},
        )


register(Axes)


def work(folder: Path, model, tell) -> None:
    """The whole job; what is done already is found."""
    dataset = wb.dataset_from_table(
        planted_table(160, 0), text="text", labels=["kind"], spans="spans", split="split", group="group", name="planted"
    )
    with wb.open_study(folder) as study:
        tell(0)
        acts = study.capture(model, dataset, sites=SITES, batch_size=4)
        tell(1)
        runs = [study.run("axes_for_kills", acts.at(SITES[1]), seed=seed) for seed in range(3)]
        runs.append(study.run("linear_probe", acts.at(SITES[1]), labels="tokens", controls=False))
        for run in runs:
            study.examine(run, families=("detects",), replicate=False)
        tell(2)
        for run in runs[:3]:
            run.concepts.name(vocabulary=["omega", "money", "river", "war", "music"], progress=lambda *_: None)
        for text, concept in zip(PEOPLE, runs[0].concepts.ids + runs[1].concepts.ids, strict=False):
            if text not in set(study.concept(concept).names()["text"]):
                study.concept(concept).rename(text, "ada")


def renamed_and_killed(rename, *paths) -> None:
    """Give a file or folder its name, and be gone."""
    rename(*paths)
    os.kill(os.getpid(), signal.SIGKILL)


class Attempt:
    """One process that works on a study; with ``one_write`` it is killed after the first thing that its capture writes."""

    def __init__(self, folder: Path, model, one_write: bool = False) -> None:
        self._told, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._told)
            rename = os.replace

            def told(stage: int) -> None:
                os.write(tell, bytes([stage]))
                os.replace = partial(renamed_and_killed, rename) if one_write and STAGES[stage] == "capture" else rename

            try:
                work(folder, model, told)
                os._exit(0)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(1)
        os.close(tell)
        self.stage = -1

    def until(self, stage: int | None) -> bool:
        """Wait until it is at a stage (None: for its end), and say whether it is; it may have ended before."""
        while stage is None or self.stage < stage:
            told = os.read(self._told, 1)
            if not told:
                return False
            self.stage = told[0]
        return True

    def end(self, kill: bool) -> int | None:
        """Kill it or wait for its end; the signal that ended it."""
        if kill:
            # It is not waited for yet, so the number is still its own.
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        while select.select([self._told], [], [], 0)[0] and (told := os.read(self._told, 1)):
            self.stage = told[0]
        os.close(self._told)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            sys.exit(f"The work failed by itself at stage {self.stage}.")
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else None


def timed(folder: Path, model) -> list[float]:
    """Do the work undisturbed; seconds of each stage."""
    attempt, since = Attempt(folder, model), []
    for stage in (*range(len(STAGES)), None):
        attempt.until(stage)
        since.append(time.monotonic())
    attempt.end(kill=False)
    return [after - before for before, after in pairwise(since)]


def after_every_write(folder: Path, model) -> int:
    """Do the work, where each process is killed after the first thing that it writes while it captures; how many were."""
    killed = 0
    while Attempt(folder, model, one_write=True).end(kill=False) is not None:
        killed += 1
    return killed


def main(place: Path, seed: int, kills: int) -> None:
    """Work undisturbed, then killed."""
    torch.set_num_threads(1)
    capturing._CHUNK_EXAMPLES = 8
    writer.SHARD_BYTES = 300 * 384 * 2
    model = wb.load_model("minilm")
    # Imported here, or each process would spend its life on it.
    find_analysis("linear_probe")
    import workbench.evidence.trial
    import workbench.naming
    import workbench.profiles
    import workbench.tokens.tables  # noqa: F401

    seconds = timed(place / "undisturbed", model)
    rng, fell, folders = random.Random(seed), dict.fromkeys(STAGES, 0), [place / "killed0"]
    for stage in sorted(rng.choices(range(len(STAGES)), weights=(4, 4, 2), k=kills)):
        while True:
            attempt = Attempt(folders[-1], model)
            if attempt.until(stage):
                time.sleep(rng.uniform(0, seconds[stage] * PART))
            if attempt.end(kill=True) is not None:
                fell[STAGES[attempt.stage]] += 1
                break
            # It was done before the kill: the next one works from the beginning.
            folders.append(place / f"killed{len(folders)}")
    for folder in folders:
        Attempt(folder, model).end(kill=False)
    writes = after_every_write(place / "writes", model)
    print(json.dumps({"seconds": seconds, "kills": fell, "writes": writes, "folders": [str(folder) for folder in folders]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
