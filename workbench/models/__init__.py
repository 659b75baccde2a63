"""Load a model, name its sites, run it, and edit it while it runs."""
