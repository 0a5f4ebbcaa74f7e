"""The paper, as data: one file an artefact."""
