"""Hostile studies: each is an honest one, with one thing done to it that a stranger could do; packs are in `hostile_packs`.

A case names what is done, and takes a copy of the honest study and a folder of the user's own, which nothing may touch.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import save_file

Change = Callable[[Path, Path], None]
"""Takes the study's folder and the user's own, which holds ``victim.txt`` and ``private/``."""
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id FROM n"


def sql(*statements: str) -> Change:
    """Statements run on the catalog, with any schema writable."""

    def change(folder: Path, _own: Path) -> None:
        with closing(sqlite3.connect(folder / "catalog.db", isolation_level=None)) as catalog:
            catalog.execute("PRAGMA foreign_keys=OFF")
            for statement in statements:
                catalog.execute(statement)

    return change


def tampered(*statements: str) -> Change:
    """Statements that change the schema's own table."""
    return sql("PRAGMA writable_schema=ON", *statements)


def run_called(name: str, status: str = "done") -> Change:
    def change(folder: Path, own: Path) -> None:
        with closing(sqlite3.connect(folder / "catalog.db")) as catalog:
            process = json.dumps({"process": {"host": os.uname().nodename, "pid": 2**22 - 1, "created": 1.0}})
            catalog.execute("UPDATE runs SET id = ?, status = ?, provenance = ? WHERE rowid = 1", (name, status, process))
            catalog.commit()

    return change


def flipped(file: str, seed: int) -> Change:
    """Some bytes of a file changed."""

    def change(folder: Path, _own: Path) -> None:
        path, draw = folder / file, random.Random(seed)
        content = bytearray(path.read_bytes())
        for _ in range(8):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)

    return change


def written(file: str, content: bytes | str) -> Change:
    def change(folder: Path, _own: Path) -> None:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)

    return change


def changed_json(pattern: str, edit: Callable[[Any], Any]) -> Change:
    """A JSON file of the study changed, the first that matches."""

    def change(folder: Path, _own: Path) -> None:
        path = sorted(folder.glob(pattern))[0]
        path.write_text(json.dumps(edit(json.loads(path.read_text()))))

    return change


def put(pattern: str, kind: str) -> Change:
    """Something that is no file, or another file, in the place of the first path that matches, or under a new name."""

    def change(folder: Path, own: Path) -> None:
        path = next(iter(sorted(folder.glob(pattern))), folder / pattern)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        PLANTED[kind](path, own)

    return change


def _folder(path: Path, _own: Path) -> None:
    path.mkdir()
    (path / "inner.json").write_text("{}")


def _long(path: Path, _own: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**36)


PLANTED: dict[str, Callable[[Path, Path], None]] = {
    "link to a file": lambda path, own: path.symlink_to(own / "victim.txt"),
    "link to a folder": lambda path, own: path.symlink_to(own / "private"),
    "link to nothing": lambda path, own: path.symlink_to(own / "new"),
    "pipe": lambda path, _own: os.mkfifo(path),
    "folder": _folder,
    "file": lambda path, _own: path.write_bytes(b"\0" * 100) and None,
    "long file": _long,
}


def hot_journal(folder: Path, own: Path) -> None:
    """A rollback journal that names another journal for the first to be deleted with: SQLite deletes what is named."""
    database = folder / "catalog.db"
    content, nonce, magic = database.read_bytes(), 12345, bytes.fromhex("d9d505f920a163d7")
    size = struct.unpack(">H", content[16:18])[0]
    page, total = content[:size], nonce
    for place in range(size - 200, 0, -200):
        total = (total + page[place]) & 0xFFFFFFFF
    header = (magic + struct.pack(">IIIII", 1, nonce, len(content) // size, 512, size)).ljust(512, b"\0")
    name = str(own / "victim.txt").encode()
    summed = sum(b if b < 128 else b - 256 for b in name) & 0xFFFFFFFF
    tail = struct.pack(">I", 0x40000000 // size + 1) + name + struct.pack(">II", len(name), summed) + magic
    record = struct.pack(">I", 1) + page + struct.pack(">I", total)
    (folder / "catalog.db-journal").write_bytes(header + record + tail)


def written_ahead(folder: Path, _own: Path) -> None:
    """A write-ahead log with a trigger in it that the database itself does not have."""
    database, ahead = folder / "catalog.db", folder / "catalog.db-wal"
    with closing(sqlite3.connect(database, isolation_level=None)) as catalog:
        catalog.execute("PRAGMA journal_mode=WAL")
        catalog.execute("PRAGMA wal_autocheckpoint=0")
        catalog.execute("CREATE TRIGGER t AFTER INSERT ON names BEGIN DELETE FROM runs; END")
        kept = ahead.read_bytes(), database.read_bytes()
    ahead.write_bytes(kept[0])
    database.write_bytes(kept[1])


def not_utf_8(folder: Path, _own: Path) -> None:
    """A schema of bytes that are no text, which SQLite quotes in its own error."""
    path = folder / "catalog.db"
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE notes (\n\tid", b"CREATE TABLE notes \xff\n\tid"))


def table(name: str, change: Callable[[pd.DataFrame], pd.DataFrame], run: str = "linear_probe") -> Change:
    """A table of a run changed, and its checksum with it."""

    def changed(folder: Path, _own: Path) -> None:
        path = sorted(folder.glob(f"runs/{run}-*/tables/{name}.parquet"))[0]
        change(pd.read_parquet(path)).to_parquet(path)
        sums = path.parents[1] / "checksums.json"
        found = json.loads(sums.read_text()) | {f"tables/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()}
        sums.write_text(json.dumps(found))

    return changed


def renamed_set(folder: Path, _own: Path) -> None:
    home = next(iter(sorted((folder / "activations").iterdir())))
    home.rename(home.with_name("f" * 16))


def manifest(**values: Any) -> Change:
    """Fields of the manifest, or of the request in it, set to something else."""

    def edit(found: dict[str, Any]) -> dict[str, Any]:
        for name, value in values.items():
            (found["request"] if name in found["request"] else found)[name] = value
        return found

    return changed_json("activations/*/manifest.json", edit)


def fitted(content: Any, tensors: dict[str, list[int]]) -> Change:
    """A fitted edit in the first run, with a checksum that is right: its JSON, and tensors of these shapes."""

    def change(folder: Path, _own: Path) -> None:
        home = sorted(folder.glob(RUN))[0]
        (home / "edits").mkdir()
        (home / "edits" / "theirs.json").write_text(json.dumps(content))
        save_file(
            {name: torch.full(shape, float("nan")) for name, shape in tensors.items()}, home / "edits" / "theirs.safetensors"
        )
        sums = {f"edits/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in (home / "edits").iterdir()}
        path = home / "checksums.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | sums))

    return change


def study_file(**values: Any) -> Change:
    return changed_json("study.json", lambda found: found | values)


def called_by_bytes(pattern: str, kind: str) -> Change:
    """Something in the first folder that matches, with bytes that are no text in the place of the star in its name."""

    def change(folder: Path, own: Path) -> None:
        homes, _, name = pattern.rpartition("/")
        home = sorted(folder.glob(homes))[0] if "*" in homes else folder / homes
        home.mkdir(exist_ok=True)
        PLANTED[kind](home / name.replace("*", os.fsdecode(b"\xff\xfe")), own)

    return change


RUN, SET = "runs/linear_probe-*", "activations/*"
DEEP = "[" * 100_000
NAMES = {
    "up": "../../victim", "absolute": "/tmp/victim", "nested": "a/b", "dots": "..", "dot": ".", "empty": "", "hidden": ".hidden",
    "nul": "a\0b", "long": "x" * 10_000, "newline": "a\nb", "unicode": "лин-пробе", "override": "a\u202eb",
    "partial": "a.partial",
    "backslash": "..\\..\\victim", "drive": "C:victim", "percent": "%2e%2e%2fvictim", "tilde": "~root",
}  # fmt: skip
SCHEMA: dict[str, Change] = {
    "trigger on names": sql("CREATE TRIGGER t AFTER INSERT ON names BEGIN DELETE FROM names; END"),
    "trigger on runs": sql("CREATE TRIGGER t BEFORE UPDATE ON runs BEGIN DELETE FROM evidence; END"),
    "view beside": sql(f"CREATE VIEW more AS {ENDLESS}"),
    "endless view as a table": sql("ALTER TABLE concepts RENAME TO older", f"CREATE VIEW concepts AS {ENDLESS}"),
    "endless view as runs": sql("DROP TABLE runs", f"CREATE VIEW runs AS {ENDLESS}"),
    "virtual table": sql("CREATE VIRTUAL TABLE search USING fts5(a)"),
    "virtual table as notes": sql("DROP TABLE notes", "CREATE VIRTUAL TABLE notes USING fts5(id, concept, text, author, at)"),
    "table beside": sql("CREATE TABLE more (id INTEGER)"),
    "column beside": sql("ALTER TABLE runs ADD COLUMN more TEXT"),
    "generated column": sql("ALTER TABLE runs ADD COLUMN extra AS (hex(zeroblob(1000000))) VIRTUAL"),
    "generated for ours": sql(
        "DROP TABLE notes",
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, concept TEXT, text TEXT AS (hex(zeroblob(10000000))), author TEXT, at TEXT)",
        "INSERT INTO notes (concept, author, at) SELECT id, 'a', 'b' FROM concepts",
    ),
    "default with a function": sql("ALTER TABLE notes RENAME TO old", "CREATE TABLE notes (id INTEGER DEFAULT (random()))"),
    "check": sql("DROP TABLE notes", "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT CHECK (length(text) > 1))"),
    "index over an expression": sql("CREATE INDEX more ON names (hex(text))"),
    "partial index": sql("CREATE INDEX more ON names (text) WHERE length(text) > 3"),
    "unique index": sql("CREATE UNIQUE INDEX more ON names (text, id)"),
    "lost column": sql("ALTER TABLE names DROP COLUMN confidence"),
    "lost table": sql("DROP TABLE concepts"),
    "lost info": sql("DROP TABLE info"),
    "lost runs": sql("DROP TABLE runs"),
    "schema of words": sql("UPDATE info SET value = 'new' WHERE key = 'schema'"),
    "schema below": sql("UPDATE info SET value = '-1' WHERE key = 'schema'"),
    "schema above": sql("UPDATE info SET value = '999999' WHERE key = 'schema'"),
    "schema huge": sql(f"UPDATE info SET value = '{'9' * 5000}' WHERE key = 'schema'"),
    "view by the schema's table": tampered("UPDATE sqlite_master SET type = 'view' WHERE name = 'notes'"),
    "text of a schema": tampered("UPDATE sqlite_master SET sql = 'CREATE TABLE notes (id INTEGER' WHERE name = 'notes'"),
    "root of another table": tampered(
        "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'runs') WHERE name = 'concepts'"
    ),
    "root beyond": tampered("UPDATE sqlite_master SET rootpage = 1000000 WHERE name = 'names'"),
    "root of nothing": tampered("UPDATE sqlite_master SET rootpage = 0 WHERE name = 'names'"),
    "schema of nothing": tampered("UPDATE sqlite_master SET sql = NULL WHERE name = 'names'"),
    "two tables of one name": tampered(
        "INSERT INTO sqlite_master SELECT type, name, tbl_name, rootpage, sql FROM sqlite_master WHERE name = 'runs'"
    ),
}
ROWS: dict[str, Change] = {
    "seed of words": sql("UPDATE runs SET seed = 'many'"),
    "seed beyond": sql("UPDATE runs SET seed = 9e300"),
    "bytes as text": sql("UPDATE runs SET analysis = x'ff00ff'"),
    "text that is no text": sql("UPDATE names SET text = CAST(x'ff80fe' AS TEXT)"),
    "surrogates": sql("UPDATE names SET text = CAST(x'eda080' AS TEXT)"),
    "provenance that is none": sql("UPDATE runs SET provenance = 'text'"),
    "provenance of a list": sql("UPDATE runs SET provenance = '[1]'"),
    "process of words": sql("UPDATE runs SET status = 'running', provenance = '{\"process\": {\"pid\": \"x\", \"host\": 1}}'"),
    "process of a list": sql("UPDATE runs SET status = 'running', provenance = '{\"process\": [1]}'"),
    "deep inputs": sql(f"UPDATE runs SET inputs = '{DEEP}'"),
    "deep config": sql(f"""UPDATE runs SET config = '{'{"a":' * 900}1{'}' * 900}'"""),
    "inputs of a number": sql("UPDATE runs SET inputs = '7'"),
    "parents of numbers": sql("UPDATE runs SET inputs = '{\"parents\": [1, {}]}'"),
    "status of words": sql("UPDATE runs SET status = 'unheard of'"),
    "number of words": sql("UPDATE concepts SET number = 'first'"),
    "number below": sql("UPDATE concepts SET number = -5, id = run || '.-5' WHERE number = 0"),
    "concept of a path": sql("UPDATE concepts SET id = '../../victim' WHERE number = 0"),
    "value of words": sql("UPDATE evidence SET value = 'high'"),
    "value without end": sql("UPDATE evidence SET value = 9e999, low = -9e999"),
    "p of words": sql("UPDATE evidence SET p = 'small'"),
    "p beyond": sql("UPDATE evidence SET p = 9e999"),
    "corrected p below": sql("UPDATE evidence SET p_corrected = -0.5"),
    "corrected p of words": sql("UPDATE evidence SET p_corrected = 'none'"),
    "clusters of words": sql("UPDATE evidence SET clusters = 'many'"),
    "clusters below": sql("UPDATE evidence SET clusters = -5, clusters_positive = -7"),
    "clusters beyond": sql("UPDATE evidence SET clusters = 1e300"),
    "most clusters": sql(f"UPDATE evidence SET clusters = {2**63 - 1}, n = {2**63 - 1}"),
    "family of bytes": sql("UPDATE evidence SET family = x'ff00'"),
    "note that steers": sql("UPDATE evidence SET note = char(27) || '[2J' || char(8238) || char(0), family = '=1+1'"),
    "status of evidence": sql("UPDATE evidence SET status = 'perhaps'"),
    "no time": sql("UPDATE names SET at = zeroblob(30)"),
    "kept of words": sql("UPDATE collections SET kept = 'perhaps'"),
    "recipe of a list": sql("INSERT INTO interventions VALUES (7, 'a', '[]', '[]', 'b', 'c')"),
    "texts of numbers": sql("INSERT INTO interventions VALUES (8, 'a', '{}', '[1]', 'b', 'c')"),
    "model that is none": sql("UPDATE info SET value = '{' WHERE key = 'model'"),
    "model of a list": sql("UPDATE info SET value = '[]' WHERE key = 'model'"),
    "hash of a path": sql(
        "UPDATE info SET value = replace(value, '\"weights_hash\": \"', '\"weights_hash\": \"../../../../v') WHERE key = 'model'"
    ),
    "labels of a path": sql(
        """UPDATE info SET value = '{"hash": "../../../victim", "name": "a", "source": {}}' WHERE key LIKE 'labels%'"""
    ),
    "labels of a list": sql("UPDATE info SET value = '[[]]' WHERE key LIKE 'labels%'"),
    "norm of words": sql("INSERT INTO info VALUES ('norm resid_post.0', 'long')"),
    "a million rows": sql(
        "INSERT INTO notes SELECT NULL, (SELECT id FROM concepts), 'x', 'y', 'z' FROM"
        " (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT i FROM n)"
    ),
}  # fmt: skip
FILES: dict[str, Change] = {
    "no database": written("catalog.db", b"not a database" * 1000),
    "empty database": written("catalog.db", b""),
    "half a database": lambda folder, _own: os.truncate(folder / "catalog.db", 5000),
    "hot journal": hot_journal,
    "journal of zeros": written("catalog.db-journal", b"\0" * 4096),
    "journal of anything": written("catalog.db-journal", bytes(range(256)) * 20),
    "written ahead": written_ahead,
    "log of anything": written("catalog.db-wal", bytes(range(256)) * 20),
    "index of the log": written("catalog.db-shm", b"\xff" * 32768),
    "set under another name": renamed_set,
    "schema of no text": not_utf_8,
    **{f"database flipped {seed}": flipped("catalog.db", seed) for seed in range(10)},
}
STUDY_FILES: dict[str, Change] = {
    "another database": study_file(format=2, catalog="sqlite:////tmp/workbench-hostile.db"),
    "a database beside": study_file(format=2, catalog="sqlite:///other.db"),
    "duckdb": study_file(format=2, catalog="duckdb:///other.db"),
    "a server": study_file(format=2, catalog="postgresql+psycopg://127.0.0.1:1/x?schema=study"),
    "a password file": study_file(format=2, catalog="postgresql://127.0.0.1:1/x?schema=study&passfile=/etc/passwd"),
    "a catalog of numbers": study_file(format=2, catalog=7),
    "a page": study_file(format=2, remote="http://127.0.0.1:1/x"),
    "a chain": study_file(format=2, remote="simplecache::file:///etc"),
    "a repository": study_file(format=2, remote="github://a:b@c/"),
    "a place here": study_file(format=2, remote="file:///etc"),
    "a bucket": study_file(format=2, remote="s3://somebody/else"),
    "broken brackets": study_file(format=2, remote="file://[::1"),
    "format of words": study_file(format="two"),
    "format of a list": study_file(format=[1]),
    "name of a list": study_file(name=["a"]),
    "name of a path": study_file(name="../../victim"),
    "long name": study_file(name="x" * 100_000),
    "surrogate": study_file(name="\ud800"),
    "a list": written("study.json", "[]"),
    "deep": written("study.json", DEEP),
    "no text": written("study.json", b"\xff\xfe\x00"),
    "huge number": written("study.json", '{"format": ' + "1" * 5000 + "}"),
    "nothing": written("study.json", ""),
    "huge": written("study.json", b" " * 2**20),
}
MANIFESTS: dict[str, Change] = {
    "no widths": manifest(widths=[]), "zero width": manifest(widths=[0]), "negative width": manifest(widths=[-4]),
    "huge width": manifest(widths=[2**70]), "no shards": manifest(shards=[]), "negative shards": manifest(shards=[-160, 480]),
    "zero shard": manifest(shards=[0, 320]), "huge shard": manifest(shards=[2**70]), "wide shards": manifest(shards=[2**40] * 50),
    "a million shards": manifest(shards=[1] * 10**6), "sites of a path": manifest(sites=["../../victim"]),
    "two sites": manifest(sites=["resid_post.0", "resid_post.1"]), "no sites": manifest(sites=[], widths=[]),
    "hash of a path": manifest(dataset_hash="../../../../victim"), "examples below": manifest(n_examples=-1),
    "huge examples": manifest(n_examples=2**70), "grid below": manifest(grid=[-1, 2]), "format 9": manifest(format=9),
    "source of a path": manifest(dataset_source={"name_or_path": "/etc/passwd"}),
    "source of options": manifest(dataset_source={"unheard": 1}),
    "source of a device": manifest(dataset_source={"name_or_path": "/dev/zero"}),
    "files of a path": manifest(files={"../../victim.txt": {"bytes": 1, "sha256": "0"}}),
    "checksums": manifest(files={"site000-00000.bin": {"bytes": 1, "sha256": "0" * 64}}),
    "labels of a path": manifest(labels_hash="../../../../victim"), "edits of numbers": manifest(edits=[{"a": 2**80}]),
    "edits of lists": manifest(edits=[{"source": [1], "strength": {}, "kind": [], "site": 7}]),
    "edit of a path": manifest(edits=[{"source": {"run": "../../victim", "edit": "../x"}, "site": "embed", "sha256": "0"}]),
    "edit of no concept": manifest(edits=[{"source": {"concept": "../../victim.0"}, "site": "embed", "sha256": "0"}]),
    "deep edits": manifest(edits=[{"arguments": {"direction": [[[[1.0]]]]}, "kind": "steer", "site": "resid_post.0"}]),
    "a list": changed_json("activations/*/manifest.json", lambda _: []),
    "sums of a path": changed_json(f"{RUN}/checksums.json", lambda found: found | {"../../../victim.txt": "0" * 64}),
    "sums of a root": changed_json(f"{RUN}/checksums.json", lambda found: found | {"/etc/passwd": "0" * 64}),
    "sums of numbers": changed_json(f"{RUN}/checksums.json", lambda found: dict.fromkeys(found, 7)),
    "sums of a list": changed_json(f"{RUN}/checksums.json", list),
    "sums of nothing": changed_json(f"{RUN}/checksums.json", lambda _: {}),
}  # fmt: skip
TABLES: dict[str, Change] = {
    "p of words": table("metrics", lambda found: found.assign(p="small")),
    "value of words": table("metrics", lambda found: found.assign(value="high", clusters="many")),
    "label of lists": table("metrics", lambda found: found.assign(label=[[1, 2]] * len(found))),
    "family of bytes": table("metrics", lambda found: found.assign(family=b"\xff", note=[{"a": 1}] * len(found))),
    "no metric": table("metrics", lambda found: found[["value"]]),
    "number of words": table("summary", lambda found: found.assign(number="first")),
    "endless histogram": table("histogram", lambda found: found.assign(left=float("inf"), count=-5)),
    "example beyond": table("examples", lambda found: found.assign(example=10**15, position=-7)),
    "rank of words": table("examples", lambda found: found.assign(rank="first")),
}
HEADER = {"kind": "steer", "package": "", "site": "resid_post.0", "arguments": {"strength": 1.0}}
EDITS: dict[str, Change] = {
    "of a module": fitted(HEADER | {"kind": "os:system"}, {"direction": [24]}),
    "of a kind not here": fitted(HEADER | {"kind": "theirs", "package": "\u202eevil"}, {"direction": [24]}),
    "at a path": fitted(HEADER | {"site": "../../victim"}, {"direction": [24]}),
    "of no numbers": fitted(HEADER, {"direction": [24]}), "of other tensors": fitted(HEADER, {"other": [1]}),
    "of a latent": fitted(HEADER | {"kind": "set_latent"}, {"dictionary": [3]}), "of a list": fitted([1], {"direction": [24]}),
    "of deep arguments": fitted(HEADER | {"arguments": {"direction": [[[1]]]}}, {}),
}  # fmt: skip
PLACES = (
    "catalog.db", "catalog.db-wal", "catalog.db-shm", "catalog.db-journal", "study.json", "runs", RUN, f"{RUN}/config.json",
    f"{RUN}/checksums.json", f"{RUN}/tables", f"{RUN}/tables/metrics.parquet", f"{RUN}/concepts/0", f"{RUN}/concepts/0/set.json",
    f"{RUN}/concepts/0/weights.safetensors", f"{RUN}/figures/more.json", f"{RUN}/tables/more.parquet",
    f"{RUN}/tensors.safetensors", f"{RUN}/edits", f"{RUN}/edits/more.json", f"{RUN}/edits/more.safetensors",
    "activations", SET, f"{SET}/manifest.json", f"{SET}/index.parquet", f"{SET}/site000-00000.bin", f"{SET}/more.bin",
    "activations/0000000000000000.partial", "activations/0000000000000000.lock", "datasets", "datasets/*.parquet",
    "datasets/*.json", "cache", "cache/fetched-0", "cache/readouts", "jobs", "jobs/a", "jobs/a/job.json", "runs/a.partial",
)  # fmt: skip
BYTES = (
    ("runs/*", "folder"), ("runs/*", "pipe"), (f"{RUN}/*", "link to nothing"), (f"{RUN}/tables/*.parquet", "file"),
    (f"{RUN}/figures/*.json", "file"), (f"{SET}/*", "folder"), (f"{SET}/*.bin", "pipe"), ("cache/x*", "file"),
    ("cache/*", "link to a folder"), ("cache*", "file"), ("datasets/*.json", "file"), ("dropped-*.json.partial", "file"),
)  # fmt: skip

FOLDERS: dict[str, Change] = {
    **{f"schema: {name}": change for name, change in SCHEMA.items()},
    **{f"row: {name}": change for name, change in ROWS.items()},
    **{f"run called {name}": run_called(text) for name, text in NAMES.items()},
    **{f"killed run called {name}": run_called(text, "running") for name, text in NAMES.items()},
    **{f"file: {name}": change for name, change in FILES.items()},
    **{f"study file: {name}": change for name, change in STUDY_FILES.items()},
    **{f"manifest: {name}": change for name, change in MANIFESTS.items()},
    **{f"edit {name}": change for name, change in EDITS.items()},
    **{f"table: {name}": change for name, change in TABLES.items()},
    **{f"{kind} called by bytes at {place}": called_by_bytes(place, kind) for place, kind in BYTES},
    **{f"{kind} at {place}": put(place, kind) for place in PLACES for kind in PLANTED},
}
