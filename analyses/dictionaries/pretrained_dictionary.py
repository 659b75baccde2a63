"""The analysis: take a dictionary that was trained elsewhere, and measure it as one trained here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PrivateAttr

from analyses.dictionaries._shared.quality import METRICS, measured_dictionary
from workbench.analysis import Analysis, Context, Metric, Result
from workbench.concepts.dictionary import DictionaryConcepts
from workbench.concepts.sae_lens_format import same_place, trained_at
from workbench.datasets.paths import data_dir
from workbench.errors import ConfigError
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset


class PretrainedDictionary(Analysis):
    """Take a sparse dictionary from a folder in the format of sae-lens, whoever trained it; each latent is a concept.

    It is measured on the test split of the activations at hand, as one trained here is.
    """

    name: ClassVar[str] = "pretrained_dictionary"
    title: ClassVar[str] = "Sparse dictionary from a folder"
    method: ClassVar[str] = "SAE"
    one_site: ClassVar[bool] = True
    reads_labels: ClassVar[bool] = False
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    # 2: special tokens keep their activations where the reconstruction stands in; rows of large norm are counted.
    version: ClassVar[int] = 2

    folder: str = Field(
        "scribe-sae", min_length=1, description="A folder that sae-lens loads, or the bundled 'scribe-sae'.",
        json_schema_extra={"path": True},
    )  # fmt: skip
    other_site: bool = Field(False, description="Take it although it was trained at another site than the activations are of.")

    # What was read when it was checked, with its site: a dictionary can be of gigabytes.
    _read: tuple[str, DictionaryConcepts] | None = PrivateAttr(None)

    def check(self, activations: ActivationSet, dataset: Dataset, seed: int) -> None:
        """See that the folder holds a dictionary of the site of the activations."""
        self._dictionary(activations)

    def run(self, context: Context) -> Result:
        """Read it, and measure it on the test split."""
        return measured_dictionary(self._dictionary(context.activations), context)

    def _dictionary(self, acts: ActivationSet) -> DictionaryConcepts:
        """Read it.

        Raises:
            ConfigError: It does not fit the activations.
            StudyError: It cannot be read.
        """
        if self._read is not None and self._read[0] == str(acts.sites[0]):
            return self._read[1]
        bundled = data_dir() / self.folder
        folder = bundled if self.folder == Path(self.folder).name and bundled.is_dir() else Path(self.folder).expanduser()
        dictionary = DictionaryConcepts.from_sae_lens(folder, str(acts.sites[0]))
        if dictionary.width != acts.width():
            raise ConfigError(
                f"The dictionary reads rows of {dictionary.width} numbers, and {acts.sites[0]} has {acts.width()}:"
                " give the activations of the site that it was trained on."
            )
        if not self.other_site:
            _check_site(dictionary, acts.sites[0])
        self._read = str(acts.sites[0]), dictionary
        return dictionary


def _check_site(dictionary: DictionaryConcepts, site: Site) -> None:
    hook, trained = trained_at(dictionary.config)
    if trained is None or same_place(trained) == same_place(site) or same_place(site).kind == "layer":
        return
    raise ConfigError(
        f"The dictionary was trained at {trained} ({hook}), and the activations are of {site}: capture {trained}, or set"
        " other_site if this is meant."
    )
