"""The trial that every concept stands."""
