"""Edits that a study has, fitted ones of its runs and those of its concepts: by name, and as activation sets record them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, ValidationError

from workbench.activations.manifest import edit_text
from workbench.edits.actions import ACTIONS
from workbench.edits.edit import Edit, Edits, positions_from_json
from workbench.errors import ConfigError, StudyError
from workbench.shapes import faults, reading

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.study import Study

FORMS = "RUN/EDIT, RUN/EDIT=STRENGTH, CONCEPT=AMOUNT or CONCEPT=ACTION:AMOUNT"


class Source(BaseModel):
    """Where a study has what an edit holds: a run and one of its fitted edits, or a concept and what is done to it."""

    run: str = ""
    edit: str = ""
    concept: str = ""
    action: str = "add"
    keep_error: bool = True


class EditRecord(BaseModel):
    """An edit as `workbench.edits.Edit.record` writes it, of one that a study has."""

    source: Source
    site: str
    strength: float | None = Field(default=None, allow_inf_nan=False)
    positions: Any = None
    special: bool = False
    sha256: str


def edits_of(study: Study, acts: ActivationSet) -> Edits:
    """The edits that a set of activations was captured under; none of a set that was captured without.

    Raises:
        StudyError: A run or a concept that they are of is no more, or is not what it was.
        NotInstalledError: One is of a kind that is not installed here.
    """
    return Edits(_edit_of(study, record, acts.id) for record in acts.edits)


def _edit_of(study: Study, record: Mapping[str, Any], acts: str) -> Edit:
    if "source" not in record:
        with reading(f"An edit that the activations {acts} were captured under", "Capture them again."):
            return Edit.from_dict(record)
    try:
        known = EditRecord.model_validate(record)
    except ValidationError as error:
        raise StudyError(
            f"An edit that the activations {acts} were captured under is recorded as none is: {faults(error)}."
        ) from None
    found = _found(study, known)
    edit = found.at(positions_from_json(known.positions), known.special)
    if edit.digest() != known.sha256 or str(edit.site) != known.site:
        raise StudyError(
            f"The activations {acts} were captured under {edit_text(record)}, which is another edit now: capture them again."
        )
    return edit


def _found(study: Study, record: EditRecord) -> Edit:
    source = record.source
    if source.run:
        edit = study.get_run(source.run).edits[source.edit]
        return edit if record.strength is None else edit.strength(record.strength)
    return study.concept(source.concept).edit(source.action, record.strength or 0.0, source.keep_error)


def edit_called(study: Study, text: str) -> Edit:
    """The edit that a text names: ``RUN/EDIT`` or ``RUN/EDIT=STRENGTH`` a fitted edit of a run, ``CONCEPT=AMOUNT`` or
    ``CONCEPT=ACTION:AMOUNT`` what is done to a concept (see `workbench.edits.actions`).

    Raises:
        ConfigError: It is of another form.
        UnknownNameError: There is no such run, edit or concept.
    """
    name, _, amount = text.rpartition("=") if "=" in text else (text, "", "")
    run, slash, edit = name.partition("/")
    action, _, size = amount.rpartition(":")
    try:
        strength = float(size) if amount else None
    except ValueError:
        strength = None
    if not name or (amount and strength is None) or (slash and action) or not (slash or amount) or action not in {"", *ACTIONS}:
        raise ConfigError(f"An edit of a study is named {FORMS}, not {text[:100]!r}.")
    if slash:
        fitted = study.get_run(run).edits[edit]
        return fitted if strength is None else fitted.strength(strength)
    assert strength is not None
    return study.concept(name).edit(action or "add", strength)


def chosen_edits(study: Study, under: Any) -> Edits:
    """Edits as a caller gives them: an edit, several, or what `edit_called` takes in place of any of them.

    Raises:
        ConfigError: Something else is among them.
    """
    given = [under] if isinstance(under, Edit | str) else list(under)
    edits = [edit_called(study, one) if isinstance(one, str) else one for one in given]
    for edit in edits:
        if not isinstance(edit, Edit | Edits):
            raise ConfigError(
                f"Activations are captured under edits, not under a {type(edit).__name__}: run.edits has fitted ones."
            )
    return Edits(edits)


def parents_of(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """The runs that recorded edits are of, each once."""
    found: dict[str, None] = {}
    for record in records:
        source = record.get("source")
        if isinstance(source, Mapping):
            run, concept = source.get("run"), source.get("concept")
            of = run if isinstance(run, str) and run else concept.rpartition(".")[0] if isinstance(concept, str) else ""
            found |= {of: None} if of else {}
    return list(found)


def require_unedited(acts: ActivationSet, what: str) -> None:
    """`ConfigError` for activations that were captured under an edit, where something reads the model without it."""
    if acts.edits:
        raise ConfigError(
            f"The activations {acts.id} were captured under {acts.under}, and {what} without it: take activations of the model as"
            " it is."
        )
