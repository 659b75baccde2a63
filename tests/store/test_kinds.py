"""Numbers and texts of other kinds than the workbench writes, with checksums that are right: a sentence, a finding, a repair."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import workbench as wb
from tests.store import anywhere
from tests.store.axes import AXES
from tests.store.hostile import TABLES, sql, table
from workbench.errors import DataError, StudyError
from workbench.reports.export import export_tables
from workbench.store.kinds import require_kinds

TEXT_WHERE_NUMBERS = ("value", "low", "null", "null_high", "p", "p_corrected", "n", "clusters", "clusters_positive")


@pytest.fixture(scope="module")
def examined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a trial, whose evidence the catalog has lost."""
    folder = tmp_path_factory.mktemp("examined") / "study"
    anywhere.make(folder)
    with wb.open_study(folder) as study:
        study.examine(study.run(AXES, study.activation_set()), families=("detects",), replicate=False)
    sql("DELETE FROM evidence")(folder, folder)
    return folder


@pytest.fixture
def folder(honest: Path, tmp_path: Path) -> Path:
    """A copy of an honest study that its user knows."""
    copy = Path(shutil.copytree(honest, tmp_path / "study"))
    wb.open_study(copy, trust=True).close()
    return copy


@pytest.mark.parametrize("name", sorted(set(TABLES) - {"example beyond"}))
def test_a_table_of_other_kinds_is_named_and_dropped_by_a_repair(folder: Path, name: str) -> None:
    TABLES[name](folder, folder)
    with wb.open_study(folder, create=False) as study:
        run = study.get_run("linear_probe")
        broken = study.verify()
        assert broken["part"].tolist() == ["run"]
        which = Path(broken["file"][0]).stem
        with pytest.raises(DataError, match=f"The table '{which}' of the run {run.id}.*`workbench study repair`"):
            run.tables.where(which, "true", [])
        with pytest.raises(DataError, match=f"The table '{which}' of the run {run.id}"):
            _ = run.tables[which]
        assert study.repair()["mended"].all()
        assert study.verify().empty
        assert study.runs().empty


def test_what_an_analysis_calls_otherwise_and_what_is_missing_is_taken_as_it_is() -> None:
    words = pd.DataFrame({"metric": ["a"], "value": ["b"]})
    assert require_kinds("mine", words, "a-1") is words
    nothing = pd.DataFrame(
        {"metric": ["a", "b"], "value": [1.0, None], "p": [None, None], "note": [float("nan")] * 2, "label": [1, 2]}
    )
    assert require_kinds("metrics", nothing, "a-1") is nothing


@pytest.mark.parametrize("column", TEXT_WHERE_NUMBERS)
def test_a_text_among_the_numbers_of_a_known_study_is_a_sentence(folder: Path, tmp_path: Path, column: str) -> None:
    sql(f"UPDATE evidence SET \"{column}\" = 'small'")(folder, folder)
    with wb.open_study(folder, create=False) as study:
        with pytest.raises(StudyError, match=f"holds .*small.* in the column '{column}', where a number belongs"):
            study.evidence()
        with pytest.raises(StudyError, match="`workbench unpack FOLDER NEW`"):
            study.pack(tmp_path / "packed.zip")
    # Nobody else's rows come with it.
    with wb.unpack(folder, tmp_path / "mine") as mine:
        assert mine.evidence().empty
        assert mine.verify().empty


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"p": "small"}, "the column 'p'"), ({"p_corrected": 7.0}, "no probability"), ({"clusters": 2.0**70}, "'clusters'"),
        ({"n": -5}, "counts -5"), ({"status": "perhaps"}, "the status 'perhaps'"), ({"dataset": None}, "the column 'dataset'"),
        ({"metric": None}, "the column 'metric'"), ({"note": [{"a": 1}]}, "'note'"), ({"label": [[1, 2]]}, "cannot be read"),
        ({"p": pd.Timestamp("2020-01-01")}, "the column 'p'"), ({"family": b"\xff"}, "'family'"),
    ],
)  # fmt: skip
def test_evidence_that_a_run_brings_is_looked_at_before_the_catalog_takes_it(
    examined: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    folder = Path(shutil.copytree(examined, tmp_path / "study"))
    many = {name: value * 2 if isinstance(value, list) else value for name, value in change.items()}
    table("evidence", lambda found: found.head(2).assign(**many), "examine")(folder, folder)
    with wb.open_study(folder, create=False, trust=True) as study:
        found = study.verify()
        assert found["file"].tolist() == ["tables/evidence.parquet"]
        assert said in found["problem"][0]
        assert study.repair()["mended"].all()
        assert study.evidence().empty
        assert study.verify().empty


def noted(columns: dict[str, list[int]], about: str) -> bytes:
    """A Parquet file with what pandas is to have noted of it."""
    sink = io.BytesIO()
    arrow = pa.table(list(map(pa.array, columns.values())), names=list(columns)).replace_schema_metadata({"pandas": about})
    pq.write_table(arrow, sink)
    return sink.getvalue()


def twice() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["p", "p"]), sink)
    return sink.getvalue()


LEVELS = json.dumps({"index_columns": [], "column_indexes": [{"name": None}, {"name": None}], "columns": []})


@pytest.mark.parametrize(
    "content",
    [
        noted({"(((": [1]}, LEVELS), noted({"-" * 200_000 + "1": [1]}, LEVELS), noted({"p": [1]}, '{"a":' * 100_000),
        noted({"p": [1]}, "[]"), noted({"p": [1]}, '{"column_indexes": "nope"}'), twice(),
    ],
    ids=["levels", "levels and a long name", "nested", "list", "text", "a column twice"],
)  # fmt: skip
def test_a_table_that_pandas_did_not_note_so_is_left_out_of_what_is_written(folder: Path, tmp_path: Path, content: bytes) -> None:
    home = next(folder.glob("runs/linear_probe-*"))
    (home / "tables" / "theirs.parquet").write_bytes(content)
    sums = home / "checksums.json"
    digest = hashlib.sha256(content).hexdigest()
    sums.write_text(json.dumps(json.loads(sums.read_text()) | {"tables/theirs.parquet": digest}))
    with wb.open_study(folder, create=False) as study:
        assert "theirs" in " ".join(study.verify()["file"])
        written = export_tables(study, tmp_path / "out")
        assert {path.name for path in written} >= {"concepts.csv", "left_out.csv", f"{home.name}.metrics.csv"}
        (left_out,) = (path.read_text() for path in written if path.name == "left_out.csv")
        assert "write it again" in left_out
        assert "Error" not in left_out


def test_a_table_whose_name_no_file_can_have_is_left_out(folder: Path, tmp_path: Path) -> None:
    home = next(folder.glob("runs/linear_probe-*"))
    name = f"tables/{'n' * 185}.parquet"
    shutil.copy(home / "tables" / "metrics.parquet", home / name)
    sums = home / "checksums.json"
    found = json.loads(sums.read_text())
    sums.write_text(json.dumps(found | {name: found["tables/metrics.parquet"]}))
    with wb.open_study(folder, create=False) as study:
        written = {path.name: path for path in export_tables(study, tmp_path / "out")}
    assert f"{home.name}.metrics.csv" in written
    assert "no name of a file" in written["left_out.csv"].read_text()
