"""A labelled data set in memory: its examples, their labels, and the labels on part of an example."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from workbench.conversations import Conversation
from workbench.datasets.columns import MISSING_WORDS, Label, class_text, listing, missing, quote
from workbench.datasets.fingerprint import content_fingerprint, fingerprint
from workbench.datasets.show import page, summary
from workbench.datasets.spans import LEVELS, PLACES, PREFIXES
from workbench.errors import ConfigError, DataError, UnknownNameError
from workbench.seeds import check_seed


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Examples with their labels. Do not change the tables in place: other tables number their rows.

    ``table`` has one row an example: "text" (a `Conversation` is one) or "image" (uint8 array [h, w] or [h, w, 3]),
    "split" (train, validation, test), "group" (the document; no split cuts one), then the label columns (None or nan where
    missing), then what else the source held. ``spans`` has one row a label on part of a text (example, start,
    end, label; characters) or image (example, x0, y0, x1, y1, label; pixels). ``span_scope`` says which
    examples were annotated with spans: in the others nothing is known, which is not the same as nothing
    there. ``load_dataset(**source)`` gives the data set back. ``earlier`` are the hashes that the same examples had under
    labels, groups or splits that were changed since. ``missing_words`` stand for no value in label and group columns; ``given``
    has the cells of the label columns in which there are some, as they were, so that other words can be chosen later.
    """

    name: str
    modality: Literal["text", "image"]
    table: pd.DataFrame
    spans: pd.DataFrame
    span_scope: Bool[np.ndarray, " n"]
    example_labels: tuple[Label, ...]
    source: dict[str, Any]
    notes: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()
    missing_words: tuple[str, ...] = MISSING_WORDS
    given: Mapping[str, pd.Series] = field(default_factory=dict)
    _rows: np.ndarray | None = field(default=None)

    @cached_property
    def hash(self) -> str:
        """sha256 (hexadecimal) over the examples, splits, groups, labels and spans; see ``fingerprint``."""
        names = [label.name for label in self.example_labels]
        return fingerprint(self.modality, self.table, names, self.spans, self.span_scope)

    @cached_property
    def content_hash(self) -> str:
        """sha256 (hexadecimal) over the examples alone. It identifies a capture: labels, groups and splits may change."""
        return content_fingerprint(self.modality, self.table)

    def __post_init__(self) -> None:
        columns: dict[str, str] = {}
        for label in self.example_labels:
            if label.name.startswith(PREFIXES):
                raise DataError(f"{quote(label.name)} cannot be a label: labels of spans are called so. Rename the column.")
            for name in (f"{label.name}={value}" for value in label.values if label.kind == "class"):
                if name in columns:
                    raise DataError(
                        f"The columns {quote(columns[name])} and {quote(label.name)} have a label of one name, {quote(name)}:"
                        " rename one of them."
                    )
                columns[name] = label.name

    @cached_property
    def labels(self) -> list[Label]:
        """The labels of whole examples, then the one of tokens or regions where there are spans."""
        if not len(self.spans):
            return list(self.example_labels)
        counts = self.spans["label"].value_counts()
        values = tuple(sorted(counts.index))
        n = {value: int(counts[value]) for value in values}
        level: Any = LEVELS[self.modality]
        return [*self.example_labels, Label(str(level), level, values, n)]

    @property
    def of_conversations(self) -> bool:
        """Whether the texts are conversations."""
        return self.modality == "text" and len(self) > 0 and isinstance(self.table["text"].iloc[0], Conversation)

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return summary(self)

    def _repr_html_(self) -> str:
        return page(self)

    def inputs(self, ids: Iterable[int] | None = None) -> list[Any]:
        """The texts (str) or images (uint8 arrays) of these examples, in this order; all without ``ids``."""
        column = self.table[self.modality]
        return list(column) if ids is None else list(column.iloc[self._checked(ids)])

    def subset(self, ids: Iterable[int]) -> Dataset:
        """These examples, in this order, numbered anew from 0. Labels keep all their classes."""
        chosen = self._checked(ids)
        table = self.table.iloc[chosen].reset_index(drop=True)
        order = np.argsort(chosen, kind="stable")
        old = self.spans["example"].to_numpy()
        # An example may be asked for twice, so each span goes to every place that its example took.
        first = np.searchsorted(chosen[order], old, side="left")
        times = np.searchsorted(chosen[order], old, side="right") - first
        span = np.repeat(np.arange(len(old)), times)
        step = np.arange(len(span)) - np.repeat(np.cumsum(times) - times, times)
        spans = self.spans.iloc[span].copy()
        spans["example"] = order[np.repeat(first, times) + step].astype(np.int64)
        places = ["example", *PLACES[self.modality]]
        base = np.arange(len(self)) if self._rows is None else self._rows
        rows = base[chosen]
        return replace(
            self,
            table=table,
            spans=spans.sort_values(places, kind="stable").reset_index(drop=True),
            span_scope=self.span_scope[chosen],
            example_labels=tuple(_recounted(label, table) for label in self.example_labels),
            source={**self.source, "rows": rows.tolist()},
            earlier=(),
            given={name: cells.iloc[chosen].reset_index(drop=True) for name, cells in self.given.items()},
            _rows=rows,
        )

    def head(self, n: int = 5) -> Dataset:
        """The first ``n`` examples."""
        return self.subset(range(min(n, len(self))))

    def sample(self, n: int, seed: int = 0, by: str | None = None) -> Dataset:
        """``n`` examples drawn at random, in their old order; ``by`` a label: about as many of each class."""
        check_seed(seed)
        rng = np.random.default_rng(seed)
        if n < 0:
            raise ConfigError(f"A sample cannot have {n} examples: ask for 0 or more.")
        order = rng.permutation(len(self))
        if by is not None:
            label = self.label(by)
            if label.kind == "numeric":
                raise ConfigError(f"{quote(by)} is a number, not a class: sample by {self._class_names()}.")
            values = self.table[by].iloc[order]
            # Round robin: one example of each class in turn, until the smaller classes run out.
            turn = values.groupby(values).cumcount()[values.notna()].sort_values(kind="stable")
            order = turn.index.to_numpy()
        return self.subset(np.sort(order[:n]))

    def label(self, name: str) -> Label:
        """One label by its name. UnknownNameError lists those there are."""
        for label in self.labels:
            if label.name == name:
                return label
        raise UnknownNameError("label", name, [label.name for label in self.labels])

    def example_targets(self, columns: str | Sequence[str] | None = None) -> tuple[list[str], Float[np.ndarray, "n labels"]]:
        """One target a class of each label: names such as "topic=religion", and 1, 0 or nan (missing).

        ``columns`` chooses labels; without it, all that have classes.
        """
        if columns is None:
            chosen = [label for label in self.example_labels if label.kind == "class"]
        else:
            asked = [columns] if isinstance(columns, str) else list(columns)
            chosen = [self._example_label(name) for name in asked]
        names, parts = [], [np.empty((len(self), 0), np.float32)]
        for label in chosen:
            place = pd.Index(label.values, dtype=object).get_indexer(pd.Index(self.table[label.name], dtype=object))
            part = (place[:, None] == np.arange(len(label.values))).astype(np.float32)
            part[place < 0] = np.nan
            names += [f"{label.name}={value}" for value in label.values]
            parts.append(part)
        return names, np.concatenate(parts, axis=1)

    def columns_of_labels(self) -> dict[str, str]:
        """The column of each label of whole examples: of "topic=religion", "topic"; columns and values may hold a "=" too."""
        return {
            f"{label.name}={value}": label.name
            for label in self.example_labels
            if label.kind == "class"
            for value in label.values
        }

    def span_targets(self) -> list[str]:
        """The names of the labels on part of an example, such as "token:past verb" or "region:sleeve"."""
        return [f"{label.name}:{value}" for label in self.labels if label.level != "example" for value in label.values]

    def labels_table(self) -> pd.DataFrame:
        """One row a class of a label: label, level, value, n, share (of what carries the label)."""
        rows = []
        for label in self.labels:
            total = max(sum(label.n.values()), 1)
            rows += [(label.name, label.level, v, label.n[v], label.n[v] / total) for v in label.values]
        return pd.DataFrame(rows, columns=["label", "level", "value", "n", "share"])

    def describe(self) -> dict[str, Any]:
        """A description of the data set, for JSON."""
        splits = self.table["split"].value_counts()
        return {
            "name": self.name,
            "modality": self.modality,
            "hash": self.hash,
            "source": self.source,
            "n": len(self),
            "groups": int(self.table["group"].nunique()),
            "splits": {name: int(splits.get(name, 0)) for name in ("train", "validation", "test")},
            "labels": [
                {"name": x.name, "level": x.level, "kind": x.kind, "values": list(x.values), "n": dict(x.n)} for x in self.labels
            ],
            "spans": len(self.spans),
            "annotated": int(self.span_scope.sum()),
            "notes": list(self.notes),
        }

    def relabel(self, table: pd.DataFrame | str | Path | None = None, **options: Any) -> Dataset:
        """The same examples with other labels, groups or splits; see :func:`workbench.datasets.relabel.relabel`."""
        from workbench.datasets.relabel import relabel

        return relabel(self, table, **options)

    def columns(self) -> pd.DataFrame:
        """One row a column of the table besides the examples: ``column, use, values, missing``.

        ``use`` is ``label`` (classes), ``quantity``, ``split``, ``group``, or ``kept``: in the table, to be chosen later.
        """
        kinds = {label.name: "quantity" if label.kind == "numeric" else "label" for label in self.example_labels}
        rows = []
        for name in (str(name) for name in self.table.columns if name != self.modality):
            present = [class_text(value) for value in self.table[name] if not missing(value, self.missing_words)]
            use = name if name in {"split", "group"} else kinds.get(name, "kept")
            rows.append((name, use, len(set(present)), len(self) - len(present)))
        return pd.DataFrame(rows, columns=["column", "use", "values", "missing"])

    def with_earlier(self, hashes: Iterable[str]) -> Dataset:
        """The same data set with these hashes of its earlier labels."""
        return replace(self, earlier=tuple(dict.fromkeys(hashes)))

    def save(self, path: str | Path) -> Path:
        """Write a text data set as Parquet, with every column; ``load_dataset`` reads it back with the same hash."""
        from workbench.datasets.save import save_parquet

        return save_parquet(self, Path(path))

    def _example_label(self, name: str) -> Label:
        label = self.label(name)
        if label.level != "example":
            raise ConfigError(f"{quote(name)} labels parts of an example: its targets come from span_targets().")
        if label.kind == "numeric":
            raise ConfigError(f"{quote(name)} is a number, not a class: choose from {self._class_names()}.")
        return label

    def _class_names(self) -> str:
        return listing(label.name for label in self.example_labels if label.kind == "class")

    def _checked(self, ids: Iterable[int]) -> np.ndarray:
        found = np.fromiter(ids, dtype=np.int64)
        if len(found) and (found.min() < 0 or found.max() >= len(self)):
            bad = int(found.min()) if found.min() < 0 else int(found.max())
            raise DataError(f"There is no example {bad}: {quote(self.name)} has {len(self):,}, counted from 0.")
        return found


def _recounted(label: Label, table: pd.DataFrame) -> Label:
    if label.kind == "numeric":
        return label
    counts = table[label.name].value_counts()
    return replace(label, n={value: int(counts.get(value, 0)) for value in label.values})
