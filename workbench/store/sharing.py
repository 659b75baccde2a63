"""What a study shares: with its remote, where new sets go and from where they are fetched when needed, and in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from workbench.errors import StudyError
from workbench.store.deleted import deleted_sets, revive
from workbench.store.inputs import Inputs

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.progress import Progress
    from workbench.store.catalog import Catalog
    from workbench.store.remote import Remote
    from workbench.store.study import Study


class Sharing(Inputs):
    """The part of a :class:`~workbench.store.study.Study` that knows its remote, if it has one, and packs it for others."""

    def __init__(self, folder: Path, catalog: Catalog, remote: str) -> None:
        super().__init__(folder, catalog)
        if remote:
            from workbench.store.remote import Remote

            self.remote = Remote(folder, remote)

    def look(self, again: bool = False) -> None:
        """Know the sets that others have put to the remote; they are looked for now and then, or at once when ``again``."""
        if self.remote and not self.read_only:
            self.remote.look(again, without=deleted_sets(self))

    def fetch_set(self, folder: Path) -> None:
        """Fetch a set's rows from the remote, where it has them; one that was deleted is about to be captured again."""
        revive(self, folder.name)
        if self.remote and self.remote.has("activations", folder.name):
            self.remote.fetch_set(folder.name)

    def kept(self, acts: ActivationSet) -> ActivationSet:
        """A new set, which the remote has from now on as well."""
        if self.remote:
            self.remote.put_texts()
            self.remote.put("activations", acts.id)
        return acts

    def push(self) -> list[str]:
        """Copy what is whole here and not at the remote; see :func:`workbench.store.remote_copy.push`."""
        from workbench.store.remote_copy import push

        return push(cast("Study", self), self._required_remote())

    def pull(self, activations: bool = True) -> list[str]:
        """Fetch what is at the remote and not here; see :func:`workbench.store.remote.pull`."""
        from workbench.store.remote_copy import pull

        self.require_writable("the study")
        return pull(cast("Study", self), self._required_remote(), activations)

    def pack(self, path: str | Path, activations: bool = False, progress: Progress | None = None) -> Path:
        """Write the study into one file for others; see :func:`workbench.store.packing.pack`."""
        from workbench.store.packing import pack

        return pack(cast("Study", self), Path(path), activations, progress)

    def export_table(self, table: str, path: str | Path, raw: bool = False) -> Path:
        """Write a table as CSV or Parquet; see :func:`workbench.store.exchange.export_table`."""
        from workbench.store.exchange import export_table

        return export_table(cast("Study", self), table, Path(path), raw)

    def recapture(self, progress: Progress | None = None) -> list[ActivationSet]:
        """Capture again what was left out when the study was packed; see :meth:`pack`."""
        from workbench.store.packing import recapture

        return recapture(cast("Study", self), progress)

    def _required_remote(self) -> Remote:
        if self.remote is None:
            raise StudyError(f"Study '{self.name}' has no remote: give it one, `workbench study push {self.name} --remote URL`.")
        return self.remote
