"""Signals as on a terminal; Triton without a GPU; a real SLURM for the tests that ask for one, stopped at the end."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.cluster import ThrowAwaySlurm, why_not

# Started in the background of a script, this process would ignore SIGINT, and so would all that it starts: Ctrl-C could
# not be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Triton asks once, when first imported: then its kernels run on the CPU, slowly, and need no GPU.
os.environ.setdefault("TRITON_INTERPRET", "1")


@contextmanager
def _running(**settings: Any) -> Iterator[ThrowAwaySlurm]:
    reason = why_not()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(f"in CI the SLURM tests must run, but {reason}")
    if reason:
        pytest.skip(reason)
    # Not pytest's own folder: unix sockets allow short names only.
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    cluster = ThrowAwaySlurm(folder, **settings)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def _slurm_of_session() -> Iterator[ThrowAwaySlurm]:
    with _running() as cluster:
        yield cluster


@pytest.fixture
def real_slurm(
    _slurm_of_session: ThrowAwaySlurm, monkeypatch: pytest.MonkeyPatch
) -> ThrowAwaySlurm:
    """Four idle nodes, tn1 to tn4; this test's commands go to them."""
    monkeypatch.setenv("SLURM_CONF", str(_slurm_of_session.conf))
    _slurm_of_session.clear()  # such as the closing job of the test before
    _slurm_of_session.heal()
    return _slurm_of_session


@pytest.fixture
def slurm_with_accounting(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThrowAwaySlurm]:
    """Another cluster, where sacct answers and the controller soon forgets; this test's commands go to it."""
    with _running(accounting=True, memory_of_jobs_s=5) as cluster:
        monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
        yield cluster
