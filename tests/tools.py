"""Tests that need a program from outside the project skip where it is not there; where the environment says CI=true they fail."""

import os
import shutil

import pytest


def needs(program: str, *others: str) -> str:
    """Where the program is, under the first of its names that is there."""
    for name in (program, *others):
        found = shutil.which(name)
        if found:
            return found
    reason = f"there is no {program} here"
    if os.environ.get("CI") == "true":
        pytest.fail(f"in CI this test must run, but {reason}")
    pytest.skip(reason)
