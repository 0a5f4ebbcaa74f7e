"""A small real file system for a test: mounted as root, or in a namespace of the user's own, where the test is run once more."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.points import ROOT

INSIDE = "HARNESS_TESTS_MAY_MOUNT"


def mounts(*words: object) -> bool:
    """Whether mounting went well."""
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, check=False)
    return done.returncode == 0


def small_disk(request: pytest.FixtureRequest, folder: Path, megabytes: int) -> Iterator[Path]:
    """A tmpfs of this size in a folder, for a fixture; skips where none may be mounted."""
    folder.mkdir()
    if os.geteuid() == 0 and mounts("-t", "tmpfs", "-o", f"size={megabytes}m", "harness", folder):
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", folder], check=True)
        return
    own = ["unshare", "--user", "--map-root-user", "--mount"]
    if INSIDE in os.environ or subprocess.run([*own, "true"], capture_output=True, check=False).returncode:  # fmt: skip
        pytest.skip("a tmpfs cannot be mounted here, neither as root nor in a user namespace")
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", request.node.nodeid]
    done = subprocess.run(
        [*own, *test], cwd=ROOT, env={**os.environ, INSIDE: "1"}, text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.fail(done.stdout + done.stderr)
    pytest.skip("ran, and passed, in a user namespace, where a tmpfs can be mounted")
