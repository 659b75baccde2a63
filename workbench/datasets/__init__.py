"""Labelled texts and images, with concepts and, where known, where they are."""

from __future__ import annotations

from workbench.datasets.columns import Label
from workbench.datasets.dataset import Dataset
from workbench.datasets.load import dataset_from_table, load_dataset
from workbench.datasets.paths import data_dir
from workbench.datasets.vocabulary import load_vocabulary

__all__ = ["Dataset", "Label", "data_dir", "dataset_from_table", "load_dataset", "load_vocabulary"]
