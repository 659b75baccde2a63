"""Commands that only look: models, sites, data, analyses, studies, concepts."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from workbench.cli.console import STATE, open_study, progress, say, show_json, show_table
from workbench.cli.options import Check, Dtype, StudyPath, loaded, loaded_model, with_data_options
from workbench.errors import WorkbenchError
from workbench.frames import records
from workbench.numbers import counted
from workbench.statistics.rows import SHOWN

LABELS_SHOWN = 40


def models() -> None:
    """List the models that come with the workbench."""
    from workbench.models.packaged import PACKAGED

    rows = [{"model": name, "what": (maker.__doc__ or "").split("\n")[0].strip()} for name, maker in PACKAGED.items()]
    show_table(pd.DataFrame(rows), limit=120)
    say("Any Hugging Face hub name or local folder works as well.")


def sites(
    model: Annotated[str, typer.Argument(help="Bundled name, hub name, or local folder.")],
    dtype: Dtype = "float32",
    check: Check = True,
) -> None:
    """List a model's sites."""
    network = loaded_model(model, check, dtype)
    if STATE.json:
        show_json([{"site": str(site), "width": network.width(site)} for site in network.sites])
        return
    heads = Counter((site.kind, site.layer) for site in network.sites if site.head is not None)
    rows: dict[str, dict[str, Any]] = {}
    for site in network.sites:
        count = heads.get((site.kind, site.layer), 0) if site.head is not None else 0
        # One line for all heads of a layer: the name with * is what --sites takes for them.
        name = f"{site.kind}.{site.layer}.*" if count else str(site)
        rows.setdefault(name, {"site": name, "width": network.width(site) or "varies", "what": f"{count} heads" if count else ""})
    show_table(pd.DataFrame(rows.values()))


@with_data_options
def data(
    data_options: dict[str, Any],
    name: Annotated[
        str | None, typer.Argument(help="A data set to describe, bundled or the path of your own; all bundled when left out.")
    ] = None,
) -> None:
    """List the data sets that come with the workbench, or describe one, your own too: how it is read before it is captured."""
    from workbench.datasets.bundled import BUNDLED

    if name is None:
        rows = [{"data": key, "what": (maker.__doc__ or "").split("\n")[0].strip()} for key, maker in BUNDLED.items()]
        show_table(pd.DataFrame(rows), limit=120)
        return
    dataset = loaded(name, data_options)
    if STATE.json:
        show_json(dataset.describe())
        return
    say(f"{dataset!r}")
    show_table(dataset.columns())
    show_table(dataset.labels_table().head(LABELS_SHOWN))


def analyses(
    name: Annotated[str | None, typer.Argument(help="An analysis to describe; all when left out.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Run it through the checks of every analysis, in worlds where the truth is known.")
    ] = False,
) -> None:
    """List the analyses, describe one's options and metrics, or check one (exit code 2 when it fails)."""
    from workbench.analysis import find_analysis
    from workbench.analysis.inputs import described
    from workbench.registry import analysis_names

    if name is None:
        rows = [{"analysis": n, "title": find_analysis(n).title} for n in analysis_names()]
        show_table(pd.DataFrame(rows))
        return
    found = find_analysis(name)
    if check:
        _check(name)
        return
    if STATE.json:
        show_json(
            {
                "name": name,
                "options": found.model_json_schema(),
                "inputs": [one.__dict__ for one in found.inputs],
                "metrics": [m.__dict__ for m in found.metrics],
            }
        )
        return
    say(f"{found.title}\n{(found.__doc__ or '').strip()}")
    options = [{"option": k, "default": str(f.default), "what": f.description or ""} for k, f in found.model_fields.items()]
    show_table(pd.DataFrame(options), limit=200)
    if found.inputs:
        say(f"It reads besides (--from NAME=ID): {', '.join(map(described, found.inputs))}.")
    show_table(
        pd.DataFrame([{"metric": m.key, "unit": m.unit, "what": m.description} for m in found.metrics]),
        limit=300,
    )


def _check(name: str) -> None:
    from workbench.testing import check_analysis

    with tempfile.TemporaryDirectory() as folder:
        try:
            table = check_analysis(name, Path(folder))
        except AssertionError as error:
            raise WorkbenchError(str(error)) from None
    show_table(table, f"{name} passes {counted(len(table), 'check')}")


def show(study: StudyPath) -> None:
    """Show a study: model, activations, runs, and how runs that did not finish ended."""
    with open_study(study, create=False) as opened:
        runs = opened.runs(status=None)
        acts = [
            {"activations": a.id, "rows": a.n_rows, "sites": len(a.sites), "data": a.dataset_record["name"], "under": a.under}
            for a in opened.activations()
        ]
        title = repr(opened)
    columns = ["id", "analysis", "status", "seed", "started", "seconds", "peak_mib", "error"]
    if STATE.json:
        show_json({"study": str(study), "activations": acts, "runs": records(runs[columns])})
        return
    say(title)
    show_table(pd.DataFrame(acts))
    show_table(runs[columns])


def plan(
    study: StudyPath,
    acts: Annotated[str | None, typer.Option(help="Activations by id; the newest when left out.")] = None,
    concepts: Annotated[list[int] | None, typer.Option(help="How many concepts are tested together; may be repeated.")] = None,
) -> None:
    """Show what the data can show: by label, the smallest effects that are found four times in five."""
    from workbench.evidence.plan import TESTS, plan_sentences
    from workbench.evidence.plan_causes import causes_sentences, plan_causes

    with open_study(study, create=False) as opened:
        chosen = opened.activation_set(acts)
        table, causes = opened.plan(chosen, concepts=tuple(concepts or TESTS)), plan_causes(opened, chosen)
    lines = [*plan_sentences(table), *causes_sentences(causes)]
    if STATE.json:
        show_json({"plan": records(table), "causes": records(causes), "said": lines})
        return
    for line in lines:
        say(line)
    wide = table.pivot(index="label", columns="concepts", values="auroc").add_prefix("AUROC over ")
    facts = table.drop_duplicates("label").set_index("label")[["documents", "positive", "negative", "note"]]
    show_table(facts.join(wide).reset_index()[["label", "documents", "positive", "negative", *wide.columns, "note"]])


def calibration(
    metric: Annotated[str | None, typer.Argument(help="A score, such as detects.auroc; all when left out.")] = None,
) -> None:
    """Show whether p values, intervals and nulls hold where the truth is known."""
    from workbench.evidence.calibration import calibration as measured
    from workbench.evidence.calibration import date

    table = measured(metric)
    if STATE.json:
        show_json({"date": date(), "rows": records(table)})
        return
    lost = int((~table["holds"]).sum())
    say(f"{len(table) - lost} of {len(table)} numbers hold (measured on {date()}).")
    show_table(table)


def concepts(
    study: StudyPath,
    query: Annotated[str | None, typer.Argument(help="Words to find by name or meaning.")] = None,
    method: Annotated[str | None, typer.Option(help="Only concepts of this method: SAE, probe, CAV.")] = None,
    site: Annotated[str | None, typer.Option(help="Only concepts at this site.")] = None,
    run: Annotated[str | None, typer.Option(help="Only concepts of this run.")] = None,
    fires_on: Annotated[str | None, typer.Option(help="Order by how strongly they are present in this text.")] = None,
    output: Annotated[str | None, typer.Option(help="Order by how much they raise this word (causal models).")] = None,
    sort: Annotated[str | None, typer.Option(help="Order by this metric, such as detects.auroc.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1)] = 20,
) -> None:
    """Find concepts by name, by an input, or by evidence."""
    where = {k: v for k, v in {"method": method, "site": site, "run": run}.items() if v}
    with open_study(study, create=False) as opened, progress() as show:
        found = opened.concepts(query, fires_on=fires_on, output=output, progress=show, **where)
        if sort:
            found = found.sort(sort)
        table = type(found)(opened, found.ids[:limit], found.relevance[:limit] if found.relevance else None).table()
    keep = [
        "relevance",
        "name",
        "method",
        "site",
        "detects",
        "detects.auroc",
        "detects.q",
        "causes.readout",
        "stable.cosine",
        "named.auroc",
        "id",
    ]
    show_table(table if STATE.json else table[[c for c in keep if c in table]])


def concept(study: StudyPath, identifier: Annotated[str, typer.Argument(help="The concept's id.")]) -> None:
    """Show one concept: names, evidence, examples."""
    from workbench.evidence.metrics import metrics_of

    with open_study(study, create=False) as opened:
        found = opened.concept(identifier)
        known = metrics_of([found.run.analysis])
        evidence, names, examples = found.evidence(), found.names(), found.examples(6)
        title, remarks = repr(found), found.remarks
    examples = examples.assign(input=examples["input"].astype(str).str.slice(0, 200))
    titles = [known[key].title if key in known else key for key in evidence["metric"]]
    evidence = evidence.assign(title=titles)
    if STATE.json:
        parts = {"names": names, "evidence": evidence, "examples": examples}
        show_json({"concept": identifier, "remarks": remarks} | {k: records(v) for k, v in parts.items()})
        return
    say(title)
    for remark in remarks:
        say(remark)
    show_table(names[["text", "source", "author", "at"]])
    note = evidence["note"].fillna("").where(evidence["error"].isna(), evidence["error"])
    show_table(evidence[["metric", "title", "label", "status", *SHOWN]].assign(note=note))
    show_table(examples[["value", "token", "input"]], limit=100)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (models, sites, data, analyses, show, plan, calibration, concepts, concept):
        app.command()(command)
