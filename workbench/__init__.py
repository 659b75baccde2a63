"""Concept Workbench: find, name, test and intervene on the concepts inside a model."""
