"""What a study's data can show, before anything is run: by label, the smallest effects that can be found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.errors import ConfigError
from workbench.evidence.readout import labels_of_examples
from workbench.numbers import count, counted, number
from workbench.statistics.clusters import ENOUGH, count_clusters, example_clusters
from workbench.statistics.planning import detectable_area, detectable_shift, most_tests

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.store.study import Study

TESTS = (1, 20, 1000, 16_384)
COLUMNS = ("label", "examples", "documents", "positive", "negative", "concepts", "auroc", "most_concepts", "note")


def plan(study: Study, acts: ActivationSet | None = None, concepts: tuple[int, ...] = TESTS) -> pd.DataFrame:
    """By label and number of concepts, the smallest AUROC that is found with a power of .8 after Holm's correction.

    Args:
        study: The study.
        acts: Whose captured examples are counted; the study's newest when left out.
        concepts: How many concepts are tested together.

    Returns:
        ``label, examples, documents, positive, negative, concepts, auroc, most_concepts, note``: the examples and documents of
        the test split, the documents that hold the label and those that do not, the AUROC (missing where none can be found),
        and over how many concepts any corrected p value could be below .05. Only the captured examples of the test split count.

    Raises:
        ConfigError: A number of concepts below 1.
    """
    if min(concepts, default=1) < 1:
        raise ConfigError(f"{min(concepts)} concepts cannot be tested: give numbers from 1 on.")
    acts = study.activation_set() if acts is None else acts
    dataset = study.dataset_of(acts)
    captured = np.unique(acts.index["example"].to_numpy())
    tried = captured[dataset.table["split"].to_numpy()[captured] == "test"]
    names, values = labels_of_examples(dataset)
    clusters = example_clusters(dataset, tried)
    counts = count_clusters(values[tried], clusters)
    rows = []
    for place, name in enumerate(names):
        positive, negative, every = (int(part[place]) for part in counts)
        # A document with both is counted for either: the rarer class has no more, and the others are the rest.
        few, rest = min(positive, negative), every - min(positive, negative)
        common = {
            "label": name, "examples": int((~np.isnan(values[tried, place])).sum()), "documents": every, "positive": positive,
            "negative": negative,
        }  # fmt: skip
        enough = min(few, rest) >= ENOUGH
        note = "" if enough else f"{counted(min(few, rest), 'document')} of the rarer class, fewer than {ENOUGH}: no p value"
        most = most_tests(few, rest) if enough else 0
        for tests in concepts:
            rows.append(
                common | {"concepts": tests, "auroc": detectable_area(few, rest, tests), "most_concepts": most, "note": note}
            )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def cannot_be_found(study: Study, acts: ActivationSet, concepts: int) -> str:
    """Why some labels can have no significant p value over so many concepts, in a sentence; empty where all can."""
    table = plan(study, acts, (concepts,))
    few, many = table["note"].ne(""), table["note"].eq("") & (table["most_concepts"] < concepts)
    parts = []
    if few.any():
        parts.append(
            f"of {counted(len(table), 'label')} {int(few.sum())} {'is' if few.sum() == 1 else 'are'} in fewer than {ENOUGH}"
            " documents of a class of the test split: values for them have neither interval nor p value"
        )
    if many.any():
        parts.append(
            f"for {counted(int(many.sum()), 'label')} no corrected p value over {counted(concepts, 'concept')} could be below"
            " .05: fewer concepts or coarser labels could be tested"
        )
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]} (`workbench plan STUDY` says more)." if sentence else ""


def said(table: pd.DataFrame) -> list[str]:
    """The plan in sentences, for a form, a report or a terminal."""
    if table.empty:
        return ["The data have no labels: nothing can be tested against them."]
    labels = table.drop_duplicates("label")
    usable = labels[labels["note"].eq("")]
    lines = [
        f"{count(labels['documents'].max())} documents in the test split; {len(usable)} of {len(labels)} labels are in at least"
        f" {ENOUGH} documents of each class."
    ]
    for tests, part in table[table["note"].eq("")].groupby("concepts"):
        found, over = part["auroc"].dropna(), counted(int(str(tests)), "concept")
        if len(found):
            least, most = number(float(found.min())), number(float(found.max()))
            lines.append(
                f"Over {over}, an AUROC from {least} (the label in most documents) to {most} (the one in fewest) is found four"
                " times in five after Holm's correction."
            )
        if lost := len(part) - len(found):
            lines.append(
                f"For {counted(lost, 'label')} no corrected p value over {over} could be below .05: test fewer concepts, or"
                " coarser labels that are in more documents."
            )
    shift = number(detectable_shift(60, 20))
    lines.append(
        f"A score held against 60 random sets or directions (TCAV, effects of edits) has to be {shift} of their standard"
        " deviations from their mean to be found over 20 tests."
    )
    return lines
