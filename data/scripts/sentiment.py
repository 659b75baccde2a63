"""Make data/film.parquet and data/tweets.parquet from the source archive of PyPI `vaderSentiment` 3.3.2.

--source is the folder of the unpacked `additional_resources/hutto_ICWSM_2014.tar.gz`, which lies inside that archive. One
row a snippet: text, rating (-4 very negative ... 4 very positive, the mean of 20 people), sentiment (positive from 0.5,
negative from -0.5, missing between), group (snippets of the same words), split.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

import pyarrow as pa
from common import main, write

from workbench.datasets.splits import assign_splits, stable_digest

FILES = {"film": "movieReviewSnippets_GroundTruth.txt", "tweets": "tweets_GroundTruth.txt"}


def sentiment(rating: float) -> str | None:
    return "positive" if rating >= 0.5 else "negative" if rating <= -0.5 else None


def tidy(text: str) -> str:
    """Plain quotation marks; the names and addresses of people on Twitter become @user and <address>."""
    text = html.unescape(text).replace("''", '"').replace("``", '"')
    text = re.sub(r"\S+@\S+\.\S+", "<address>", text)
    text = re.sub(r"@\w+", "@user", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def build(source: Path) -> None:
    for name, file in FILES.items():
        rows = []
        for line in (source / file).read_text(encoding="utf-8").splitlines():
            _, rating, text = line.split("\t", 2)
            words = tidy(text)
            if words:
                group = "snippet " + stable_digest(words.lower())[:10]
                value = round(float(rating), 2)
                rows.append({"text": words, "rating": value, "sentiment": sentiment(value), "group": group})
        splits = assign_splits((row["group"] for row in rows), salt=name)
        table = pa.Table.from_pylist([{**row, "split": splits[row["group"]]} for row in rows])
        # The group is the digest of the text: eight bytes of noise a row that need not be shipped twice.
        write(table.drop_columns(["group"]), name)


if __name__ == "__main__":
    main(build, __doc__)
