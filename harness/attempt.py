"""One attempt at a cell: what is recorded and built before training, and what is sealed and accepted after it.

How the model is trained in between, alone or with others, is work.py's and group.py's affair.
"""

import io
import json
import logging
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save as to_safetensors
from torch import nn

from harness import files, loop, memory, provenance, result
from harness.loop import Trained
from harness.order import Order
from harness.workdir import Workdir
from models import fused_lstm
from slurm.ddp import Ranks
from slurm.job import Interrupted, in_one_line
from tasks.cell import Cell
from tasks.task import Needed, Predictions

LOG = logging.getLogger(__name__)
_FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """An attempt that has begun."""

    cell: Cell
    folder: Path
    earlier: list[Path]
    """Folders in which a checkpoint may lie, this one's too."""
    model: nn.Module
    """At step 0, on this rank's device."""
    origin: Mapping[str, Any]
    """How its numbers come about (provenance.py)."""
    rests_on: Mapping[str, Mapping[str, str]]
    """sha256 of what it needs, by cell and file."""
    started: str
    began: float
    """Of the clock that `elapsed_s` is told by."""
    cpu: float
    """Of the clock that `cpu_s` is told by."""

    def of_group(self, keys: Sequence[str], *, elapsed_s: float, cpu_s: float) -> "Attempt":
        """The same, after it was trained together with others.

        Args:
            keys: the cells that were trained together, its own among them.
            elapsed_s: the part of the time since it began that counts as its own.
            cpu_s: the same of CPU seconds.
        """
        return replace(
            self,
            origin={**self.origin, "together": sorted(keys)},
            began=time.monotonic() - elapsed_s,
            cpu=time.process_time() - cpu_s,
        )


def begin(
    cell: Cell,
    workdir: Workdir,
    folder: Path,
    *,
    earlier: list[Path],
    order: Order,
    ranks: Ranks,
) -> Attempt:
    """Record what is attempted, check what it needs, build the model.

    Args:
        cell: the question.
        workdir: the work folder.
        folder: this attempt's.
        earlier: folders in which a checkpoint may lie.
        order: with what the worker was started.
        ranks: this process's place; rank 0 writes.

    Raises:
        ValueError: when a cell that it needs has no result, or the task refuses.
    """
    began, cpu = time.monotonic(), time.process_time()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    task = cell.task
    origin = provenance.of_run(
        device=_device_name(ranks.device),
        command=order.source,
        settings=list(order.settings),
        lstm=fused_lstm.chosen(torch.zeros((), device=ranks.device)),
    )
    LOG.info("cell %s: %s", cell.short, json.dumps(task.values(), sort_keys=True))
    if ranks.is_first:
        files.write_json(
            folder / "cell.json", {"key": cell.key, "label": cell.label, **cell.description()}
        )
        files.write_json(folder / "provenance.json", origin)

    needed, rests_on = [], {}
    if ranks.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(ranks.device)
    for need in cell.needs:
        found = result.read(workdir, need, verify=True)
        if found is None:
            raise ValueError(f"it needs cell {need.short}, which has no accepted result")
        needed.append(Needed(cell=need, folder=found.folder))
        rests_on[need.key] = found.weights()
    return Attempt(
        cell=cell,
        folder=folder,
        earlier=earlier,
        model=task.build(cell.seed, tuple(needed)).to(ranks.device),
        origin=origin,
        rests_on=rests_on,
        started=started,
        began=began,
        cpu=cpu,
    )


def finish(attempt: Attempt, trained: Trained, *, ranks: Ranks, stop: Callable[[], bool]) -> None:
    """Predict, score, seal and accept; rank 0 writes.

    Raises:
        Interrupted: when a stop was asked for.
        ValueError: when the task refuses what it predicted.
    """
    cell, folder, model = attempt.cell, attempt.folder, attempt.model
    task = cell.task
    predictions = loop.evaluate(task, model, ranks, stop)
    scores = list(task.score(predictions))
    used = ranks.gather(
        (
            time.process_time() - attempt.cpu,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            _gpu_peak_mib(ranks.device),
        )
    )
    cpu_s, memory_mib, gpu_mib = zip(*used, strict=True)
    if not ranks.is_first:
        return

    kept = dict(task.files())
    kept["predictions.parquet"] = _parquet(predictions)
    # One entry: safetensors writes several in an order that differs from process to process, and the same weights would then
    # be other bytes, which makes all results that rest on them stale.
    task_told = {**cell.description()["task"], "cell": cell.key}
    about = {"task": json.dumps(task_told, sort_keys=True)}
    for name, tensors in task.products(model).items():
        plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        # A file of weights may go on alone: what it was trained on, and on whose labels, goes with it.
        kept[f"{name}.safetensors"] = to_safetensors(plain, metadata=about)
    elapsed = time.monotonic() - attempt.began
    sequences = (task.schedule.steps - trained.resumed_from) * task.schedule.batch_size
    body = {
        "cell": cell.key,
        "description": cell.description(),
        "task": type(task).__name__,
        "values": task.values(),
        "seed": cell.seed,
        "rests_on": attempt.rests_on,
        "started": attempt.started,
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "scores": [
            {
                "metric": score.metric.name,
                "unit": score.metric.unit,
                "higher_is_better": score.metric.higher_is_better,
                "value": score.value,
                "count": score.count,
            }
            for score in scores
        ],
        "history": trained.history,
        "usage": {
            "elapsed_s": round(elapsed, 3),
            # Over all ranks: the sum of CPU seconds, and the largest peaks of a process.
            "cpu_s": round(sum(cpu_s), 3),
            "worker_peak_memory_mib": round(max(memory_mib), 1),
            "gpu_peak_memory_mib": round(max(gpu_mib), 1),
            "sequences_per_s": round(sequences / trained.seconds, 2) if trained.seconds else 0.0,
            "ranks": ranks.num_ranks,
            "resumed_from_step": trained.resumed_from,
        },
        "provenance": {
            **attempt.origin,
            # Numbers that could not be gone on from say so beside those that came out all the same.
            **({"passed_over": list(trained.passed_over)} if trained.passed_over else {}),
        },
    }
    result.seal(folder, body, kept)
    if result.accept(folder):
        LOG.info(
            "accepted: %s",
            ", ".join(f"{s.metric.name} {s.value:.4g} {s.metric.unit}" for s in scores),
        )
    else:
        LOG.warning(
            "another attempt at this cell was accepted before: this one is kept, and not counted"
        )
    result.discard_checkpoints(attempt.earlier)


@contextmanager
def noted(folder: Path, ranks: Ranks) -> Iterator[None]:
    """See that an attempt which fails inside says why, in its log and in its folder; the error goes on."""
    try:
        yield
    except Interrupted as error:
        LOG.info("%s", error)
        raise
    except Exception as error:
        memory.advise(error)
        LOG.exception("the cell failed")
        who = f"rank {ranks.rank}: " if ranks.num_ranks > 1 else ""
        try:
            result.write_failure(
                folder, error=f"{who}{in_one_line(error)}", trace=traceback.format_exc()
            )
        except (
            OSError
        ) as problem:  # of a full disk, say: the reason goes on to the driver all the same
            LOG.warning("why it failed could not be recorded: %s", problem)
        raise


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Send everything that is printed or logged to a file, native code's output too.

    What was logged, and what was printed last, is lost where the disk is full; nothing else comes of that.

    Raises:
        OSError: when the file cannot be made.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_FORMAT)
    root = logging.getLogger()
    level = root.level
    with path.open("ab") as sink:
        before = os.dup(1), os.dup(2)
        _empty_buffers()
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        _empty_buffers()
        for kept, number in zip(before, (1, 2), strict=True):
            os.dup2(kept, number)
            os.close(kept)


def _empty_buffers() -> None:
    """Write what was printed and not yet written; what cannot be goes nowhere, lest it come up in the next file."""
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except OSError:
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - no path of ours
                os.dup2(nowhere.fileno(), number)
            with suppress(OSError):  # a stream of another kind, which a test put there
                stream.flush()


@contextmanager
def logged_in_each(paths: Sequence[Path]) -> Iterator[None]:
    """As `logged`, for work on several cells at once: what is logged goes to every file, what is printed to the first."""
    first, *others = paths
    root = logging.getLogger()
    with logged(first):
        handlers = [logging.FileHandler(path, encoding="utf-8") for path in others]
        for each in handlers:
            each.setFormatter(_FORMAT)
            root.addHandler(each)
        try:
            yield
        finally:
            for each in handlers:
                root.removeHandler(each)
                each.close()


def _parquet(predictions: Predictions) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(
        pa.table({name: pa.array(column) for name, column in predictions.items()}), buffer
    )
    return buffer.getvalue()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _gpu_peak_mib(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0
