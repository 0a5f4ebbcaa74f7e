"""A report drawn from many runs: a work folder filled with made-up results, one for every cell of a large Fig. 12.

Numbers are drawn at random; what is measured is how long it takes to read and to reduce them. Not a test.
"""

import io
import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
from pyarrow import parquet as pq

from configs.fig12 import fig12
from harness import files, provenance, result
from harness.workdir import Workdir
from tasks.cell import Cell

SETTINGS = ("shots=1,2,4,8,16,all", "resamples=556")
"""Of Fig. 12: 10,009 cells."""


def fill(folder: Path) -> int:
    """Write an accepted result for every cell; returns how many."""
    experiment = fig12(shots=(1, 2, 4, 8, 16, "all"), resamples=556)
    workdir = Workdir(folder)
    workdir.prepare()
    draws = random.Random(0)
    kept: dict[str, str] = {}
    cells = experiment.all_cells()
    with mock.patch("os.fsync", return_value=None):  # nothing here has to outlast a power cut
        for number, cell in enumerate(cells):
            predictions, accuracy = draws.choice(PREDICTED)
            kept[cell.key] = files.sha256(predictions)
            attempt = result.new_attempt(workdir, cell)
            body = body_of(cell, draws, accuracy, kept, number)
            result.seal(attempt, body, {"predictions.parquet": predictions})
            result.accept(attempt)
    workdir.remember("fig12", source="fig12", settings=SETTINGS)
    return len(cells)


def _predictions(seed: int) -> tuple[bytes, float]:
    """Of 300 videos of two blocks and ten classes, as a small cell leaves them; and how many percent of them are right."""
    labels_V = np.arange(300) % 10
    p_VBC = np.random.default_rng(seed).random((300, 2, 10))
    right = 100 * float((p_VBC.mean(axis=1).argmax(axis=1) == labels_V).mean())
    table = {
        "video_id": pa.array([f"v{video:03d}" for video in range(300) for _ in range(2)]),
        "block": pa.array([0, 1] * 300, pa.int32()),
        "label": pa.array(labels_V.repeat(2), pa.int32()),
        **{f"p{place}": pa.array(p_VBC[:, :, place].ravel()) for place in range(10)},
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(table), buffer)
    return buffer.getvalue(), right


PREDICTED = [_predictions(seed) for seed in range(20)]
"""What cells may have answered, and the accuracy that it gives."""


def body_of(
    cell: Cell,
    draws: random.Random,
    accuracy: float = 50.0,
    rests_on: Mapping[str, str] | None = None,
    number: int = 0,
) -> dict[str, object]:
    """What a worker states of an accepted attempt, with the numbers drawn.

    Args:
        cell: what it answered.
        draws: of all other numbers.
        accuracy: that of its predictions.
        rests_on: sha256 of the predictions of the cells that it needs, by their keys.
        number: its place in the order in which cells ran, one a second.
    """
    began = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
    curve = [draws.random() for _ in range(25)]
    machine = {"host": "here", "platform": "Linux", "processor": "CPU", "cores": 2}
    return {
        "cell": cell.key,
        "description": cell.description(),
        "task": type(cell.task).__name__,
        "values": cell.task.values(),
        "seed": cell.seed,
        "rests_on": {
            need.key: {"predictions.parquet": (rests_on or {}).get(need.key, "")}
            for need in cell.needs
        },
        "started": began.isoformat(timespec="seconds"),
        "ended": (began + timedelta(seconds=1)).isoformat(timespec="seconds"),
        "scores": [
            {
                "metric": metric.name,
                "unit": metric.unit,
                "higher_is_better": metric.higher_is_better,
                "value": accuracy if metric.name == "video_accuracy" else 100 * draws.random(),
                "count": 300,
            }
            for metric in type(cell.task).metrics
        ],
        "history": {
            "loss": curve,
            "learning_rate": curve,
            "step": list(range(25)),
            "time": [began.timestamp() + step / 25 for step in range(25)],
        },
        "usage": {
            "elapsed_s": 1.0,
            "cpu_s": 1.0,
            "worker_peak_memory_mib": 300.0,
            "gpu_peak_memory_mib": 0.0,
            "sequences_per_s": 1000.0,
            "ranks": 1,
            "resumed_from_step": 0,
        },
        "provenance": {
            "code": {"commit": "unknown", "dirty": None, "diff_sha256": None},
            "packages": provenance.packages(),
            "machine": machine,
            "job": None,
            "device": "cpu",
            "experiment": "fig12",
            "settings": list(SETTINGS),
            "python": "3.11",
        },
    }


def read_only(folder: Path) -> int:
    """What no report can do without: read every result as JSON; returns how many scores there are."""
    return sum(
        len(json.loads(path.read_bytes())["scores"])
        for path in (folder / "runs").glob(f"*/{result.NAME}")
    )
