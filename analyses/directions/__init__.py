"""Concept activation vectors and TCAV on a frozen readout."""

from analyses.directions.concept_activation import ConceptActivation

__all__ = ["ConceptActivation"]
