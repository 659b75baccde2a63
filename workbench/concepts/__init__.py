"""Sets of concepts and their kinds: linear ones, and the latents of sparse dictionaries."""

from workbench.concepts.concept_set import ConceptSet, LinearConcepts
from workbench.concepts.dictionary import DictionaryConcepts

__all__ = ["ConceptSet", "DictionaryConcepts", "LinearConcepts"]
