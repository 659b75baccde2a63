"""Commands that import activations, and write activations and tables out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench.cli.console import STATE, open_study, say, show_json
from workbench.cli.options import CatalogUrl, Raw, RemoteUrl, Sites, StudyPath, loaded, many, with_data_options
from workbench.errors import ConfigError


@with_data_options
def bring_in(
    study: StudyPath,
    data_options: dict[str, Any],
    folder: Annotated[Path, typer.Argument(help="SITE.npy or SITE.safetensors files, or a Hugging Face data set on disk.")],
    rows: Annotated[
        Path | None, typer.Option(help="The table of rows; rows.csv or rows.parquet in the folder otherwise.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="The data whose examples are numbered; made of the rows otherwise.")] = None,
    model: Annotated[str | None, typer.Option(help="What to call the model that made them.")] = None,
    pool: Annotated[str | None, typer.Option(help="mean, max or last: how rows without positions came about.")] = None,
    store_dtype: Annotated[str | None, typer.Option(help="float16, float32 or bfloat16, on disk; as they are otherwise.")] = None,
    catalog: CatalogUrl = None,
    remote: RemoteUrl = None,
) -> None:
    """Import activations that something else made."""
    if data_options and not data:
        raise ConfigError("--" + next(iter(data_options)).replace("_", "-") + " is of the data: give it with --data.")
    dataset = loaded(data, data_options) if data else None
    with open_study(study, catalog=catalog, remote=remote) as opened:
        acts = opened.import_activations(folder, rows=rows, dataset=dataset, model=model, pool=pool, store_dtype=store_dtype)
    if STATE.json:
        show_json({"activations": acts.id, "rows": acts.n_rows, "sites": [str(site) for site in acts.sites]})
    else:
        say(f"{acts!r}")


def export_activations(
    study: StudyPath,
    folder: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    acts: Annotated[str | None, typer.Option(help="The activation set's id; the newest when left out.")] = None,
    sites: Sites = None,
) -> None:
    """Write activations as safetensors, one file a site, with a table of their rows."""
    with open_study(study, create=False) as opened:
        found = opened.activation_set(acts)
        written = (found.select(many(sites) or []) if sites else found).export(folder)
    if STATE.json:
        show_json({"files": [str(path) for path in written]})
    else:
        say(f"Wrote {len(written)} files into {folder}")


def export_table(
    study: StudyPath,
    table: Annotated[str, typer.Argument(help="concepts, names, evidence, notes, collections, runs, or RUN.TABLE.")],
    file: Annotated[Path, typer.Argument(help="A file that ends in .csv or .parquet.")],
    raw: Raw = False,
) -> None:
    """Write one table as CSV or Parquet."""
    with open_study(study, create=False) as opened:
        path = opened.export_table(table, file, raw)
    if STATE.json:
        show_json({"file": str(path)})
    else:
        say(f"Wrote {path}")


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    root.command("import")(bring_in)
    root.command()(export_activations)
    root.command()(export_table)
