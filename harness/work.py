"""Cells on one rank: open an attempt's folder, build, train, evaluate, seal, accept; several together where that is asked.

Run as a module this is a worker: it is told cells by key on stdin and lives until stdin closes, or it is given keys
as arguments (by torchrun, on several nodes) and ends with them.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from harness import attempt, group, loop, result
from harness import plan as planning
from harness.order import Order
from harness.source import find
from harness.uri import forget_servers
from harness.workdir import Workdir
from slurm.ddp import Ranks, joined
from slurm.job import Event
from slurm.launcher import OnEvent
from slurm.worker import StopFlag, carry_out_all, carry_out_one, serve, take_stdout
from tasks.cell import Cell


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
            result.read(self._workdir, cell) is not None
            or planning.take_up(
                cell, self._workdir
            )  # of a worker that was killed before it was accepted
            if self._ranks.is_first
            else None
        ):
            return
        earlier = result.attempts(self._workdir, cell) if self._ranks.is_first else []
        folder = self._ranks.share(
            result.new_attempt(self._workdir, cell) if self._ranks.is_first else None
        )
        name = f"log{'' if self._ranks.is_first else f'-rank{self._ranks.rank}'}.txt"
        with attempt.logged(folder / name), attempt.noted(folder, self._ranks):
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

    def carry_out_several(self, keys: Sequence[str], on_event: OnEvent) -> None:
        """Do several cells, as far as may be by training them together; tells how each of them ended.

        Raises:
            Interrupted: when a stop was asked for.
        """
        alone = list(keys)
        if self._ranks.num_ranks == 1:
            cells = [self._cells[key] for key in keys if key in self._cells]
            for members in group.form(cells, self._workdir):
                left = group.carry_out(
                    members,
                    self._workdir,
                    order=self._order,
                    ranks=self._ranks,
                    stop=self._stop,
                    on_event=on_event,
                )
                alone = [key for key in alone if key in left or key not in members]
        failed: list[str] = []

        def tell(event: Event) -> None:
            if event.kind == "failed":
                failed.append(event.job)
            on_event(event)

        for key in alone:
            if failed and self._ranks.device.type == "cuda":
                raise RuntimeError(
                    f"cell {failed[-1][:16]} failed on a GPU, whose errors can outlast it: this process ends, and the cells "
                    "that it still had in hand are given out again"
                )
            carry_out_one(key, self.carry_out, tell)


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
    begun = attempt.begin(cell, workdir, folder, earlier=earlier, order=order, ranks=ranks)
    trained = loop.train(
        cell.task,
        begun.model,
        cell=cell.key,
        seed=cell.seed,
        ranks=ranks,
        folder=folder,
        earlier=earlier,
        should_stop=stop,
        on_step=on_step,
    )
    attempt.finish(begun, trained, ranks=ranks, stop=stop)


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
    forget_servers()
    stop = StopFlag()
    stop.on_signals(signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
    prepare_process()
    with joined() as ranks:
        worker = Worker(Order.read(Path(arguments[0])), ranks, stop)
        if arguments[1:]:
            return carry_out_all(arguments[1:], worker.carry_out)
        return serve(events, stop, worker.carry_out, worker.carry_out_several)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
