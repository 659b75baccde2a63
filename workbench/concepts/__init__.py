"""Sets of concepts and their kinds: linear ones, and the latents of sparse dictionaries; heads over concepts; graphs of them."""

from workbench.concepts.concept_set import ConceptSet, LinearConcepts
from workbench.concepts.dictionary import DictionaryConcepts
from workbench.concepts.graph import Graph
from workbench.concepts.head import Head, HeadFacts, LinearHead

__all__ = ["ConceptSet", "DictionaryConcepts", "Graph", "Head", "HeadFacts", "LinearConcepts", "LinearHead"]
