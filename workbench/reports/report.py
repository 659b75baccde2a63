"""The report: what a study found, with every null, in one file that opens without a network."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from workbench.errors import UnknownNameError, disk_errors
from workbench.evidence.metrics import metrics_of
from workbench.evidence.plan import plan_sentences
from workbench.evidence.plan_causes import causes_sentences, plan_causes
from workbench.evidence.verdict import verdict
from workbench.frames import records, where
from workbench.metrics import Metric
from workbench.numbers import clusters, corrected_p, count, interval, number, p_value
from workbench.plots import dose_curve, forest
from workbench.progress import Progress, shares, silent
from workbench.reports.highlight import visible
from workbench.reports.parts import LeftOut, each, examples_html, figure_html
from workbench.reports.section import run_section
from workbench.reports.steering import steering_section
from workbench.store.run_kinds import EXAMINATION, HEAD_EDIT, of_analyses
from workbench.store.runs import Run, newest_comparison, repetitions
from workbench.writing import write_beside

if TYPE_CHECKING:
    from workbench.store.concept import Concept
    from workbench.study import Study

T = TypeVar("T")
CARDS = 12


SECTIONS = {
    "labels": "What was found for each label",
    "analyses": "What each analysis measured",
    "same": "One concept, found by several methods",
    "steering": "What steering does to text",
    "concepts": "Concepts on trial",
    "failures": "What failed",
    "provenance": "Provenance",
}
ABOUT_CARD, ABOUT_ROW = 21_000, 220


@dataclass(frozen=True)
class Chosen:
    """What goes into a report.

    Attributes:
        analyses: The runs with a section.
        concepts: Ids of the concepts with a card.
        sections: Keys of :data:`SECTIONS`.
        every: Whether nobody chose among the runs.
        left_out: What is broken, and why.
    """

    analyses: list[Run]
    concepts: list[str]
    sections: list[str]
    every: bool
    left_out: LeftOut = field(default_factory=LeftOut)

    def takes(self, row: dict[str, Any]) -> bool:
        """Whether a run belongs to it: it was chosen, or it examined or compared one that was."""
        ids = {run.id for run in self.analyses}
        return self.every or row["id"] in ids or bool(ids & set(row["inputs"].get("parents", [])))

    def holds(self, concept: str) -> bool:
        """Whether the concept is of one of the chosen runs."""
        return self.every or concept.rpartition(".")[0] in {run.id for run in self.analyses}


def choose(
    study: Study, concepts: Sequence[str] | None = None, runs: Sequence[str] | None = None, sections: Sequence[str] | None = None
) -> Chosen:
    """Find what was asked for.

    Raises:
        UnknownNameError: There is no such run, concept or section.
    """
    for section in sections or []:
        if section not in SECTIONS:
            raise UnknownNameError("section of a report", section, SECTIONS)
    left_out = LeftOut()
    analyses = _analyses(study, left_out) if runs is None else [study.get_run(i) for i in dict.fromkeys(runs)]
    wanted = [key for key in SECTIONS if sections is None or key in sections]
    if concepts is None:
        found = cards_of(study, runs=None if runs is None else [run.id for run in analyses])
    else:
        found = [study.concept(i).id for i in dict.fromkeys(concepts)]
    return Chosen(analyses, found, wanted, runs is None, left_out)


def expected_bytes(study: Study, chosen: Chosen) -> int:
    """About how large the report will be. Plotly's own code is most of a short one."""
    from plotly.offline import get_plotlyjs

    total = len(get_plotlyjs())
    if "analyses" in chosen.sections:
        for run in chosen.analyses:
            total += sum(path.stat().st_size for path in (run.folder / "figures").glob("*.json"))
            total += ABOUT_ROW * min(LeftOut().unless_broken("metrics", partial(_rows, run), 0), 60)
    if "concepts" in chosen.sections:
        total += ABOUT_CARD * len(chosen.concepts)
    return total


def write_report(
    study: Study, path: Path, concepts: Sequence[str] | None = None, notes: str = "", title: str = "",
    runs: Sequence[str] | None = None, sections: Sequence[str] | None = None, progress: Progress = silent,
) -> Path:  # fmt: skip
    """Write the report. Methods are compared first when runs have come since, which adds a run to a study that may be written.

    Args:
        study: What to report.
        path: The HTML file; written whole or not at all.
        concepts: Ids of the concepts to show with a card; those with the widest evidence when left out.
        notes: A text of the author's to put first.
        title: What to call it; the study's name when left out.
        runs: Ids of the runs to report; the newest of each analysis when left out.
        sections: Which of :data:`SECTIONS`; all when left out.
        progress: Called with ``(done, total, text)``.

    Returns:
        The path.

    Raises:
        UnknownNameError: There is no such run, concept or section.
    """
    from plotly.offline import get_plotlyjs

    chosen = choose(study, concepts, runs, sections)
    environment = _environment()
    wanted = set(chosen.sections)
    out: Any = chosen.left_out.unless_broken
    parts = [len(chosen.analyses) * ("analyses" in wanted), len(chosen.concepts) * ("concepts" in wanted)]
    of_runs, of_cards = shares(progress, parts, "writing the report")
    reported = [row for row in records(study.runs()) if chosen.takes(row)]
    text = environment.get_template("report.html.j2").render(
        study=study,
        title=title.strip() or study.name,
        notes=notes,
        wanted=wanted,
        # Plotly's own code; "</script" does not occur in it, and it fetches nothing for the figures used here.
        plotly=Markup(get_plotlyjs()),
        facts=out("the facts of model and data", lambda: _facts(study), []),
        sections=each(
            chosen.analyses, lambda run: f"run {run.id}", lambda run: run_section(run, out), out, "analyses" in wanted, of_runs
        ),
        labels=out("the labels", lambda: _labels(study, chosen, out), []) if "labels" in wanted else [],
        plan=out("what the data can show", lambda: _planned(study), []) if "labels" in wanted and study.activations() else [],
        cards=each(chosen.concepts, str, lambda i: _card(study.concept(i), out), out, "concepts" in wanted, of_cards),
        pairs=out("the pairs of concepts", lambda: _pairs(study, chosen, progress), []) if "same" in wanted else [],
        steering=out("steering", lambda: steering_section(study, chosen.holds), None) if "steering" in wanted else None,
        failures=_failures(study, chosen),
        unfinished=_unfinished(study),
        runs=reported,
        made_with=out("the versions of packages", lambda: _made_with(reported), ""),
        left_out=chosen.left_out,
    )
    with disk_errors(f"the report {path}"):
        write_beside(path, text.encode(errors="replace"))
    return path


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("workbench.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Names, methods and all else from a catalog: a direction mark among them does nothing.
        finalize=lambda value: visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
    )
    environment.filters |= {"number": number, "count": count, "p_value": p_value, "visible": _visible}
    environment.globals |= {
        "clusters": clusters,
        "corrected_p": corrected_p,
        "interval": lambda low, high: interval(low, high) or "–",
    }
    return environment


def _planned(study: Study) -> list[str]:
    return [*plan_sentences(study.plan()), *causes_sentences(plan_causes(study))]


def cards_of(study: Study, count: int = CARDS, runs: Sequence[str] | None = None) -> list[str]:
    """Concepts worth a card: with a dose curve, from every method in turn, those that detect best first."""
    evidence = study.evidence(["detects.auroc", "causes.readout", "causes.output"])
    if runs is not None:
        evidence = evidence[evidence["concept"].str.rsplit(".", n=1).str[0].isin(list(runs))]
    if evidence.empty:
        return []
    steered = set(evidence.loc[evidence["metric"].eq("causes.output"), "concept"])
    areas = evidence[evidence["metric"].eq("detects.auroc") & evidence["concept"].isin(steered)]
    areas = areas.sort_values("value", ascending=False).drop_duplicates("concept")
    method = areas["concept"].str.rsplit(".", n=1).str[0]
    turn = areas.groupby(method).cumcount()
    return list(areas.assign(turn=turn).sort_values(["turn", "value"], ascending=[True, False])["concept"].head(count))


def _facts(study: Study) -> list[tuple[str, str]]:
    model = study.model_record()
    rows = [("Model", f"{model['name']} ({model['kind']}, weights {model['weights_hash'][:12]})")]
    for acts in study.activations():
        record = acts.dataset_record
        sites = ", ".join(str(s) for s in acts.sites)
        rows.append(
            (
                "Data",
                f"{record['name']}: {acts.n_examples:,} examples, {acts.n_rows:,} rows ({acts.pool}) at {sites}",
            )
        )
    return rows


def _rows(run: Run) -> int:
    return len(run.metrics)


def _analyses(study: Study, left_out: LeftOut) -> list[Run]:
    frame = study.runs()
    frame = frame[(of_analyses(frame) | frame["analysis"].eq(HEAD_EDIT)) & ~repetitions(frame)]
    newest = frame.sort_values(["seed", "started"], ascending=[True, False]).drop_duplicates("analysis")
    rows = records(newest.sort_values("started"))
    return each(rows, lambda row: f"run {row['id']}", partial(Run, study), left_out.unless_broken, True)


def _labels(study: Study, chosen: Chosen, out: Any) -> list[Any]:
    frame = study.runs()
    rows = [row for row in records(frame[frame["analysis"].eq(EXAMINATION) & ~repetitions(frame)]) if chosen.takes(row)]
    figures = each(rows, lambda row: f"the labels of run {row['id']}", lambda row: _found_for_labels(study, row), out, True)
    return [figure for figure in figures if figure]


def _found_for_labels(study: Study, row: dict[str, Any]) -> Markup:
    """The best concept for each label of a run that was examined as a whole; nothing of one whose concepts have labels."""
    run, parent = Run(study, row), study.get_run(row["config"]["run"])
    if row["config"]["numbers"] is not None or parent.concepts[0].label:
        return Markup()
    table, evidence = run.tables["labels"], run.tables["evidence"]
    area = evidence[evidence["metric"].eq("detects.auroc")]
    table = table.merge(area[["concept", "label", "value", "low", "high"]], on=["concept", "label"], how="inner")
    table = table.sort_values("value", ascending=False).rename(columns={"label": "name"})
    title = f"Best {parent.concepts[0].method} for each label, beside the best neuron and the best random concept"
    return figure_html(forest(table, title, "AUROC on the test split", null=0.5))


def _card(concept: Concept, out: Any) -> dict[str, Any]:
    evidence, known = concept.evidence(), metrics_of([concept.run.analysis])
    return {
        "concept": concept,
        "name": concept.name,
        "history": records(concept.names()),
        "remarks": out(f"the direction of {concept.id}", lambda: concept.remarks, []),
        "rows": [row | _judged(row, known.get(row["metric"])) for row in records(evidence)],
        "examples": out(f"the examples of {concept.id}", lambda: _examples(concept), []),
        "curves": out(f"the dose curve of {concept.id}", lambda: _curves(concept, evidence), [])[-1:],
    }


def _visible(value: Any) -> str:
    """A text of a template; where a study has none, nothing."""
    if isinstance(value, str):
        return visible(value)
    return "" if value is None or pd.isna(value) else visible(str(value))


def _judged(row: dict[str, Any], about: Metric | None) -> dict[str, Any]:
    if about is None or row["status"] != "ok" or row["value"] is None:
        return {"about": about, "verdict": ""}
    return {"about": about, "verdict": verdict(row, about).sentence}


def _examples(concept: Concept) -> list[Markup]:
    examples = concept.examples(5)
    return examples_html(concept, examples["example"].tolist(), examples["input"].tolist())


def _curves(concept: Concept, evidence: pd.DataFrame) -> list[Markup]:
    curves = []
    for run_id in dict.fromkeys(evidence["run"]):
        run = concept.study.get_run(run_id)
        if "curves" in run.tables:
            table = run.tables.where("curves", "concept = ?", [concept.id])
            if len(table):
                label = str(table["label"].iloc[0])
                curves.append(figure_html(dose_curve(table, f"Effect on the readout of {html.escape(visible(label))}")))
    return curves


def _made_with(runs: list[dict[str, Any]]) -> str:
    """The packages and the machine of the newest run."""
    if not runs:
        return ""
    provenance = runs[-1]["provenance"]
    packages = ", ".join(f"{package} {version}" for package, version in provenance["packages"].items())
    machine = provenance["machine"]
    return f"{packages}; Python {provenance['python']}; {machine['system']} {machine['processor']}, {machine['cores']} cores."


def _pairs(study: Study, chosen: Chosen, progress: Progress) -> list[dict[str, Any]]:
    if study.read_only:
        newest, _ = newest_comparison(study)
        pairs = study.get_run(newest).tables["pairs"] if newest else pd.DataFrame()
    else:
        pairs = study.counterparts(progress=progress)
    if pairs.empty:
        return []
    names = study.catalog.current_names().set_index("concept")["text"].to_dict()
    pairs = pairs[pairs["verdict"].eq("same") & (pairs["concept"] < pairs["other"])].sort_values("cofiring", ascending=False)
    # A concept without a name is called by its id, as on pages and by commands.
    pairs = pairs.assign(**{
        column: pairs[of].map(names).fillna(pairs[of]) for column, of in (("name", "concept"), ("other_name", "other"))
    })  # fmt: skip
    inside = where(pairs["concept"], chosen.holds) & where(pairs["other"], chosen.holds)
    return records(pairs[inside].head(40))


def _failures(study: Study, chosen: Chosen) -> list[dict[str, Any]]:
    evidence = study.evidence()
    failed = evidence[evidence["status"].eq("failed") & where(evidence["concept"], chosen.holds)]
    counts = failed.groupby(["metric", "error"]).size().reset_index(name="concepts")
    return records(counts.sort_values("concepts", ascending=False).head(20))


def _unfinished(study: Study) -> list[dict[str, Any]]:
    runs = study.runs(status=None)
    return records(runs[~runs["status"].isin(["done", "running"])])
