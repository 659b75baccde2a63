"""Concept activation vectors and TCAV on a frozen readout."""

from analyses.concept_activation.analysis import ConceptActivation

__all__ = ["ConceptActivation"]
