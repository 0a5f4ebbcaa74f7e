"""One cell on one rank: open the attempt's folder, build, train, evaluate, seal, accept.

Run as a module this is a worker: it is told cells by key on stdin and lives until stdin closes, or it is given keys
as arguments (by torchrun, on several nodes) and ends with them.
"""

import io
import json
import logging
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save as to_safetensors

from harness import checkpoint, files, loop, provenance, result
from harness.order import Order
from harness.source import find
from harness.workdir import Workdir
from models import fused_lstm
from slurm.ddp import Ranks, joined
from slurm.job import Event, Interrupted
from slurm.launcher import OnEvent
from slurm.worker import StopFlag, carry_out_all, serve, take_stdout
from tasks.cell import Cell
from tasks.task import Needed, Predictions

LOG = logging.getLogger(__name__)


class Worker:
    """Carries out the cells of one experiment, by key."""

    def __init__(
        self,
        order: Order,
        ranks: Ranks,
        stop: Callable[[], bool],
        cells: Mapping[str, Cell] | None = None,
    ) -> None:
        """Make the experiment's cells again from the order, or take them as they are."""
        self._order = order
        self._ranks = ranks
        self._stop = stop
        self._workdir = Workdir(Path(order.workdir))
        if cells is None:
            made = find(order.source).experiment(order.settings)
            cells = {cell.key: cell for cell in made.all_cells()}
        self._cells = cells

    def carry_out(self, key: str, on_event: OnEvent) -> None:
        """Do one cell.

        Raises:
            Interrupted: when a stop was asked for.
            ValueError: when the experiment does not have this cell any more, or the task refuses.
        """
        cell = self._cells.get(key)
        if cell is None:
            raise ValueError(
                f"{self._order.source} no longer makes cell {key[:16]}: its code or its knobs changed after it was sent; "
                "run it again"
            )
        if self._ranks.share(
            result.read(self._workdir, cell) is not None if self._ranks.is_first else None
        ):
            return
        earlier = result.attempts(self._workdir, cell) if self._ranks.is_first else []
        folder = self._ranks.share(
            result.new_attempt(self._workdir, cell) if self._ranks.is_first else None
        )
        with _logged(
            folder / f"log{'' if self._ranks.is_first else f'-rank{self._ranks.rank}'}.txt"
        ):
            try:
                run_cell(
                    cell,
                    self._workdir,
                    folder,
                    earlier=[*earlier, folder],
                    order=self._order,
                    ranks=self._ranks,
                    stop=self._stop,
                    on_step=lambda step, steps: on_event(
                        Event(kind="step", job=key, step=step, steps=steps)
                    ),
                )
            except Interrupted as error:
                LOG.info("%s", error)
                raise
            except Exception as error:
                LOG.exception("the cell failed")
                who = f"rank {self._ranks.rank}: " if self._ranks.num_ranks > 1 else ""
                summary = f"{who}{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
                result.write_failure(folder, error=summary, trace=traceback.format_exc())
                raise


def run_cell(
    cell: Cell,
    workdir: Workdir,
    folder: Path,
    *,
    earlier: list[Path],
    order: Order,
    ranks: Ranks,
    stop: Callable[[], bool],
    on_step: Callable[[int, int], None],
) -> None:
    """Answer one cell on one rank; rank 0 writes.

    Args:
        cell: the question.
        workdir: the work folder.
        folder: this attempt's.
        earlier: folders in which a checkpoint may lie.
        order: with what the worker was started.
        ranks: this process's place.
        stop: whether to leave at the next step boundary.
        on_step: told how far training is.
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
    model = task.build(cell.seed, tuple(needed)).to(ranks.device)
    trained = loop.train(
        task,
        model,
        cell=cell.key,
        seed=cell.seed,
        ranks=ranks,
        folder=folder,
        earlier=earlier,
        should_stop=stop,
        on_step=on_step,
    )
    predictions = loop.evaluate(task, model, ranks, stop)
    scores = list(task.score(predictions))
    used = ranks.gather(
        (
            time.process_time() - cpu,
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
    elapsed = time.monotonic() - began
    sequences = (task.schedule.steps - trained.resumed_from) * task.schedule.batch_size
    body = {
        "cell": cell.key,
        "description": cell.description(),
        "task": type(task).__name__,
        "values": task.values(),
        "seed": cell.seed,
        "rests_on": rests_on,
        "started": started,
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
        "provenance": origin,
    }
    result.seal(folder, body, kept)
    if result.accept(folder):
        LOG.info(
            "accepted: %s",
            ", ".join(f"{s.metric.name} {s.value:.4g} {s.metric.unit}" for s in scores),
        )
        checkpoint.discard(earlier)
    else:
        LOG.warning(
            "another attempt at this cell was accepted before: this one is kept, and not counted"
        )


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


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send everything that is printed or logged to a file, native code's output too."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = os.dup(1), os.dup(2)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    level = root.level
    with path.open("ab") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        sys.stdout.flush()
        sys.stderr.flush()
        for kept, number in zip(before, (1, 2), strict=True):
            os.dup2(kept, number)
            os.close(kept)


def prepare_process() -> None:
    """Settings that numbers depend on: one thread a process on CPUs, deterministic algorithms."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory with NaN, which comes with it, costs 15 to 25 % of a small step and alters no result.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def main(arguments: list[str]) -> int:
    """Be a worker."""
    events = take_stdout()
    stop = StopFlag()
    stop.on_signals(signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
    prepare_process()
    with joined() as ranks:
        worker = Worker(Order.read(Path(arguments[0])), ranks, stop)
        if arguments[1:]:
            return carry_out_all(arguments[1:], worker.carry_out)
        return serve(events, stop, worker.carry_out)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
