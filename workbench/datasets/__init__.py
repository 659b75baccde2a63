"""Labelled texts and images, with concepts and, where known, where they are."""
