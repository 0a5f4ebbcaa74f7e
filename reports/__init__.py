"""Rows in, files out; redrawn on a laptop without torch."""
