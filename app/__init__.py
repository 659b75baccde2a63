"""The web app: pages read a study and call the workbench; no method lives here."""
