"""Kinds of concept sets and of heads by name; a package offers one by an entry point, see `workbench.kinds`."""

from __future__ import annotations

from workbench.kinds import Kinds

SETS = Kinds("concept_workbench.concept_kinds", "kind of concept set", "Concepts")
HEADS = Kinds("concept_workbench.head_kinds", "kind of head", "Heads")
