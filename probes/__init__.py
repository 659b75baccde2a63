"""Linear probes as scikit-learn estimators, and their controls."""
