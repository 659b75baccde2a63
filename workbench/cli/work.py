"""Commands that make something: capture, run, name, examine, match, report, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import pandas as pd
import typer

from workbench.cli.console import ROWS, STATE, open_study, progress, say, show_json, show_metrics, show_table
from workbench.cli.options import (
    SEVERAL,
    CatalogUrl,
    Check,
    Dtype,
    Raw,
    RemoteUrl,
    Sites,
    StudyPath,
    loaded,
    loaded_model,
    many,
    with_data_options,
)
from workbench.conversations import DEFAULT_POSITIONS, POSITIONS_HELP
from workbench.errors import ConfigError
from workbench.frames import records
from workbench.measurements import corrections, first_of_each, shown_of
from workbench.numbers import counted
from workbench.shapes import parse_json
from workbench.statistics.rows import SHOWN

if TYPE_CHECKING:
    from workbench.activations.manifest import Pool

DIFFERS = 1
EngineName = Annotated[str, typer.Option(help="Who does the work: local, this process, or ray, several workers.")]
Address = Annotated[str | None, typer.Option(help="A Ray cluster that runs; one is started when left out.")]
Workers = Annotated[int | None, typer.Option(help="How many workers; as many as find room when left out.")]


@with_data_options
def capture(
    study: StudyPath,
    data_options: dict[str, Any],
    data: Annotated[str, typer.Option(help="Bundled name, or a CSV, TSV, Parquet, JSONL file or folder.")],
    model: Annotated[str, typer.Option(help="Bundled name, hub name, or local folder.")] = "minilm",
    sites: Annotated[list[str] | None, typer.Option(help=f"Sites, with * for any layer; {SEVERAL}.")] = None,
    pool: Annotated[str, typer.Option(help="token, spatial, mean, max or last.")] = "token",
    positions: Annotated[str, typer.Option(help=POSITIONS_HELP)] = DEFAULT_POSITIONS,
    limit: Annotated[int | None, typer.Option(help="Only so many examples, drawn by --seed.")] = None,
    seed: Annotated[int, typer.Option(help="Of the drawing of --limit.")] = 0,
    sample_by: Annotated[
        str | None, typer.Option(help="With --limit: a column, of each of whose values as many examples are drawn.")
    ] = None,
    dtype: Dtype = "float32",
    check: Check = True,
    store_dtype: Annotated[str, typer.Option(help="Of the activations on disk: float16, float32 or bfloat16.")] = "float16",
    max_length: Annotated[
        int | None,
        typer.Option(help="Tokens at which a text is cut, up to the model's own limit; 128 when left out (scribe: 256)."),
    ] = None,
    max_disk: Annotated[str | None, typer.Option(help="The most that the set may take on disk, such as 2GB.")] = None,
    batch_size: Annotated[int, typer.Option(help="Examples of a batch, if of mean length; more on a GPU, such as 256.")] = 32,
    under: Annotated[
        list[str] | None,
        typer.Option(help="An edit that the model runs under: RUN/EDIT, RUN/EDIT=STRENGTH, or CONCEPT=AMOUNT; may be repeated."),
    ] = None,
    special: Annotated[bool, typer.Option("--special", help="Keep the rows of special tokens too, such as [CLS].")] = False,
    catalog: CatalogUrl = None,
    remote: RemoteUrl = None,
    engine: EngineName = "local",
    address: Address = None,
    workers: Workers = None,
) -> None:
    """Capture a model's activations on data. With other labels, groups or splits of the same examples nothing is read again."""
    from workbench.engines import find_engine
    from workbench.opening import open_study

    runs = find_engine(engine, address, workers)
    dataset = loaded(data, data_options)
    network = loaded_model(model, check, dtype, special=special, max_length=max_length)
    wanted = many(sites) or ["resid_post.*"]
    network.match(wanted)
    with open_study(study, catalog=catalog, remote=remote) as opened, progress() as show:
        before = {found.id for found in opened.activations()}
        acts = opened.capture(
            network, dataset, wanted, cast("Pool", pool), positions=positions, limit=limit, seed=seed, sample_by=sample_by,
            store_dtype=store_dtype, max_disk=max_disk, batch_size=batch_size, engine=runs, progress=show, under=under or (),
        )  # fmt: skip
        facts = {
            "activations": acts.id,
            "rows": acts.n_rows,
            "examples": acts.n_examples,
            "sites": [str(s) for s in acts.sites],
            "under": acts.under,
            "new": acts.id not in before,
            "notes": list(dataset.notes),
            "cut_texts": acts.manifest.cut_texts,
            "lost_tokens": acts.manifest.lost_tokens,
        }
    if STATE.json:
        show_json(facts)
        return
    say(f"{dataset!r}\n{acts!r}")
    if acts.id in before:
        say("These examples were captured before, so nothing was captured again; the labels are those above.")


def run(
    study: StudyPath,
    analysis: Annotated[str | None, typer.Argument(help="Its name; `workbench analyses` lists them.")] = None,
    sites: Sites = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Labels to use: columns that the study keeps, column=value, or 'tokens'; {SEVERAL}. All when left out."
        ),
    ] = None,
    acts: Annotated[str | None, typer.Option(help="The activation set's id; the newest when left out.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--set", help="An option of the analysis, name=value; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Every random choice comes from it.")] = 0,
    force: Annotated[bool, typer.Option(help="Run again although it is there.")] = False,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            help="What the analysis reads besides, name=id; may be repeated. Without an analysis: the run to repeat as it was"
            " configured, to see whether it finds the same.",
        ),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="With --from and a run: the share of its column by which a number may differ.")
    ] = 0.0,
    engine: EngineName = "local",
    address: Address = None,
    workers: Workers = None,
) -> None:
    """Run an analysis on captured activations, or repeat a run (exit code 1 when it does not find the same)."""
    from workbench.engines import find_engine
    from workbench.registry import declared_metrics

    chosen_engine = find_engine(engine, address, workers)
    if source and not any("=" in one for one in source):
        if len(source) > 1 or analysis or sites or labels or acts or option or seed or force or engine != "local":
            raise ConfigError(
                "A run is repeated as it was: with --from RUN, give nothing but --tolerance. What an analysis reads is"
                " --from NAME=ID."
            )
        _repeat(study, source[0], tolerance)
        return
    if analysis is None:
        raise ConfigError("Say which analysis to run; `workbench analyses` lists them.")
    options = parse_options(option or []) | _inputs(source or [])
    if labels is not None:
        options["labels"] = many(labels)
    from workbench.store.runs import SKIPPED_TOLD

    with open_study(study, create=False) as opened, progress() as show:
        chosen = opened.activation_set(acts)
        view = chosen.select(many(sites) or []) if sites else chosen
        done = opened.run(analysis, view, seed=seed, force=force, progress=show, engine=chosen_engine, **options)
        metrics, remarks = done.metrics, done.remarks
        skipped = done.tables["skipped"] if "skipped" in done.tables else pd.DataFrame()
        facts = {"run": done.id, "seconds": done.record["seconds"], "peak_mib": done.record["peak_mib"]}
        edits, told = list(done.edits), done.edits.sentence
    if STATE.json:
        show_json(facts | {"edits": edits} | {"metrics": records(metrics), "remarks": remarks, "skipped": records(skipped)})
        return
    say(f"{done!r}")
    show_metrics(metrics, {metric.key: metric for metric in declared_metrics(done.analysis)})
    for line in (*remarks, *filter(None, [told])):
        say(line)
    if len(skipped) > SKIPPED_TOLD:
        show_table(skipped, f"{counted(len(skipped), 'label')} were skipped", limit=160)


def _inputs(items: list[str]) -> dict[str, str | list[str]]:
    """``name=id`` pairs; a name that stands several times has a list of ids.

    Raises:
        ConfigError: An item has no ``=``.
    """
    found: dict[str, list[str]] = {}
    for item in items:
        name, sign, identifier = item.partition("=")
        if not (sign and name and identifier):
            raise ConfigError(f"'{item}' names nothing to read; write --from name=id.")
        found.setdefault(name, []).append(identifier)
    return {name: ids[0] if len(ids) == 1 else ids for name, ids in found.items()}


def _repeat(study: Path, source: str, tolerance: float) -> None:
    with open_study(study, create=False) as opened, progress() as show:
        done = opened.repeat(source, tolerance, show)
        facts = {"run": done.run.id, "repeats": done.first.id, "agrees": done.agrees, "tolerance": tolerance}
        facts["remarks"] = list(done.remarks)
    if STATE.json:
        show_json(facts | {"parts": records(done.table)})
    else:
        show_table(done.table.assign(**{column: done.table[column].map(_few) for column in ("difference", "share")}))
        for sentence in (*done.remarks, f"{done!r}"):
            say(sentence)
    raise typer.Exit(0 if done.agrees else DIFFERS)


def _few(value: float) -> str:
    return f"{value:.3g}"


def name(
    study: StudyPath,
    run: Annotated[str, typer.Argument(help="The run whose concepts are named.")],
    vocabulary: Annotated[str, typer.Option(help="A bundled vocabulary, or a file with a word a line.")] = "common-words",
) -> None:
    """Name a run's discovered concepts from a vocabulary."""
    with open_study(study, create=False) as opened, progress() as show:
        table = opened.get_run(run).concepts.name(vocabulary=vocabulary, progress=show)
    show_table(table.sort_values("confidence", ascending=False).head(20 if not STATE.json else len(table)))


def rename(
    study: StudyPath,
    concept: Annotated[str, typer.Argument(help="The concept's id.")],
    text: Annotated[str, typer.Argument(help="Its new name.")],
    author: Annotated[str, typer.Option(help="Who gives it.")] = "command line",
) -> None:
    """Give a concept a name; the earlier ones stay in its history."""
    with open_study(study, create=False) as opened:
        found = opened.concept(concept)
        found.rename(text, author)
        history = found.names()
    show_table(history[["text", "source", "author", "at"]])


def examine(
    study: StudyPath,
    run: Annotated[str, typer.Argument(help="The run whose concepts stand trial.")],
    sites: Sites = None,
    families: Annotated[list[str] | None, typer.Option(help=f"Only these kinds of evidence; {SEVERAL}.")] = None,
    steer: Annotated[int, typer.Option(help="How many concepts of a set get a dose curve.")] = 12,
    replicate: Annotated[bool, typer.Option(help="Run the analysis with another seed for stability.")] = True,
    concept: Annotated[list[int] | None, typer.Option(help="Only the concept of this number; may be repeated.")] = None,
) -> None:
    """Put a run's concepts on trial."""
    from workbench.evidence import BY_KEY, QUESTIONS

    with open_study(study, create=False) as opened, progress() as show:
        found = opened.get_run(run)
        chosen: Any = [opened.concept(f"{found.id}.{n}") for n in concept] if concept else found
        rows = opened.examine(
            chosen,
            families=tuple(many(families) or QUESTIONS),
            sites=many(sites),
            steer=steer,
            replicate=replicate,
            progress=show,
        )
    columns = ["concept", "metric", "label", "status", *SHOWN]
    if STATE.json:
        show_table(rows[[*columns, "family", "note", "error"]])
        return
    measured = rows[rows["status"].eq("ok")]
    # What a person asks for first: the detection, or what was examined in its place.
    first = measured[measured["metric"].eq("detects.auroc" if "detects.auroc" in set(measured["metric"]) else measured["metric"])]
    shown = first_of_each(first, BY_KEY, ROWS)
    show_table(shown[columns])
    for sentence in filter(None, (shown_of(first, shown, BY_KEY), *corrections(shown, BY_KEY))):
        say(sentence)
    others = measured["metric"].drop_duplicates()[lambda m: ~m.isin(first["metric"])]
    if len(others):
        say(f"Measured as well: {', '.join(others)} (`workbench concept STUDY ID` shows a concept's, --json all).")
    for (metric, why), part in rows[rows["status"].eq("failed")].groupby(["metric", "error"], sort=False):
        say(f"Failed: {metric} of {len(part):,} of the concepts: {why}")


def match(study: StudyPath) -> None:
    """List concepts that several methods found."""
    with open_study(study, create=False) as opened, progress() as show:
        pairs = opened.counterparts(progress=show)
        names = dict(zip(*[opened.catalog.current_names()[c] for c in ("concept", "text")], strict=True))
    same = pairs[pairs["verdict"].eq("same")].sort_values("cofiring", ascending=False)
    measures = ["cosine", "cofiring", "cofiring_low", "cofiring_high"]
    same = same.assign(name=same["concept"].map(names), other_name=same["other"].map(names))
    show_table(same[["name", "method", "other_name", "other_method", "site", *measures, "concept", "other"]])


def compare(
    study: StudyPath,
    first: Annotated[str, typer.Argument(help="A run.")],
    second: Annotated[str, typer.Argument(help="Another run.")],
) -> None:
    """Put two runs side by side: options, metrics, and which concepts both found."""
    with open_study(study, create=False) as opened:
        found = opened.get_run(first).compare(opened.get_run(second))
    if STATE.json:
        show_json({k: records(getattr(found, k)) for k in ("config", "metrics", "concepts")})
        return
    show_table(found.config[~found.config["same"]][["option", "first", "second"]], "What was set differently")
    shown = [
        c
        for c in ("metric", "site", "label", "class", "value_first", "value_second", "difference", "overlap")
        if c in found.metrics
    ]
    # Differences of metrics with different units are not compared.
    ordered = found.metrics.sort_values("difference", key=abs, ascending=False, kind="stable")
    most = max(ROWS // max(ordered["metric"].nunique(), 1), 1) if len(ordered) > ROWS else ROWS
    largest = ordered[ordered.groupby("metric").cumcount() < most].sort_values("metric", kind="stable")
    of = f" ({len(largest)} of {len(ordered):,})" if len(largest) < len(ordered) else ""
    show_table(largest[shown], f"Metrics, of each the largest differences first{of}")
    show_table(found.concepts["verdict"].value_counts().reset_index(), "Concepts")


def report(
    study: StudyPath,
    out: Annotated[Path, typer.Argument(help="The HTML file to write.")] = Path("report.html"),
    tables: Annotated[Path | None, typer.Option(help="Also write every table into this folder, as CSV and Parquet.")] = None,
    raw: Raw = False,
    title: Annotated[str, typer.Option(help="What to call the report.")] = "",
    runs: Annotated[list[str] | None, typer.Option(help=f"Only these runs; {SEVERAL}.")] = None,
    concepts: Annotated[list[str] | None, typer.Option(help=f"A card for each of these concepts; {SEVERAL}.")] = None,
    collection: Annotated[str | None, typer.Option(help="A card for every concept of this collection.")] = None,
    sections: Annotated[list[str] | None, typer.Option(help=f"Only these sections; {SEVERAL}.")] = None,
) -> None:
    """Write a report: one HTML file that opens without a network."""
    from workbench.reports import export_tables

    with open_study(study, create=False) as opened, progress() as show:
        chosen = many(runs)
        cards = (many(concepts) or []) + (opened.collections[collection].ids if collection else [])
        path = opened.report(out, title=title, runs=chosen, concepts=cards or None, sections=many(sections), progress=show)
        written = export_tables(opened, tables, chosen, raw) if tables else []
    if STATE.json:
        show_json({"report": str(path), "tables": [str(p) for p in written]})
    else:
        say(f"Wrote {path}" + (f" and {counted(len(written), 'table')} in {tables}" if written else ""))


def collection(
    study: StudyPath,
    name: Annotated[str | None, typer.Argument(help="The collection; all are listed when left out.")] = None,
    add: Annotated[list[str] | None, typer.Option(help="Id of a concept to put in; may be repeated.")] = None,
    remove: Annotated[list[str] | None, typer.Option(help="Id of a concept to take out; may be repeated.")] = None,
    author: Annotated[str, typer.Option(help="Who does it.")] = "command line",
) -> None:
    """List collections of concepts, or put concepts into one and take them out."""
    with open_study(study, create=False) as opened:
        if name is not None and add:
            opened.collections.add(name, add, author)
        if name is not None and remove:
            opened.collections.remove(name, remove, author)
        table = opened.collections.table()
    show_table(table if name is None else table[table["name"].eq(name)])


def export(
    study: StudyPath,
    run: Annotated[str, typer.Argument(help="The run to export.")],
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    raw: Raw = False,
) -> None:
    """Write a run's concepts (an SAE in the format of sae-lens) and tables into a folder."""
    from workbench.reports import export_run

    with open_study(study, create=False) as opened:
        written = export_run(opened.get_run(run), folder, raw)
    if STATE.json:
        show_json({"files": [str(p) for p in written]})
    else:
        say(f"Wrote {counted(len(written), 'file')} into {folder}")


def parse_options(items: list[str]) -> dict[str, Any]:
    """``name=value`` pairs; a value is read as JSON where it is JSON, and as text otherwise.

    Raises:
        ConfigError: An item has no ``=``.
    """
    options: dict[str, Any] = {}
    for item in items:
        key, sign, value = item.partition("=")
        if not sign or not key:
            raise ConfigError(f"'{item}' is not an option; write --set name=value.")
        try:
            options[key] = parse_json(value)
        except ValueError:
            options[key] = value
    return options


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command in (capture, run, name, rename, examine, match, compare, collection, report, export):
        app.command()(command)
