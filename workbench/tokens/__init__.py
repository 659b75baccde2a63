"""Concepts and the vocabulary of a causal model: the tokens that follow a concept, and those that its direction raises."""
