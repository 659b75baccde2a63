"""Files of every format that is read, changed: in their bytes, and in the structure that they have."""

from __future__ import annotations

import io
import json
import random
import re
import sqlite3
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**70, -(2**64), 1e308, float("nan"), float("inf"), 0.5, "", " ", "0", "-1", "NaN",
    "../../victim.txt", "/etc/passwd", "a/b", "a\\b", "..", ".", "C:a", "a\0b", "\ud800", "\udfff\ud800", "\u202e", "é" * 300,
    "x" * 20_000, "=1+1", "<script>", "%s%n", "resid_post.0", "head_out.9.9", "token", "float32", "topk", "2026-01-01", [], {},
    [[]], [None], [{}], {"": None}, {"a": {"b": []}}, "http://127.0.0.1:9/", "file:///etc/passwd", "memory://x",
)  # fmt: skip
TOKENS = (
    b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 400, b"null", b"true", b"{", b"}", b"[", b"]", b"[" * 3000,
    b'{"a":' * 3000, b'"', b"\\ud800", b"\\", b",", b";", b"\t", b"\r", b"\n", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe",
    b"\xed\xa0\x80", b'""', b"../", b"PAR1", b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"SQLite format 3\0", b"\x93NUMPY",
    b"F64", b"BF16", b"<f8", b"|O", b"True", b"-1", b"4294967295",
)  # fmt: skip
EXTREMES = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
SQL_VALUES = (
    None,
    0,
    -1,
    2**62,
    1.5,
    float("inf"),
    "",
    "x" * 5000,
    b"\xff\x00",
    "{",
    "[]",
    "{}",
    "null",
    "NaN",
    "[" * 2000,
    "../../victim.txt",
)


def mutated(content: bytes, suffix: str, rng: random.Random, others: list[bytes]) -> bytes:
    """A file's content, changed once to four times.

    Args:
        content: The file's.
        suffix: Of its name, such as ``.json``: by it the structure is known.
        rng: Every choice comes from it.
        others: Contents of files of the same kind, to splice with.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        structured = STRUCTURED.get(suffix)
        if structured is not None and rng.random() < 0.6:
            try:
                content = structured(content, rng)
                continue
            except (ValueError, KeyError, IndexError, TypeError, RuntimeError, zipfile.BadZipFile, struct.error, sqlite3.Error,
                    OverflowError, OSError, EOFError, zlib.error):  # fmt: skip
                # An earlier change has left no structure.
                pass
        content = _bytes(content, rng, others)
    return content


def _bytes(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    at = rng.randrange(len(content) + 1)
    # The ends of most formats say what the rest is.
    if rng.random() < 0.3:
        at = min(len(content), rng.choice((rng.randrange(64), max(0, len(content) - 1 - rng.randrange(64)))))
    kind = rng.randrange(8)
    if kind == 0 and content:
        changed = bytearray(content)
        for _ in range(rng.choice((1, 1, 3, 16))):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if kind == 1:
        return content[:at]
    if kind == 2:
        width = rng.choice(["<B", ">B", "<H", ">H", "<I", ">I", "<Q", ">Q"])
        size = struct.calcsize(width)
        return content[:at] + struct.pack(width, rng.choice(EXTREMES) % 2 ** (8 * size)) + content[at + size :]
    if kind == 3:
        return content[:at] + rng.choice(TOKENS) + content[at + rng.choice((0, 0, 1, 4)) :]
    if kind == 4:
        return content[:at] + content[at + rng.randrange(1, 200) :]
    if kind == 5:
        length = rng.randrange(1, 200)
        return content[:at] + content[at : at + length] * rng.choice((2, 3, 50)) + content[at + length :]
    if kind == 6 and others:
        other = rng.choice(others)
        return content[:at] + other[rng.randrange(len(other) + 1) :]
    number = rng.choice(list(re.finditer(rb"\d+", content)) or [None])
    if number is None:
        return content + rng.choice(TOKENS)
    return content[: number.start()] + str(rng.choice((*EXTREMES, -1, 2**70))).encode() + content[number.end() :]


def _json(content: bytes, rng: random.Random) -> bytes:
    value = changed(json.loads(content), rng)
    text = json.dumps(value, ensure_ascii=rng.random() < 0.8)
    if rng.random() < 0.05:
        # A key that stands twice.
        text = re.sub(r'("[^"\\]*": )', r"\1null, \1", text, count=1)
    return text.encode("utf-8", "surrogatepass")


def _json_lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at] = _json(lines[at], rng)
    return b"\n".join(lines)


def changed(value: Any, rng: random.Random) -> Any:
    """A JSON value with one place changed: a value, a key, or what is there at all."""
    places: list[tuple[Any, Any]] = []
    level = [value]
    while level:
        nested = []
        for one in level:
            keys = list(one) if isinstance(one, dict) else list(range(len(one))) if isinstance(one, list) else []
            places += [(one, key) for key in keys]
            nested += [one[key] for key in keys]
        level = nested
    if not places or rng.random() < 0.03:
        return rng.choice(VALUES)
    home, key = rng.choice(places)
    kind = rng.randrange(6)
    if kind == 0:
        del home[key]
    elif kind == 1 and isinstance(home, dict):
        home[str(rng.choice(VALUES))] = home.pop(key)
    elif kind == 2:
        other, its = rng.choice(places)
        # Unless it would hold itself.
        home[key] = json.loads(
            json.dumps(other.get(its) if isinstance(other, dict) else other[its] if its < len(other) else None)
        )
    elif kind == 3 and isinstance(home[key], int | float):
        home[key] = home[key] * rng.choice((-1, 0, 2, 1e6, 2**40)) + rng.choice((0, 1, 0.5))
    elif kind == 4 and isinstance(home[key], str) and home[key]:
        at = rng.randrange(len(home[key]))
        home[key] = home[key][:at] + str(rng.choice(VALUES))[:50] + home[key][at + 1 :]
    else:
        home[key] = json.loads(json.dumps(rng.choice(VALUES)))
    return value


def _safetensors(content: bytes, rng: random.Random) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    header = json.dumps(changed(json.loads(content[8 : 8 + length]), rng)).encode()
    return struct.pack("<Q", len(header)) + header + content[8 + length :]


def _npy(content: bytes, rng: random.Random) -> bytes:
    end = content.index(b"\n") + 1
    header = content[10:end].decode("latin-1")
    old = rng.choice(("'<f4'", "False", "(40, 8)", "descr", "shape", "fortran_order", "40", "8", "}", "{"))
    new = rng.choice(
        ("'|O'", "'<f8'", "'<V8'", "(-1, 8)", f"({2**62}, 8)", "(40, 8, 1)", "()", "None", "True", "'>c16'", "[('a','O')]", "0")
    )
    header = header.replace(old, new, 1)
    return content[:8] + struct.pack("<H", len(header)) + header.encode("latin-1") + content[end:]


def _csv(content: bytes, rng: random.Random) -> bytes:
    lines = content.decode().split("\n")
    at = rng.choice((0, rng.randrange(len(lines))))
    cells = lines[at].split(",")
    place = rng.randrange(len(cells))
    kind = rng.randrange(4)
    if kind == 0:
        del cells[place]
    elif kind == 1:
        cells.insert(place, str(rng.choice(VALUES)))
    elif kind == 2:
        cells[place] = rng.choice((f'"{rng.choice(VALUES)}"', '"', str(rng.choice(VALUES)), "\r", "a\0b"))
    else:
        cells = [rng.choice((";", "\t", "|")).join(cells)]
    lines[at] = ",".join(cells)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _parquet(content: bytes, rng: random.Random) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    names, kind = table.column_names, rng.randrange(5)
    column = rng.randrange(len(names))
    if kind == 0:
        table = table.drop_columns([names[column]])
    elif kind == 1:
        names[column] = str(rng.choice([*names, "", "x" * 300, "../a", "text", "example"]))
        table = table.rename_columns(names)
    elif kind == 2:
        given = rng.choice(("text", 3, 2**62, -5, 1.5, None, True, [1], {"a": 1}, b"\xff"))
        table = table.set_column(column, names[column], pa.array([given] * len(table)))
    elif kind == 3:
        metadata = {
            key: _json(value, rng) if value[:1] == b"{" else value for key, value in (table.schema.metadata or {}).items()
        }
        table = table.replace_schema_metadata(metadata)
    else:
        table = table.slice(0, rng.randrange(len(table) + 1))
    made = io.BytesIO()
    pq.write_table(table, made)
    return made.getvalue()


def _zip(content: bytes, rng: random.Random) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(made, "w", compresslevel=1) as target:
        infos = archive.infolist()
        chosen, kind = rng.randrange(len(infos)), rng.randrange(5)
        for number, info in enumerate(infos):
            name, inner = info.filename, archive.read(info)
            if number == chosen:
                if kind == 0:
                    continue
                if kind == 1:
                    name = name.replace(rng.choice(name.split("/")), str(rng.choice(VALUES))[:300].replace("\ud800", "?")) or "x"
                elif kind == 2:
                    target.writestr(name, inner, info.compress_type)
                else:
                    inner = mutated(inner, Path(name).suffix, rng, [])
            target.writestr(name.encode("utf-8", "replace").decode(), inner, info.compress_type)
    return made.getvalue()


def _sqlite(content: bytes, rng: random.Random) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".db") as file:
        Path(file.name).write_bytes(content)
        database = sqlite3.connect(file.name)
        database.execute("pragma journal_mode = delete")
        tables = [
            name
            for (name,) in database.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite%'")
        ]
        table = rng.choice(tables)
        column = rng.choice([row[1] for row in database.execute(f'pragma table_info("{table}")')])
        kind = rng.randrange(10)
        if kind < 6:
            value = rng.choice(SQL_VALUES)
            old = database.execute(f'select "{column}" from "{table}" order by random() limit 1').fetchone()
            if old and isinstance(old[0], str) and old[0][:1] in {"{", "["}:
                value = _json(old[0].encode(), rng).decode("utf-8", "replace")
            database.execute("pragma ignore_check_constraints = on")
            database.execute(f'update or ignore "{table}" set "{column}" = ? where rowid % ? = 0', (value, rng.choice((1, 2, 5))))
        elif kind == 6:
            database.execute(f'delete from "{table}" where rowid % 2 = 0')
        elif kind == 7:
            database.execute(f'alter table "{table}" rename column "{column}" to "{column}x"')
        elif kind == 8:
            database.execute(rng.choice((
                f'create trigger t after update on "{table}" begin delete from runs; end',
                f'create view v as select * from "{table}"', f'alter table "{table}" add column more text',
                f'drop table "{table}"', f'create index i on "{table}" ("{column}")', "pragma user_version = 99",
            )))  # fmt: skip
        else:
            database.execute(f'insert or ignore into "{table}" select * from "{table}" limit 3')
        database.commit()
        database.close()
        return Path(file.name).read_bytes()


STRUCTURED = {
    ".json": _json, ".jsonl": _json_lines, ".safetensors": _safetensors, ".npy": _npy, ".csv": _csv, ".parquet": _parquet,
    ".zip": _zip, ".db": _sqlite,
}  # fmt: skip
