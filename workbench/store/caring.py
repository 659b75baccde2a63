"""Looking after a study: is it whole, how did it come to be, what takes how much room, and what may go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import pandas as pd

from workbench.store.sharing import Sharing

if TYPE_CHECKING:
    from workbench.progress import Progress
    from workbench.store.study import Study


class Caring(Sharing):
    """The part of a :class:`~workbench.store.study.Study` that looks after it."""

    def verify(self, remote_content: bool = False, progress: Progress | None = None) -> pd.DataFrame:
        """What is damaged or unfinished, one row a finding; see :func:`workbench.store.verify.verify`."""
        from workbench.store.verify import verify

        return verify(cast("Study", self), remote_content, progress)

    def repair(self, remote_content: bool = False, progress: Progress | None = None) -> pd.DataFrame:
        """Drop what is broken, and say what was dropped; see :func:`workbench.store.repair.repair`."""
        from workbench.store.repair import repair

        return repair(cast("Study", self), remote_content, progress)

    def log(self) -> pd.DataFrame:
        """Activation sets and runs, each below what it came from; see :func:`workbench.store.history.history`."""
        from workbench.store.history import history

        self.look()
        return history(cast("Study", self))

    def usage(self) -> pd.DataFrame:
        """What takes how much room, the largest first; see :func:`workbench.store.usage.usage`."""
        from workbench.store.usage import usage

        return usage(cast("Study", self))

    def delete(self, ids: str | Sequence[str], with_dependents: bool = False, dry_run: bool = False) -> pd.DataFrame:
        """Delete runs and activation sets that nothing needs; see :func:`workbench.store.deleting.delete`.

        Args:
            ids: Their ids, or the first characters of each.
            with_dependents: Delete what depends on them as well.
            dry_run: Only say what would go.

        Raises:
            UnknownNameError: There is no such run or set.
            StudyError: Something depends on them; it is named, and nothing was deleted.
        """
        from workbench.store.deleting import delete

        return delete(cast("Study", self), [ids] if isinstance(ids, str) else list(ids), with_dependents, dry_run)
