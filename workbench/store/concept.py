"""One concept of a study: its name and history, its evidence, its examples, and the edits it offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from workbench.edits.actions import ACTIONS, LATENT_ACTIONS
from workbench.errors import ConfigError, UnknownNameError
from workbench.store import tables
from workbench.store.run_kinds import EXAMINATION
from workbench.store.runs import repetitions

if TYPE_CHECKING:
    import torch

    from workbench.concepts import ConceptSet
    from workbench.edits import Edit
    from workbench.store.runs import Run
    from workbench.study import Study

MAX_NAME = 200


class Concept:
    """A concept, the same object whichever method found it.

    Attributes:
        id: ``<run>.<number>``.
        method: ``SAE``, ``probe``, ``CAV`` and so on.
        site: The site of its activations.
        level: Whether it is read at each position or of a whole example.
        label: The labelled concept it was fitted to; empty when it was discovered.
    """

    def __init__(self, study: Study, record: dict[str, Any]) -> None:
        self.study = study
        self.id = str(record["id"])
        self.run_id = str(record["run"])
        self.number = int(record["number"])
        self.method = str(record["method"])
        self.site = str(record["site"])
        self.level = str(record["level"])
        self.label = str(record["label"])

    # Names

    @property
    def name(self) -> str:
        """The current name: the newest that a person gave, or else a method; the id where there is none."""
        history = self.names()
        if history.empty:
            return self.id
        human = history[history["source"].eq("human")]
        return str((history if human.empty else human)["text"].iloc[-1])

    def names(self) -> pd.DataFrame:
        """Every name it ever had, oldest first."""
        return self.study.catalog.names(self.id)

    def rename(self, text: str, author: str = "someone") -> None:
        """Give it a name. The earlier ones stay in the history.

        Raises:
            ConfigError: The name is blank or too long.
        """
        text = clean_name(text)
        self.study.catalog.add_names([{"concept": self.id, "text": text, "source": "human", "author": author or "someone"}])

    def note(self, text: str, author: str = "someone") -> None:
        """Add a note."""
        row = {"concept": self.id, "text": text, "author": author or "someone", "at": tables.now()}
        self.study.catalog.insert(tables.notes, [row])

    def notes(self) -> pd.DataFrame:
        """Its notes, oldest first."""
        query = sa.select(tables.notes).where(tables.notes.c.concept == self.id).order_by(tables.notes.c.id)
        return self.study.catalog.frame(query)

    # Where it was found

    @property
    def run(self) -> Run:
        """The run that found it."""
        return self.study.get_run(self.run_id)

    @property
    def place(self) -> tuple[ConceptSet, int]:
        """The concept set that holds it, and its column in that set."""
        return self.run.locate(self.number)

    @property
    def direction(self) -> torch.Tensor:
        """Unit vector ``[d]``: what steering adds."""
        concept_set, column = self.place
        return concept_set.directions()[column]

    # Edits

    def steer(self, strength: float) -> Edit:
        """Add ``strength`` times its unit direction at its site."""
        from workbench.edits import steer

        return steer(self.site, self.direction, strength).sourced(concept=self.id, action="add")

    def ablate(self) -> Edit:
        """Take its direction out of the activations at its site."""
        from workbench.edits import project_out

        return project_out(self.site, self.direction[None]).sourced(concept=self.id, action="ablate")

    def set_latent(self, value: float, keep_error: bool = True) -> Edit:
        """Hold its activation at ``value``; for a latent of a dictionary, see :func:`workbench.edits.set_latent`."""
        from workbench.edits import set_latent

        edit = set_latent(self.site, *self._latent, value, keep_error)
        return edit.sourced(concept=self.id, action="set", keep_error=keep_error)

    def scale_latent(self, factor: float, keep_error: bool = True) -> Edit:
        """Multiply its activation where it fires; for a latent of a dictionary."""
        from workbench.edits import scale_latent

        edit = scale_latent(self.site, *self._latent, factor, keep_error)
        return edit.sourced(concept=self.id, action="scale", keep_error=keep_error)

    @property
    def actions(self) -> tuple[str, ...]:
        """The actions that it supports: names that :meth:`edit` takes."""
        return self.place[0].actions

    def edit(self, action: str, amount: float, keep_error: bool = True) -> Edit:
        """The edit of an action of :attr:`actions`, such as ``concept.edit("add", 6.0)``.

        Raises:
            ConfigError: The concept is no latent, and the action is for latents.
            UnknownNameError: There is no such action.
        """
        if action not in self.actions:
            if action in ACTIONS:
                raise ConfigError(f"'{self.name}' is no latent but a direction ({self.method}): add, clamp or ablate it.")
            raise UnknownNameError("action", action, self.actions)
        if action in LATENT_ACTIONS:
            return (self.set_latent if action == "set" else self.scale_latent)(amount, keep_error)
        makers = {"add": self.steer, "clamp": self.clamp, "ablate": lambda share: self.ablate().strength(share)}
        return makers[action](amount)

    @property
    def _latent(self) -> tuple[ConceptSet, int]:
        concept_set, column = self.place
        return concept_set.located(column)

    def clamp(self, value: float) -> Edit:
        """Hold the activations' coordinate along its direction at ``value``."""
        from workbench.edits import clamp

        return clamp(self.site, self.direction, value).sourced(concept=self.id, action="clamp")

    @property
    def steerable(self) -> bool:
        """Whether the study's model writes text that the concept can change."""
        return bool(self.study.model_record()["kind"] == "decoder")

    @property
    def dose_unit(self) -> float:
        """What a dose of 1 adds: the root mean square distance of its site's activations from their mean."""
        return self.study.dose_unit(self.site)

    @property
    def recommended_push(self) -> float | None:
        """The norm that moved its own tokens most when its direction was added at a cost below 10% of the loss; None where not
        measured. `steer` takes it as it is."""
        rows = self.evidence().query("metric in ['causes.push', 'causes.dose'] and status == 'ok'")
        if rows.empty:
            return None
        newest = rows.iloc[-1]
        value = float(newest["value"])
        # Doses of evidence before `causes.push` are multiples of the mean norm of an activation.
        return value * self.study.typical_norm(self.site) if newest["metric"] == "causes.dose" else value

    @property
    def recommended_dose(self) -> float | None:
        """`recommended_push` in multiples of `dose_unit`."""
        push = self.recommended_push
        return None if push is None else push / self.dose_unit

    # What is known

    def evidence(self) -> pd.DataFrame:
        """Its evidence, the newest row a metric and label."""
        return self.study.catalog.evidence(self.id)

    @property
    def remarks(self) -> list[str]:
        """Warnings: a direction that is mostly one coordinate or nearly that of all others of its set, a kind not installed."""
        from workbench.statistics.degenerate import remarks

        if absent := self.run.not_installed:
            return [absent]
        concept_set, column = self.place
        return remarks(concept_set.directions().detach().cpu().numpy(), column)

    def summary(self) -> pd.Series:
        """How often and how strongly it is present."""
        rows = self.run.tables.where("summary", "number = ?", [self.number])
        return rows.iloc[0] if len(rows) else pd.Series(dtype=float)

    def histogram(self) -> pd.DataFrame:
        """``left, right, count`` of its activation."""
        return self.run.tables.where("histogram", "number = ?", [self.number]).sort_values("left")

    def examples(self, k: int = 12) -> pd.DataFrame:
        """The data's examples where it is strongest: ``rank, example, position, token, value, input``."""
        run = self.run
        table = run.tables.where("examples", "number = ? and rank < ?", [self.number, k]).sort_values("rank")
        dataset = self.study.dataset_of(self.study.activation_set(run.record["inputs"]["activations"]))
        return table.assign(input=dataset.inputs(table["example"].tolist())).reset_index(drop=True)

    def over_tokens(self, example: int) -> pd.DataFrame:
        """Its activation at every position of an example: ``position, token, start, end, value``.

        Read from the captured activations; in a packed study, which has none, the model reads the example again.
        """
        return self.over_tokens_of([example])[0]

    def over_tokens_of(self, examples: Sequence[int]) -> list[pd.DataFrame]:
        """What :meth:`over_tokens` gives for each of some examples, in one go."""
        from workbench.activations.labels import units_at

        acts = self.study.activation_set(self.run.record["inputs"]["activations"])
        if acts.left_out:
            return self.on_texts(self.study.dataset_of(acts).inputs(list(examples)), acts.positions)
        bounds = np.searchsorted(acts.index["example"].to_numpy(), [[example, example + 1] for example in examples])
        concept_set, column = self.place
        tables = []
        for example, (low, high) in zip(examples, bounds.tolist(), strict=True):
            if low == high:
                raise ConfigError(f"Example {example} is not among the captured activations.")
            codes = concept_set.encode_from(units_at(acts, np.arange(low, high), whole=False))[:, column]
            table = acts.index.iloc[low:high][["position", "token", "start", "end"]]
            tables.append(table.assign(value=codes.numpy()).reset_index(drop=True))
        return tables

    def on_text(self, text: str) -> pd.DataFrame:
        """Its activation at every position of a text of your own: ``position, token, start, end, value``."""
        if self.study.model.modality == "text":
            self.study.model.warn_if_cut([text])
        return self.on_texts([text])[0]

    def on_texts(self, texts: Sequence[Any], positions: str = "content") -> list[pd.DataFrame]:
        """What :meth:`on_text` gives for each of a few texts or conversations, in one pass of the model.

        ``positions`` says at which tokens; see `workbench.conversations.POSITIONS`.
        """
        if not texts:
            return []
        model = self.study.model
        batch = model.batch(texts, positions=positions)
        concept_set, column = self.place
        sites = {site: model.site(site) for site in concept_set.reads}
        read = self.study.activation_set(self.run.record["inputs"]["activations"])
        # A concept of a model that was edited is read in that model.
        with model.edited(self.study.edits_of(read)):
            acts = model.activations(batch, list(sites.values()))
        tables = []
        for place, kept in enumerate(batch.keep):
            keep = kept.cpu().numpy()
            spans = batch.spans[place][keep]
            rows = {site: acts[found][place][kept] for site, found in sites.items()}
            tables.append(
                pd.DataFrame(
                    {
                        "position": np.flatnonzero(keep),
                        "token": batch.pieces[place][keep].tolist(),
                        "start": spans[:, 0],
                        "end": spans[:, 1],
                        "value": concept_set.encode_from(rows.__getitem__)[:, column].cpu().numpy(),
                    }
                )
            )
        return tables

    def tokens(self) -> pd.DataFrame:
        """Its own tokens, those that come next where it is present: ``rank, id, token, count, z``; causal models only."""
        return self._of_run("tokens").sort_values("rank")

    def effects(self) -> pd.DataFrame:
        """The tokens that its direction raises and lowers by itself: ``side, rank, id, token, value, z``; causal models only."""
        return self._of_run("effects").sort_values(["side", "rank"], ascending=[False, True])

    def steering(self) -> pd.DataFrame:
        """Its measured dose curves and those of its controls: ``arm, dose, odds, cost, kl`` with intervals; the newest.

        Empty until it was steered by an examination on a causal model.
        """
        return self._examined("steering")

    def side_effects(self) -> pd.DataFrame:
        """What else fires at its recommended dose: ``other, base, steered, shift, null_high, times_null``."""
        return self._examined("side")

    def _of_run(self, table: str) -> pd.DataFrame:
        tables = self.run.tables
        rows = tables.where(table, "number = ?", [self.number]) if table in tables else pd.DataFrame(columns=["rank", "side"])
        return rows.reset_index(drop=True)

    def _examined(self, table: str) -> pd.DataFrame:
        runs = self.study.runs()
        mine = runs["config"].map(lambda c: isinstance(c, dict) and c.get("run") == self.run_id)
        mine &= runs["analysis"].eq(EXAMINATION) & ~repetitions(runs)
        for identifier in reversed(runs.loc[mine, "id"].tolist()):
            found = self.study.get_run(identifier).tables
            if table in found and len(rows := found.where(table, "concept = ?", [self.id])):
                return rows
        return pd.DataFrame()

    def counterparts(self) -> pd.DataFrame:
        """Concepts of other methods at its site that may be the same: cosine, co-firing, their nulls, and the verdict."""
        return self.study.counterparts().query("concept == @self.id").sort_values("cofiring", ascending=False)

    def __repr__(self) -> str:
        return f"<Concept '{self.name}': {self.method} at {self.site}, {self.id}>"


def clean_name(text: str) -> str:
    """Clean a name: one line, no control characters.

    Raises:
        ConfigError: It is blank or longer than 200 characters.
    """
    text = " ".join("".join(c if c.isprintable() or c.isspace() else " " for c in text).split())
    if not text:
        raise ConfigError("A name must have at least one visible character.")
    if len(text) > MAX_NAME:
        raise ConfigError(f"A name may have at most {MAX_NAME} characters; this one has {len(text):,}.")
    return text
