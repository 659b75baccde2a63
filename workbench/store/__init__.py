"""A study on disk: catalog, tables, tensors."""
