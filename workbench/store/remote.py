"""The remote of a study: finished runs, complete activation sets and texts, on any file system that fsspec supports.

Runs and sets never change, so each is copied as a whole: the file that lists the others is written last and removed first, and a
run or set without it does not count as present. What is fetched is checked against its checksums before it enters the study.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from workbench.activations.manifest import MANIFEST, left_out, parse_manifest, set_folders
from workbench.errors import (
    ConfigError,
    DiskFullError,
    MissingExtraError,
    StudyError,
    WorkbenchError,
    disk_errors,
    full_disk_number,
)
from workbench.memory import size_text
from workbench.paths import PARTIAL, child, files_below, inside, is_file, is_id, remove_tree, require_plain
from workbench.store.remote_url import known_remote
from workbench.store.runs import CHECKSUMS, parse_sums
from workbench.store.scratch import scratch

if TYPE_CHECKING:
    from workbench.activations.manifest import Manifest

LAST = {"runs": CHECKSUMS, "activations": MANIFEST, "left_out": MANIFEST}
"""The file that lists the others, by kind. A set whose rows were left out when it was packed has no other file."""
CALLED = {"runs": "The run", "activations": "The set of activations"}
LOOK_EVERY_S = 30.0


class Remote:
    """The remote of one study.

    Args:
        folder: Of the study.
        url: As :func:`known_remote` gives it.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, known_remote(url)
        self._looked = -LOOK_EVERY_S

    # What the remote has

    def has(self, kind: str, name: str) -> bool:
        """Whether the remote has a complete run or set."""
        inside(self.folder, "activations" if kind == "left_out" else kind, name)
        return self._exists(f"{kind}/{name}/{LAST[kind]}")

    def names(self, kind: str) -> list[str]:
        """The names of the complete runs or sets at the remote; names that are no valid ids are ignored."""
        with self._reaching() as (files, base):
            found = {PurePosixPath(path).parent.name for path in files.glob(f"{base}/{kind}/*/{LAST[kind]}")}
        return sorted(name for name in found if is_id("activations" if kind == "left_out" else kind, name) and "." not in name)

    def listing(self) -> dict[str, int]:
        """The size in bytes of every file at the remote, by path.

        Raises:
            StudyError: The remote cannot be listed.
        """
        with self._reaching() as (files, base):
            found = files.find(base, detail=True)
            return {path.removeprefix(f"{base}/"): int(facts["size"]) for path, facts in found.items()}

    def read(self, path: str) -> bytes:
        """The content of a small file at the remote."""
        with self._reaching() as (files, base):
            return bytes(files.cat_file(f"{base}/{path}"))

    def digest(self, path: str) -> str:
        """The SHA-256 of a file at the remote, read in chunks."""
        with self._reaching() as (files, base), files.open(f"{base}/{path}", "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    # To the remote

    def put(self, kind: str, name: str) -> bool:
        """Copy a finished run or complete set to the remote unless it has it. Returns whether it was copied.

        Raises:
            StudyError: It could not be copied; the local files are unchanged.
        """
        folder, last = inside(self.folder, kind, name), LAST[kind]
        if self.has(kind, name):
            return False
        require_plain(folder)
        files = [path.relative_to(folder).as_posix() for path in files_below(folder)]
        beside = [path for path in files if path != last]
        try:
            for path in beside:
                self.upload(child(folder, path), f"{kind}/{name}/{path}")
            self.write(f"{kind}/{name}/{last}", (folder / last).read_bytes() if last in files else _sums(folder, beside))
        except StudyError as error:
            raise StudyError(
                f"{error} {CALLED[kind]} {name} is whole in the study's folder: `workbench study push {self.folder.name}` copies"
                " it there."
            ) from error
        return True

    def put_known(self) -> None:
        """Copy the manifests of sets of which only the manifest is here, so that others know of the sets too."""
        for folder in set_folders(self.folder):
            if left_out(folder) and not self.has("activations", folder.name) and not self.has("left_out", folder.name):
                self.write(f"left_out/{folder.name}/{MANIFEST}", (folder / MANIFEST).read_bytes())

    def put_texts(self, anew: str = "") -> None:
        """Copy the study's data sets to the remote, the table before its description; the one named ``anew`` is copied again."""
        for about in sorted(inside(self.folder, "datasets").glob("*.json")):
            table = about.with_suffix(".parquet")
            if (
                is_id("datasets", about.name)
                and is_file(about)
                and is_file(table)
                and (about.stem == anew or not self._exists(f"datasets/{about.name}"))
            ):
                self.upload(table, f"datasets/{table.name}")
                self.write(f"datasets/{about.name}", about.read_bytes())

    def remove(self, kind: str, name: str) -> None:
        """Remove a run or set from the remote, the listing file first, so that none is ever present in part."""
        home = f"{kind}/{name}"
        inside(self.folder, "activations" if kind == "left_out" else kind, name)
        with self._reaching() as (files, base):
            there = [path.removeprefix(f"{base}/") for path in files.find(f"{base}/{home}")]
            for path in sorted(there, key=lambda path: path != f"{home}/{LAST[kind]}"):
                files.rm_file(f"{base}/{path}")

    # From the remote

    def fetch_run(self, name: str, anew: bool = False) -> None:
        """Fetch a run unless it is here; with ``anew``, replace the local one.

        Raises:
            StudyError: It is not there, or damaged there: then nothing of it is kept.
        """
        home = inside(self.folder, "runs", name)
        if home.is_dir() and not anew:
            return
        with self._scratch() as place:
            folder = child(place, name)
            for file, digest in self._run_files(name, folder).items():
                self.download(f"runs/{name}/{file}", child(folder, file))
                self._require(digest, child(folder, file), f"runs/{name}/{file}")
            home.parent.mkdir(exist_ok=True)
            if anew:
                remove_tree(home, ignore_errors=True)
            try:
                os.replace(folder, home)
            except OSError:
                # Another process may have fetched it meanwhile.
                if not home.is_dir():
                    raise

    def fetch_set(self, name: str) -> None:
        """Fetch the rows of a set, unless they are here.

        Raises:
            StudyError: It is not there, or damaged there; or another process writes it now.
        """
        from workbench.activations.checksums import damage
        from workbench.activations.writer import claimed, finish_sealed, partial_of, whole

        home = inside(self.folder, "activations", name)
        with disk_errors("activations"), claimed(home):
            if whole(home):
                return
            partial = partial_of(home)
            remove_tree(partial, ignore_errors=True)
            with self._scratch() as place:
                manifest = place / MANIFEST
                self.download(f"activations/{name}/{MANIFEST}", manifest)
                for file in self._manifest(place, f"activations/{name}/{MANIFEST}").lengths():
                    self.download(f"activations/{name}/{file}", child(partial, file))
                os.replace(manifest, partial / MANIFEST)
            if not finish_sealed(home):
                file, problem = next(damage(partial))
                remove_tree(partial)
                raise self._damaged(f"activations/{name}/{file}", problem)

    def look(self, again: bool = False, without: Collection[str] = ()) -> None:
        """Fetch the manifests of sets that are not here, so that the study knows them; their rows come when they are read.

        Twice a minute at most, unless ``again``. Those ``without`` were deleted.
        """
        if time.monotonic() - self._looked < LOOK_EVERY_S and not again:
            return
        inside(self.folder, "activations").mkdir(exist_ok=True)
        for kind in ("activations", "left_out"):
            for name in self.names(kind):
                if name not in without and not inside(self.folder, "activations", name).exists():
                    self._fetch_manifest(kind, name)
        self._looked = time.monotonic()

    def _fetch_manifest(self, kind: str, name: str) -> None:
        home, path = inside(self.folder, "activations", name), f"{kind}/{name}/{MANIFEST}"
        with self._scratch() as place:
            manifest = child(place, name) / MANIFEST
            self.download(path, manifest)
            if self._manifest(manifest.parent, path).request.id != name:
                raise self._damaged(path, "It is of another set.")
            # Sets are told apart by their age where none is named.
            os.utime(manifest, times=(self._written(path),) * 2)
            if not home.exists():
                os.replace(manifest.parent, home)

    def _manifest(self, folder: Path, path: str) -> Manifest:
        """A manifest that was fetched into a folder; what is wrong with it is said of where it came from."""
        try:
            return parse_manifest(folder)
        except StudyError as error:
            raise self._damaged(path, "It cannot be read.") from error

    def fetch_texts(self, record: dict[str, Any]) -> None:
        """Fetch the copy of a data set, where there is one and it is not here.

        Raises:
            StudyError: It is not what it was.
        """
        from workbench.store.texts import check_copy, copy_path

        table = copy_path(self.folder, record["hash"])
        about = table.with_suffix(".json")
        if table.exists() or not self._exists(f"datasets/{about.name}"):
            return
        with self._scratch() as place:
            for name in (about.name, table.name):
                self.download(f"datasets/{name}", inside(place, "datasets", name))
            try:
                check_copy(place, record)
            except (WorkbenchError, OSError, ValueError) as error:
                raise self._damaged(f"datasets/{table.name}", "It is not as it was kept.") from error
            table.parent.mkdir(exist_ok=True)
            for path in (about, table):
                os.replace(inside(place, "datasets", path.name), path)

    # Transfers

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """The file system, and the path in it."""
        import fsspec

        scheme = urlsplit(self.url).scheme
        try:
            # Listings are not cached, because others write to the remote as well.
            files, path = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            raise MissingExtraError(f"a library for {scheme}://", "s3", "This remote") from error
        except ValueError as error:
            raise ConfigError(f"There is no file system for {scheme}://: {error}.") from error
        return files, path.rstrip("/")

    @contextmanager
    def _reaching(self) -> Iterator[tuple[Any, str]]:
        try:
            yield self._place
        except WorkbenchError:
            raise
        except Exception as error:
            if full_disk_number(error):
                raise
            # Every storage library raises errors of its own.
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise StudyError(
                f"The study's remote {self.url} does not do what it is asked ({reason}): see that you may use it."
            ) from error

    def _exists(self, path: str) -> bool:
        with self._reaching() as (files, base):
            return bool(files.exists(f"{base}/{path}"))

    def _written(self, path: str) -> float:
        with self._reaching() as (files, base):
            return float(files.modified(f"{base}/{path}").timestamp())

    def upload(self, source: Path, path: str) -> None:
        """Copy a file to the remote."""
        with self._reaching() as (files, base):
            self._make_room(files, f"{base}/{path}")
            files.put_file(str(source), f"{base}/{path}")

    def write(self, path: str, content: bytes) -> None:
        """Write a small file at the remote, as a whole or not at all."""
        with self._reaching() as (files, base):
            self._make_room(files, f"{base}/{path}")
            partial = f"{base}/{path}.{secrets.token_hex(8)}{PARTIAL}"
            files.pipe_file(partial, content)
            files.mv(partial, f"{base}/{path}")

    def _make_room(self, files: Any, path: str) -> None:
        # Buckets have no folders, and must not be created as a side effect.
        if not urlsplit(self.url).scheme.startswith("s3"):
            files.makedirs(path.rpartition("/")[0], exist_ok=True)

    def download(self, path: str, target: Path) -> None:
        """Copy a file from the remote without checking it. `StudyError` when it does not exist."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if not self._exists(path):
            raise StudyError(f"{path} is neither in the study's folder nor at {self.url}: push it from where it was made.")
        with self._reaching() as (files, base):
            size, free = int(files.size(f"{base}/{path}") or 0), shutil.disk_usage(target.parent).free
            if size > free:
                raise DiskFullError(
                    f"{path} at {self.url} has {size_text(size)}, and here are {size_text(free)} free: free some space."
                )
            files.get_file(f"{base}/{path}", str(target))

    def _run_files(self, name: str, folder: Path) -> dict[str, str]:
        """The files of a run and their checksums, as the remote tells them; that of the checksums themselves is fetched."""
        self.download(f"runs/{name}/{CHECKSUMS}", folder / CHECKSUMS)
        try:
            return parse_sums((folder / CHECKSUMS).read_bytes())
        except StudyError as error:
            raise self._damaged(f"runs/{name}/{CHECKSUMS}", str(error)) from None

    def _require(self, digest: str, path: Path, called: str) -> None:
        from workbench.activations.checksums import sha256_of

        if sha256_of(path) != digest:
            raise self._damaged(called, "Its checksum is not that of what was written.")

    def _damaged(self, path: str, problem: str) -> StudyError:
        return StudyError(
            f"{path} is damaged at {self.url}: {problem} It was not read. Remove {path.rpartition('/')[0]} there and"
            " push it again from where it was made."
        )

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        with disk_errors("what comes from the remote"), scratch(self.folder) as folder:
            yield folder


def _sums(folder: Path, files: list[str]) -> bytes:
    """The checksums of a run from before there were any."""
    from workbench.activations.checksums import sha256_of

    return json.dumps({file: sha256_of(child(folder, file)) for file in files}, indent=1).encode()
