"""Architectures, in torch and nothing else."""
