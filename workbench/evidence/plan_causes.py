"""What steering can show at the sites of a study, before any concept is steered: how small a p value can be there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from workbench.errors import DataError
from workbench.evidence.causes import LINEAR_CONTROLS, RANDOM_DIRECTIONS
from workbench.evidence.controls import ordinary_rows
from workbench.evidence.model_statistics import rows_of
from workbench.evidence.steering import RANDOM
from workbench.numbers import count, number
from workbench.statistics.correction import ALPHA
from workbench.statistics.directional import FEWEST_DEGREES, effective_dimension
from workbench.statistics.planning import detectable_shift

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.study import Study

COLUMNS = ("site", "metric", "dimension", "directions", "degrees", "least_p", "most_tests")
DRAWS = {"causes.readout": RANDOM_DIRECTIONS, "causes.tokens": RANDOM, "causes.sensitivity": LINEAR_CONTROLS}
TESTS = 20


def plan_causes(study: Study, acts: ActivationSet | None = None) -> pd.DataFrame:
    """By site, how many concepts can be steered together so that a corrected p value may be below .05.

    Random directions that vary as the activations do have heavy-tailed effects where a few directions hold most of the variance.
    With an effective dimension below about 9 no tail is fitted to them, and p is a rank that cannot be small.

    Returns:
        ``site, metric, dimension, directions, degrees, least_p, most_tests``: the effective dimension of the activations, the
        random directions of each kind, the degrees of freedom of the tail (missing where p is a rank), the least p there is
        and the tests over which it is below .05 after correction (missing where a tail is fitted). Empty where the study has no
        activations, or they were left out when it was packed.
    """
    sets = study.activations() if acts is None else [acts]
    if not sets or (sets[-1].left_out and sets[-1].fetch is None):
        return pd.DataFrame(columns=list(COLUMNS))
    acts = sets[-1]
    dataset, decoder = study.dataset_of(acts), study.model_record()["kind"] == "decoder"
    rows = []
    for site in map(str, acts.sites):
        try:
            dimension = effective_dimension(ordinary_rows(rows_of(acts.at(site), dataset)))
        except DataError:
            # Nothing varies there: an examination says so.
            continue
        for metric, draws in DRAWS.items():
            if metric == "causes.tokens" and not decoder:
                continue
            degrees = 1 / (1 / (draws - 1) + 1 / dimension)
            row: dict[str, object] = {"site": site, "metric": metric, "dimension": dimension, "directions": draws}
            ranked = degrees < FEWEST_DEGREES
            row |= {"degrees": None if ranked else degrees, "least_p": 1 / (1 + draws) if ranked else None}
            rows.append(row | {"most_tests": int(ALPHA * (1 + draws)) if ranked else None})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"degrees": float, "least_p": float, "most_tests": float})


def causes_sentences(table: pd.DataFrame) -> list[str]:
    """The same in sentences."""
    lines = []
    ranked = table[table["most_tests"].notna()]
    if len(ranked):
        sites = ", ".join(dict.fromkeys(ranked["site"]))
        most = ranked.drop_duplicates("metric").set_index("metric")["most_tests"]
        words = {"causes.readout": "the readout or the output", "causes.tokens": "own tokens"}
        over = " and ".join(f"{count(most[key])} for {what}" for key, what in words.items() if key in most)
        least = " and ".join(f"1/{draws + 1}" for key, draws in DRAWS.items() if key in most and key in words)
        lines.append(
            f"At {sites} a few directions hold most of the variance (effective dimension {number(ranked['dimension'].min())} at"
            f" the least), so the p value of steering is a rank, {least} at the least: no corrected one can be below .05 where"
            f" more concepts are steered in an examination than {over}."
        )
    fitted = table[table["degrees"].notna() & table["metric"].eq("causes.readout")]
    if len(fitted):
        degrees = fitted["degrees"].min()
        shift = number(detectable_shift(RANDOM_DIRECTIONS, TESTS, degrees=float(degrees)))
        where = f"At {', '.join(fitted['site'])} the" if len(ranked) else "The"
        lines.append(
            f"{where} effect of steering on the readout, held against {RANDOM_DIRECTIONS} random directions of each kind, has to"
            f" be {shift} of their standard deviations from their mean to be found over {TESTS} tests."
        )
    return lines
