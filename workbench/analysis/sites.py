"""Analyses that treat each site by itself, so that the workers of an engine can take a site each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from workbench.analysis.contract import Analysis, Context, Result
from workbench.datasets import Dataset
from workbench.errors import ConfigError, StudyError
from workbench.progress import Progress, shares, silent

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.activations.manifest import Stored


class SiteAnalysis(Analysis):
    """An analysis that does the same at every site independently, so that several workers can do several sites at once.

    ``shared`` is made once, ``at_site`` for each site, and ``joined`` makes them one result. ``at_site`` may be called in
    another process: it may read the activations, data set and seed of its context, but not the model or inputs. What it reports
    to the context's progress, in its own units, counts as a part of one step over all sites.
    """

    @abstractmethod
    def shared(self, context: Context) -> Any:
        """Compute once what every site needs."""

    @abstractmethod
    def at_site(self, context: Context, site: str, shared: Any) -> Any:
        """Do the work of one site."""

    @abstractmethod
    def joined(self, context: Context, shared: Any, parts: list[Any]) -> Result:
        """Combine the results of the sites."""

    def run(self, context: Context) -> Result:
        """Do the work, site by site."""
        shared = self.shared(context)
        return self.joined(context, shared, each_site(self, context, shared))


def each_site(analysis: SiteAnalysis, context: Context, shared: Any) -> list[Any]:
    """What the analysis finds at each site of the context, in their order."""
    sites: list[str] = [str(site) for site in context.activations.sites]
    # What is done at a site takes about as long as its rows are wide.
    widths = [context.activations.at(site).width() for site in sites]
    progresses = shares(context.progress, widths, analysis.title)
    found: list[Any] = []
    with closing(
        context.engine.map(_AtSite(analysis, context, shared, dict(zip(sites, progresses, strict=True))), sites)
    ) as parts:
        for show, site, part in zip(progresses, sites, parts, strict=True):
            found.append(part)
            show(1, 1, site)
    return found


class _AtSite:
    """A task that runs an analysis at one site after another, in this process or in workers."""

    def __init__(
        self, analysis: SiteAnalysis, context: Context, shared: Any, progresses: Mapping[str, Progress] | None = None
    ) -> None:
        self._analysis, self._context, self._shared, self._progresses = analysis, context, shared, progresses or {}

    def __call__(self, site: str) -> Any:
        show = self._progresses.get(site, silent)
        show(0, 1, site)
        [of_site] = shares(show, [1], site)
        return self._analysis.at_site(replace(self._context, progress=of_site), site, self._shared)

    def here(self, sites: Iterable[str]) -> Generator[Any, None, None]:
        """One site after another."""
        for site in sites:
            yield self(site)

    def elsewhere(self) -> Callable[[], Callable[[str], Any]]:
        """A function without arguments that builds this object in another process."""
        context = self._context
        location = _Location(context.activations.folder, context.activations.manifest.files, context.remote)
        return partial(_in_worker, self._analysis, location, context.dataset, context.seed, self._shared)


@dataclass(frozen=True)
class _Location:
    """Where a worker finds an activation set: its folder, the checksums of its files, and the remote, if any."""

    folder: Path
    files: dict[str, Stored]
    remote: str

    def opened(self) -> ActivationSet:
        """Open the set, fetching it from the remote if this process does not see the folder.

        Raises:
            StudyError: It is in neither, or the remote has another one of that name.
        """
        from workbench.activations import ActivationSet
        from workbench.activations.writer import whole

        if whole(self.folder):
            return ActivationSet.open(self.folder)
        if not self.remote:
            raise StudyError(
                f"A worker does not see {self.folder}: put the study on a disk that all machines see under that path, or give it"
                " a remote, `workbench study push STUDY --remote URL`."
            )
        from workbench.store.worker_cache import fetched

        return ActivationSet.open(fetched(self.remote, self.folder.name, self.files))


def _in_worker(analysis: SiteAnalysis, location: _Location, dataset: Dataset, seed: int, shared: Any) -> _AtSite:
    context = Context(location.opened(), dataset, seed, silent, _not_here, _not_here, _not_here)
    return _AtSite(analysis, context, shared)


def _not_here(*_asked: Any) -> NoReturn:
    raise ConfigError("What an analysis does at a site cannot ask for the model: let its shared() ask.")
