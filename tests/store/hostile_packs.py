"""Hostile packs: an honest one with one thing done to it, and every hostile catalog of `hostile` in a pack."""

from __future__ import annotations

import io
import random
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.store import hostile

Pack = Callable[[Path, Path], None]
"""Takes the folder of an honest study, which it may change, and the file to write."""


def packed(folder: Path, file: Path) -> None:
    """Every file of a folder in a zip file, whatever it is."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                archive.write(path, path.relative_to(folder).as_posix())


def with_member(name: str, content: bytes = b"{}", mode: int = 0, kind: int = zipfile.ZIP_DEFLATED) -> Pack:
    """One more member."""

    def make(folder: Path, file: Path) -> None:
        packed(folder, file)
        with zipfile.ZipFile(file, "a", kind) as archive:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, kind
            archive.writestr(info, content)

    return make


def instead(pattern: str, mode: int = 0, content: bytes = b"../../private/secret.txt", kind: int = zipfile.ZIP_DEFLATED) -> Pack:
    """A member of another kind in the place of an honest one."""

    def make(folder: Path, file: Path) -> None:
        path = sorted(folder.glob(pattern))[0]
        name = path.relative_to(folder).as_posix()
        path.unlink()
        with_member(name, content, mode, kind)(folder, file)

    return make


def bomb(name: str, size: int = 2**28) -> Pack:
    """A member of zeros, which takes a thousandth of its length."""

    def make(folder: Path, file: Path) -> None:
        packed(folder, file)
        with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w", force_zip64=True) as member:
            for _ in range(size // 2**20):
                member.write(bytes(2**20))

    return make


def edited(edit: Callable[[bytearray], bytes | bytearray]) -> Pack:
    """The bytes of the honest pack changed."""

    def make(folder: Path, file: Path) -> None:
        packed(folder, file)
        file.write_bytes(edit(bytearray(file.read_bytes())))

    return make


def flip(seed: int) -> Callable[[bytearray], bytearray]:
    def edit(content: bytearray) -> bytearray:
        content[random.Random(seed).randrange(len(content))] ^= 1 << seed % 8
        return content

    return edit


def declared(offset: int, value: bytes) -> Callable[[bytearray], bytearray]:
    """Bytes at an offset in every entry of the list at the end of the file."""

    def edit(content: bytearray) -> bytearray:
        place = 0
        while (place := content.find(b"PK\x01\x02", place)) >= 0:
            content[place + offset : place + offset + len(value)] = value
            place += 4
        return content

    return edit


def nested(folder: Path, file: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(2**24))
    with_member("runs/a/inner.zip", inner.getvalue())(folder, file)


def many(folder: Path, file: Path) -> None:
    packed(folder, file)
    with zipfile.ZipFile(file, "a") as archive:
        for number in range(5000):
            archive.writestr(f"datasets/{number:016x}.json", b"{}")


def without(pattern: str) -> Pack:
    def make(folder: Path, file: Path) -> None:
        for path in list(folder.glob(pattern)):
            path.unlink()
        packed(folder, file)

    return make


def of(change: hostile.Change) -> Pack:
    """A hostile folder as a pack."""

    def make(folder: Path, file: Path) -> None:
        change(folder, folder)
        packed(folder, file)

    return make


LINK, PIPE, DEVICE = stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o666, stat.S_IFCHR | 0o666
RUN = "runs/linear_probe-00000000"
OUTSIDE = (
    "../victim.txt", "/tmp/victim.txt", "runs/../../victim.txt", "C:\\victim.txt", "a\\..\\b", "..", "runs/a/../../../victim.txt",
)  # fmt: skip
UNKNOWN = (
    "catalog.db-journal", "catalog.db-wal", "catalog.db-shm", "cache/readouts/a/labels.json", "jobs/a/job.json", "readme.txt",
    ".ssh/authorized_keys", f"{RUN}/run.py", f"{RUN}/a/b/c/d/e.json", f"{RUN}/.hidden.json", f"{RUN}.partial/config.json",
    "runs/a b/config.json", "activations/x/manifest.json", "activations/0123456789abcdef/manifest.json/x", "datasets/a.py",
    "STUDY.JSON", "Catalog.db", "runs//config.json", "./study.json", "study.json/", "catalog.db/",
    f"runs/{'x' * 300}/config.json",
    "runs/\u202e/config.json", f"{RUN}/tables/" + "x" * 5000 + ".parquet", "runs/a\nb/config.json", "\x00study.json",
)  # fmt: skip

PACKS: dict[str, Pack] = {
    **{f"name outside {name!r}": with_member(name) for name in OUTSIDE},
    **{f"unknown {name[:40]!r}": with_member(name) for name in UNKNOWN},
    **{f"{what} at {place}": instead(place, mode) for what, mode in (("link", LINK), ("pipe", PIPE), ("device", DEVICE))
       for place in ("study.json", "catalog.db", "runs/*/config.json", "activations/*/manifest.json", "datasets/*.json")},
    **{f"twice {name}": with_member(name) for name in ("study.json", "catalog.db")},
    **{f"packed by {kind}": instead("runs/*/config.json", kind=kind) for kind in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)},
    "bomb in a table": bomb(f"{RUN}/tables/more.parquet"), "bomb of a text": bomb("datasets/0123456789abcdef.json"),
    "bomb left out": bomb("zeros"), "bomb in a set": bomb("activations/0123456789abcdef/site000-00000.bin"),
    "nested": nested, "five thousand texts": many, "no study file": without("study.json"), "no catalog": without("catalog.db"),
    "no run": without("runs/*/*.json"), "study file of nothing": instead("study.json", content=b""),
    "catalog of zeros": instead("catalog.db", content=bytes(2**20)),
    "encrypted": edited(declared(8, b"\x01\x08")), "packed by 99": edited(declared(10, b"\x63\x00")),
    "declared empty": edited(declared(24, struct.pack("<I", 0))), "declared huge": edited(declared(24, struct.pack("<I", 2**31))),
    "declared longer": edited(declared(24, struct.pack("<I", 2**20))), "other checksums": edited(declared(16, b"abcd")),
    "offsets beyond": edited(declared(42, struct.pack("<I", 2**31))),
    "offsets of one": edited(declared(42, struct.pack("<I", 0))),
    "needs a later version": edited(declared(6, b"\xff\xff")), "names of length 0": edited(declared(28, b"\0\0")),
    "extra beyond": edited(declared(30, b"\xff\xff")), "half": edited(lambda content: content[: len(content) // 2]),
    "no end": edited(lambda content: content[:-30]), "no beginning": edited(lambda content: content[5000:]),
    "empty": edited(lambda _: b""), "text": edited(lambda _: b"no archive"),
    "behind a text": edited(lambda content: b"text" * 99 + content),
    "long comment": edited(lambda content: content[:-2] + b"\xff\xff" + b"x" * 65535),
    **{f"flipped {seed}": edited(flip(seed)) for seed in range(30)},
    **{f"schema: {name}": of(change) for name, change in hostile.SCHEMA.items()},
    **{f"row: {name}": of(change) for name, change in hostile.ROWS.items()},
    **{f"run called {name}": of(hostile.run_called(text)) for name, text in hostile.NAMES.items()},
    **{f"study file: {name}": of(change) for name, change in hostile.STUDY_FILES.items()},
    **{f"manifest: {name}": of(change) for name, change in hostile.MANIFESTS.items()},
    **{f"file: {name}": of(change) for name, change in hostile.FILES.items()},
}  # fmt: skip
