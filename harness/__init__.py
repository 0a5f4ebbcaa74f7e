"""Runs experiments: the one folder that knows all the others."""
