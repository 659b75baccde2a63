"""The causes of one set of concepts: sensitivity, readout, output and own tokens, each by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from torch import Tensor

from workbench.concepts import ConceptSet
from workbench.errors import ConfigError
from workbench.evidence.attempts import Found, attempted
from workbench.evidence.causes import (
    LINEAR_CONTROLS,
    RANDOM_DIRECTIONS,
    Response,
    Steered,
    cause_rows,
    dose_response,
    sensitivity_rows,
)  # fmt: skip
from workbench.evidence.controls import Controls, ordinary_rows
from workbench.evidence.doses import Doses, Search, find_doses, shift_of_random
from workbench.evidence.family import Family, Tried
from workbench.evidence.held_out import HeldOut
from workbench.evidence.language import Once, Setting, steered_language
from workbench.evidence.metrics import QUESTIONS, of_family
from workbench.evidence.model_statistics import keep_doses, rows_of
from workbench.evidence.shifts import DESTROYED, shift_measure
from workbench.evidence.steered_inputs import INPUT_CHARACTERS, PASSAGE_CHARACTERS, affordable, choose_inputs, choose_passages
from workbench.evidence.steering import RANDOM, Passages, language_doses, read_passages
from workbench.progress import Progress
from workbench.readout import examples_with
from workbench.statistics.clusters import example_clusters
from workbench.store.edited import require_unedited

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset
    from workbench.store.runs import Run
    from workbench.study import Study

GRADIENTS = 30


@dataclass(frozen=True)
class CauseTrial:
    """One set of concepts of a run, tried as causes on held-out data.

    Attributes:
        study, run, acts, dataset: What is examined, on which activations and data.
        test: The held-out rows.
        part: The concepts.
        seed: Every random choice comes from it.
        once: Keeps what concepts of one site share.
        watched: The sets at the site whose firing is followed, each with the ids of its concepts.
        progress: Called with ``(done, total, text)``.
    """

    study: Study
    run: Run
    acts: ActivationSet
    dataset: Dataset
    test: HeldOut
    part: ConceptSet
    seed: int
    once: Once
    watched: Callable[[], list[tuple[ConceptSet, list[str]]]]
    progress: Progress

    def measure(self, numbers: list[int], choice: list[str], places: list[int]) -> Found:
        """Each kind by itself: where one cannot be measured, its rows are failed with the reason and the others are kept.

        Args:
            numbers: Of the concepts, in their run.
            choice: The label of each concept.
            places: Which of them are steered.
        """
        found_by = self._of_the_model
        rows, _ = attempted(["causes.sensitivity"], range(len(choice)), found_by(lambda: (self._sensitivity(choice), {})), choice)
        tables: dict[str, pd.DataFrame] = {}
        parts: list[tuple[list[str], Callable[[], Found]]] = []
        if places:
            parts.append((["causes.readout", "causes.output"], found_by(lambda: self._responses(choice, places))))
        if self.study.model_record()["kind"] == "decoder":
            parts.append((["causes.tokens", "causes.cost"], found_by(lambda: self._language(numbers, places))))
        for metrics, measure in parts:
            found, more = attempted(metrics, places, measure, choice if metrics[0] == "causes.readout" else None)
            rows, tables = rows + found, tables | more
        return rows, tables

    def _of_the_model(self, measure: Callable[[], Found]) -> Callable[[], Found]:
        """The same measurement, refused for activations of a model that was edited."""

        def checked_first() -> Found:
            require_unedited(self.acts, "causes are measured in the model")
            return measure()

        return checked_first

    def _sensitivity(self, choice: Sequence[str]) -> list[dict[str, Any]]:
        readout = self.study.readout(self.dataset, progress=self.progress)
        # One pass for all labels that the output tells apart: concepts of every method at this site share it.
        wanted = [label for label in readout.labels if readout.works_for(label)]
        grads = self.study.gradients(
            self.dataset, [self.part.site], wanted, GRADIENTS, positions=self.acts.positions, progress=self.progress
        )
        examples = examples_with(self.dataset, wanted, GRADIENTS)
        clusters = {label: example_clusters(self.dataset, chosen) for label, chosen in examples.items()}
        unit, controls = self.study.dose_unit(self.part.site), self._controls(LINEAR_CONTROLS)
        return sensitivity_rows(choice, self.part.directions(), grads[self.part.site], clusters, readout, unit, controls)

    def _responses(self, choice: Sequence[str], places: list[int]) -> Found:
        model, directions = self.study.model, self.part.directions()
        readout = self.study.readout(self.dataset, progress=self.progress)
        site, doses = model.site(self.part.site), self._doses()
        inputs, clusters = self._inputs()
        controls = self._controls(RANDOM_DIRECTIONS)

        def respond(along: Float[Tensor, "k d"]) -> Response:
            measured = (along, inputs, readout, doses.unit, doses.both_signs)
            return dose_response(model, site, *measured, self.acts.positions, self.progress)

        response = respond(directions[places])
        control = self.once(("control", self.part.site, doses), lambda: respond(controls.directions))
        # The output of a causal model is held against its own limit: the divergence, while its doses are found by the loss.
        limit = DESTROYED["divergence" if doses.measure == "loss" else doses.measure]
        steered = Steered(choice, response, control, controls, readout, clusters, limit, doses.unit)
        rows, curves = cause_rows(places, steered)
        return rows, {"curves": curves}

    def _controls(self, count: int) -> Controls:
        """Random directions of a site: uniform ones, and ones with the covariance of its training rows."""
        rows = self.once(
            ("control rows", self.part.site), lambda: ordinary_rows(rows_of(self.acts.at(self.part.site), self.dataset))
        )
        drawn: Controls = self.once(
            ("controls", self.part.site, count), lambda: Controls.drawn(count, self.part.width, rows, self.seed)
        )
        return drawn

    def _doses(self) -> Doses:
        """The doses of the site, kept in the catalog as those of the study."""

        def find() -> Doses:
            model, unit = self.study.model, self.study.dose_unit(self.part.site)
            site, controls = model.site(self.part.site), self._controls(RANDOM)
            if self.study.model_record()["kind"] == "decoder":
                found = language_doses(model, site, controls, unit, self._passages(), self.progress)
            else:
                batch = model.batch(self._inputs()[0])
                measure = shift_measure(model.forward(batch, logits=False)[0])
                search = Search(self.progress, f"looking for doses at {site}")
                cost_of = shift_of_random(model, site, controls, unit, batch, self.acts.positions, search.part)
                found = find_doses(cost_of, unit, measure, search)
            keep_doses(self.study, self.part.site, found)
            return found

        doses: Doses = self.once(("doses", self.part.site), find)
        return doses

    def _passages(self) -> Passages:
        """Held-out texts that a causal model is steered on, as it reads them unedited."""
        model = self.study.model
        texts, clusters = choose_passages(self.dataset.inputs(self.test.examples.tolist()), self.test.documents, self.seed)
        texts = affordable(model, model.site(self.part.site), texts, PASSAGE_CHARACTERS)
        passages: Passages = self.once(
            ("passages", hash(tuple(texts))), lambda: read_passages(model, texts, self.acts.positions, clusters[: len(texts)])
        )
        return passages

    def _language(self, numbers: list[int], places: list[int]) -> Found:
        """Steering of a causal model: evidence rows, and tables by name."""
        if "tokens" not in self.run.tables and "failed" in self.run.tables:
            why = self.run.tables["failed"]["error"].iloc[0]
            raise ConfigError(f"Run {self.run.id} could not find the tokens of its concepts: {why}")
        tokens = self.run.tables["tokens"] if "tokens" in self.run.tables else pd.DataFrame(columns=["number", "id"])
        place_of = {number: place for place, number in enumerate(numbers)}
        tokens = tokens[tokens["number"].isin(place_of)].assign(place=lambda t: t["number"].map(place_of))
        setting = Setting(
            self.study.model, self.study.model.site(self.part.site), self._passages(), self._doses(),
            self._controls(RANDOM), self.watched(), self.seed, self.once,
        )  # fmt: skip
        return steered_language(setting, self.part, places, tokens, self.progress)

    def _inputs(self) -> tuple[list[Any], Int[np.ndarray, "e"]]:
        """Held-out inputs to steer, and the document of each."""
        found, clusters = choose_inputs(self.dataset, self.test.examples, self.test.documents, self.seed)
        if self.dataset.modality == "text":
            found = affordable(self.study.model, self.study.model.site(self.part.site), found, INPUT_CHARACTERS)
        return found, clusters[: len(found)]


class Causes(Family):
    """Whether writing a concept moves the model's output."""

    name = "causes"
    question = QUESTIONS["causes"]
    metrics = of_family("causes")

    def measure(self, tried: Tried) -> Found:
        """Of data with labels, for the readout of the output is fitted to them."""
        nothing = {"curves": pd.DataFrame(columns=["place"])}
        if not len(tried.dataset.labels):
            return [], nothing
        tried.progress(2, 5, f"causes at {tried.concepts.site}")
        trial = CauseTrial(
            tried.study, tried.run, tried.acts, tried.dataset, tried.test, tried.concepts, tried.seed, tried.once, tried.watched,
            tried.progress,
        )  # fmt: skip
        rows, tables = trial.measure(tried.numbers, tried.detection.choice, tried.steered)
        return rows, nothing | tables
