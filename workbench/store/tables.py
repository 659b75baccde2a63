"""The tables of a catalog, in its newest version."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd
import sqlalchemy as sa

from workbench.store.column_types import integer_type, json_type, text_type

metadata = sa.MetaData()

info = sa.Table("info", metadata, sa.Column("key", text_type(64), primary_key=True), sa.Column("value", text_type()))

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", text_type(128), primary_key=True),
    sa.Column("analysis", text_type(64), index=True, nullable=False),
    sa.Column("status", text_type(16), nullable=False),  # running, done, failed, cancelled, deleted
    sa.Column("config", json_type(), nullable=False),
    sa.Column("seed", integer_type(), nullable=False),
    sa.Column("inputs", json_type(), nullable=False),  # activations, dataset, model, parent runs
    sa.Column("provenance", json_type(), nullable=False),  # package versions, machine
    sa.Column("started", text_type(32), nullable=False),
    sa.Column("seconds", sa.Float),
    sa.Column("peak_mib", sa.Float),
    sa.Column("error", text_type()),
)

concepts = sa.Table(
    "concepts",
    metadata,
    sa.Column("id", text_type(160), primary_key=True),
    sa.Column("run", text_type(128), sa.ForeignKey("runs.id"), index=True, nullable=False),
    sa.Column("number", integer_type(), nullable=False),
    sa.Column("method", text_type(64), nullable=False),
    sa.Column("site", text_type(200), index=True, nullable=False),
    sa.Column("level", text_type(16), nullable=False),
    sa.Column("label", text_type(), nullable=False),
)

names = sa.Table(
    "names",
    metadata,
    sa.Column("id", integer_type(), primary_key=True, autoincrement=True),
    sa.Column("concept", text_type(160), sa.ForeignKey("concepts.id"), index=True, nullable=False),
    sa.Column("text", text_type(), nullable=False),
    sa.Column("source", text_type(16), nullable=False),  # human or method
    sa.Column("author", text_type(), nullable=False),
    sa.Column("confidence", sa.Float),
    sa.Column("at", text_type(32), nullable=False),
    sa.Column("run", text_type(128), index=True),
    sa.Column("supersedes", integer_type()),
)

evidence = sa.Table(
    "evidence",
    metadata,
    sa.Column("id", integer_type(), primary_key=True, autoincrement=True),
    sa.Column("concept", text_type(160), sa.ForeignKey("concepts.id"), index=True, nullable=False),
    sa.Column("metric", text_type(64), index=True, nullable=False),
    sa.Column("label", text_type(), nullable=False),
    sa.Column("status", text_type(16), nullable=False),  # ok, failed
    sa.Column("value", sa.Float),
    sa.Column("low", sa.Float),
    sa.Column("high", sa.Float),
    sa.Column("n", integer_type()),
    sa.Column("null", sa.Float),
    sa.Column("null_high", sa.Float),
    sa.Column("p", sa.Float),
    sa.Column("dataset", text_type(200), nullable=False),
    sa.Column("run", text_type(128), index=True, nullable=False),
    sa.Column("error", text_type()),
    sa.Column("clusters", integer_type()),  # documents, else examples; copies are one
    sa.Column("clusters_positive", integer_type()),  # the fewer of those with a positive and those with a negative
    sa.Column("p_corrected", sa.Float),
    sa.Column("family", text_type()),  # the tests that p_corrected corrects for
    sa.Column("note", text_type()),  # what has to be read with the number
)

notes = sa.Table(
    "notes",
    metadata,
    sa.Column("id", integer_type(), primary_key=True, autoincrement=True),
    sa.Column("concept", text_type(160), sa.ForeignKey("concepts.id"), index=True, nullable=False),
    sa.Column("text", text_type(), nullable=False),
    sa.Column("author", text_type(), nullable=False),
    sa.Column("at", text_type(32), nullable=False),
)

collections = sa.Table(
    "collections",
    metadata,
    sa.Column("id", integer_type(), primary_key=True, autoincrement=True),
    sa.Column("name", text_type(200), index=True, nullable=False),
    sa.Column("concept", text_type(160), sa.ForeignKey("concepts.id"), index=True, nullable=False),
    sa.Column("kept", sa.Boolean, nullable=False),  # false: it was taken out
    sa.Column("author", text_type(), nullable=False),
    sa.Column("at", text_type(32), nullable=False),
)

interventions = sa.Table(
    "interventions",
    metadata,
    sa.Column("id", integer_type(), primary_key=True, autoincrement=True),
    sa.Column("name", text_type(), nullable=False),
    sa.Column("recipe", json_type(), nullable=False),
    sa.Column("texts", json_type(), nullable=False),  # base and edited text, as they came out
    sa.Column("author", text_type(), nullable=False),
    sa.Column("at", text_type(32), nullable=False),
)

ABOUT_CONCEPTS = (names, evidence, notes, collections)
"""The tables whose rows are about a concept."""
EVIDENCE_COLUMNS = [c.name for c in evidence.columns if c.name != "id"]


def now(timespec: str = "seconds") -> str:
    """The time as ISO 8601 in UTC, to the second, or to the millisecond."""
    return dt.datetime.now(dt.UTC).isoformat(timespec=timespec)


def concepts_in_order() -> sa.Select[Any]:
    """The concepts: those of the oldest run first, as runs are listed, and those of a run by their numbers."""
    begun = sa.select(runs.c.started).where(runs.c.id == concepts.c.run).scalar_subquery()
    return sa.select(concepts).order_by(begun, concepts.c.run, concepts.c.number)


def newest_names(names: pd.DataFrame) -> pd.DataFrame:
    """Of some names, one a concept: the newest human one, or the newest by a method where no human gave one."""
    if names.empty:
        return names
    human = names["source"].eq("human")
    return names.assign(_human=human).sort_values(["_human", "id"]).groupby("concept").tail(1).drop(columns="_human")
