"""What a study's data can show, before anything is run: by label, the smallest effects that can be found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from workbench.activations.labels import one_of_two
from workbench.errors import ConfigError
from workbench.evidence.held_out import held_out
from workbench.numbers import count, counted, number
from workbench.readout import labels_of_examples
from workbench.seeds import check_seed
from workbench.statistics.clusters import ENOUGH, Counts, count_clusters, example_clusters
from workbench.statistics.planning import detectable_area, detectable_shift, most_tests

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset
    from workbench.study import Study

TESTS = (1, 20, 1000, 16_384)
MAX_ROWS = 15_000
"""About so many rows of the test split an examination reads, where nobody says otherwise."""
RANDOM_SETS = 59
UNBOUNDED = 10**9
"""Tests, where nothing bounds the p value from below."""
COLUMNS = (
    "label", "examples", "documents", "positive", "negative", "concepts", "auroc", "most_concepts", "note", "captured",
)  # fmt: skip


def plan(
    study: Study, acts: ActivationSet | None = None, concepts: tuple[int, ...] = TESTS, max_rows: int = MAX_ROWS, seed: int = 0
) -> pd.DataFrame:
    """By label and number of concepts, the smallest AUROC that is found with a power of .8 after Holm's correction.

    Args:
        study: The study.
        acts: Whose captured examples are counted; the study's newest when left out.
        concepts: How many concepts are tested together.
        max_rows: About how many rows of the test split the examination reads.
        seed: Of the examination, which draws its examples.

    Returns:
        ``label, examples, documents, positive, negative, concepts, auroc, most_concepts, note, captured``: of the rows on which
        an examination tests the label, the examples and documents, the documents with a positive row and those with a negative
        one, the AUROC (missing where none can be found), and over how many concepts any corrected p value could be below .05.
        Of the two values of a column with two there is one label. ``captured`` is false where the activations were left out
        when the study was packed: then all examples of the test split are counted, whether or not they were captured.

    Raises:
        ConfigError: A number of concepts below 1.
    """
    check_seed(seed)
    if min(concepts, default=1) < 1:
        raise ConfigError(f"{min(concepts)} concepts cannot be tested: give numbers from 1 on.")
    acts = study.activation_set() if acts is None else acts
    dataset = study.dataset_of(acts)
    here = not acts.left_out or acts.fetch is not None
    names, examples, counts = _counted(acts, dataset, max_rows, seed) if here else _of_labels(dataset)
    rows = []
    for place in (names.index(name) for name in one_of_two(dataset, names)[0]):
        positive, negative, every = (int(part[place]) for part in counts[:3])
        few, rest = min(positive, negative), max(positive, negative)
        common = {
            "label": names[place], "examples": int(examples[place]), "documents": every, "positive": positive,
            "negative": negative,
        }  # fmt: skip
        note = counts.reason(place)
        if few < ENOUGH:
            note = f"{counted(few, 'document')} of the rarer class, fewer than {ENOUGH}: no p value"
        # Where documents hold both classes their arrangements are not counted, and p has no least value.
        most = 0 if note else most_tests(few, rest) if positive + negative == every else UNBOUNDED
        rows += [
            common | {
                "concepts": tests, "auroc": np.nan if note else detectable_area(few, rest, tests), "most_concepts": most,
                "note": note, "captured": here,
            }
            for tests in concepts
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


_Counted = tuple[list[str], np.ndarray, Counts]


def _counted(acts: ActivationSet, dataset: Dataset, max_rows: int, seed: int) -> _Counted:
    """The labels, and by label the examples and the documents of each class, of the rows that an examination would test."""
    captured = np.unique(acts.index["example"].to_numpy())
    if not (dataset.table["split"].to_numpy()[captured] == "test").any():
        names = _of_labels(dataset)[0]
        nothing = np.zeros(len(names), dtype=np.int64)
        return names, nothing, Counts(nothing, nothing, nothing, nothing)
    data = held_out(acts, dataset, "test", max_rows, seed)
    # Span labels are tested on positions, those of examples on their means.
    tokens, wholes = count_clusters(data.tokens.values, data.clusters), count_clusters(data.wholes.values, data.documents)
    examples = [count_clusters(data.tokens.values, data.segment).every, (~np.isnan(data.wholes.values)).sum(0)]
    counts = Counts(*(np.concatenate(pair) for pair in zip(tokens, wholes, strict=True)))
    return data.labels, np.concatenate(examples), counts


def _of_labels(dataset: Dataset) -> _Counted:
    """The same of a data set alone: a text that holds a span is taken to have positions outside of it."""
    names, values = labels_of_examples(dataset)
    tried = np.flatnonzero(dataset.table["split"].eq("test"))
    values, clusters = values[tried], example_clusters(dataset, tried)
    spans = set(dataset.span_targets())
    outside = np.where(np.isnan(values) | ~np.isin(names, list(spans)), np.nan, 0.0)
    both = count_clusters(np.concatenate([values, outside]), np.tile(clusters, 2))
    return names, (~np.isnan(values)).sum(0), both


def cannot_be_found(study: Study, acts: ActivationSet, concepts: int, max_rows: int = MAX_ROWS, seed: int = 0) -> str:
    """Why some labels can have no significant p value over so many concepts, in a sentence; empty where all can."""
    table = plan(study, acts, (concepts,), max_rows, seed)
    few, many = table["note"].ne(""), table["note"].eq("") & (table["most_concepts"] < concepts)
    parts = []
    if few.any():
        parts.append(
            f"of {counted(len(table), 'label')} {int(few.sum())} {'is' if few.sum() == 1 else 'are'} in fewer than {ENOUGH}"
            " documents of a class of the test split, or mostly in a few long ones: how well they are detected has neither"
            " interval nor p value"
        )
    if many.any():
        parts.append(
            f"for {counted(int(many.sum()), 'label')} no corrected p value over {counted(concepts, 'concept')} could be below"
            " .05: fewer concepts or coarser labels could be tested"
        )
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]} (`workbench plan STUDY` says more)." if sentence else ""


def plan_sentences(table: pd.DataFrame) -> list[str]:
    """The plan in sentences, for a form, a report or a terminal."""
    if table.empty:
        return ["The data have no labels: nothing can be tested against them."]
    labels = table.drop_duplicates("label")
    usable = labels[labels["note"].eq("")]
    lines = [
        f"{counted(int(labels['documents'].max()), 'document')} in the test split; {count(len(usable))} of"
        f" {counted(len(labels), 'label')} {'is' if len(usable) == 1 else 'are'} in at least {ENOUGH} documents of each class."
    ]
    if not labels["captured"].all():
        lines.append(
            "The activations were left out when the study was packed, so which examples were captured is not known: all of the"
            " test split are counted."
        )
    for tests, part in table[table["note"].eq("")].groupby("concepts"):
        lines += _over(int(str(tests)), part)
    if len(usable):
        lines.append(
            "This takes each document for one row, or for one row of each class where it holds both; scores or labels that"
            " differ within documents change it, to either side."
        )
    shift = number(detectable_shift(RANDOM_SETS, 20))
    lines.append(
        f"A TCAV effect, held against {RANDOM_SETS} random sets, has to be {shift} of their standard deviations from their"
        " mean to be found over 20 tests."
    )
    return lines


def _over(tests: int, part: pd.DataFrame) -> list[str]:
    over, found = counted(tests, "concept"), part["auroc"].dropna()
    lines = []
    if len(found):
        least, most = number(float(found.min())), number(float(found.max()))
        between = f"of {least}" if least == most else f"from {least} (the label in most documents) to {most} (the one in fewest)"
        lines.append(f"Over {over}, an AUROC {between} is found four times in five after Holm's correction.")
    impossible = int((part["most_concepts"] < tests).sum())
    if impossible:
        lines.append(
            f"For {counted(impossible, 'label')} no corrected p value over {over} could be below .05: test fewer concepts, or"
            " coarser labels that are in more documents."
        )
    if unsure := int((part["auroc"].isna() & (part["most_concepts"] >= tests)).sum()):
        lines.append(
            f"For {counted(unsure, 'label')} a corrected p value over {over} can be below .05, but only by an AUROC so near to 1"
            " that none is promised to be found four times in five."
        )
    return lines
