"""Results into a new SQLite store of MLflow: milliseconds a result, files included and without. Not a test.

Run as a module: `python -m tests.benchmarks.collecting [RESULTS]`.
"""

import logging
import random
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

from configs.fig12 import fig12
from harness import result
from harness.store import Store
from harness.workdir import Workdir
from tests.benchmarks import many_runs


def measure(count: int) -> tuple[float, float]:
    """Milliseconds a result: with a file of predictions each, and without."""
    draws = random.Random(0)
    made = fig12(shots=(1, 2, 4), methods=("single_frame", "lstm"), resamples=-(-count // 6))
    cells = made.all_cells()[:count]
    taken = []
    for with_files in (True, False):
        with tempfile.TemporaryDirectory() as name:
            workdir = Workdir(Path(name) / "work")
            workdir.prepare()
            found = []
            with mock.patch("os.fsync", return_value=None):
                for cell in cells:
                    attempt = result.new_attempt(workdir, cell)
                    kept = {"predictions.parquet": many_runs.PREDICTED[0][0]} if with_files else {}
                    result.seal(attempt, many_runs.body_of(cell, draws), kept)
                    result.accept(attempt)
                    accepted = result.read(workdir, cell)
                    assert accepted is not None
                    found.append(accepted)
            store = Store(workdir, "fig12")
            parent = store.open_parent("Collected")
            began = time.perf_counter()
            for cell, each in zip(cells, found, strict=True):
                store.put(cell, each, parent)
            taken.append(1000 * (time.perf_counter() - began) / len(cells))
    return taken[0], taken[1]


if __name__ == "__main__":
    logging.disable(logging.INFO)
    number = int(sys.argv[1]) if sys.argv[1:] else 1000
    whole, without_files = measure(number)
    sys.stdout.write(
        f"{number} results: {whole:.1f} ms each, {without_files:.1f} ms without files\n"
    )
