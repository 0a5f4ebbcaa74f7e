"""Cells on one rank: open an attempt's folder, build, train, evaluate, seal, accept; several together where that is asked.

Run as a module this is a worker: it is told cells by key on stdin and lives until stdin closes, or it is given keys
as arguments (by torchrun, on several nodes) and ends with them.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from harness import attempt, group, loop, result
from harness import plan as planning
from harness.order import Order
from harness.source import find
from harness.uri import forget_servers
from harness.workdir import Workdir
from slurm import hung
from slurm.ddp import Ranks, joined
from slurm.job import Event
from slurm.launcher import OnEvent
from slurm.worker import StopFlag, carry_out_all, carry_out_one, serve, take_stdout
from tasks.cell import Cell
from tasks.data import signs

LOG = logging.getLogger(__name__)
HUNG = 70
"""Exit code of a rank under torchrun that ended because its job hung."""


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
        self.folder: Path | None = None
        """The attempt in hand."""

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
        if self._ranks.share(self._is_done(cell) if self._ranks.is_first else None):
            return
        earlier = result.attempts(self._workdir, cell) if self._ranks.is_first else []
        folder = Path(
            self._ranks.share(
                str(result.new_attempt(self._workdir, cell)) if self._ranks.is_first else None
            )
        )
        self.folder = folder
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

    def _is_done(self, cell: Cell) -> bool:
        """Whether a cell has a result that can be believed; one that cannot is set aside, and the cell done again."""
        try:
            if result.read(self._workdir, cell) is not None:
                return True
        except result.DamagedResult as error:
            LOG.warning("%s: it is set aside, and the cell is done again", error)
            with suppress(FileNotFoundError):  # another process was first
                result.set_aside(self._workdir, cell)
        # One that was sealed and not accepted is of a worker that was killed in between.
        return planning.take_up(cell, self._workdir)

    def note_hung(self, why: str) -> None:
        """Record why the attempt in hand is ended."""
        LOG.error("%s", why)
        if self.folder is not None:
            result.write_failure(self.folder, error=f"rank {self._ranks.rank}: {why}")

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


def watch(ranks: Ranks, stop: StopFlag, note: Callable[[str], None]) -> None:
    """Under torchrun, nobody but the ranks themselves looks out for those that hang: the first to find out ends them all.

    It asks every rank of its machine where it is, also one that is stopped or cannot run Python, notes why, and exits, whereupon
    torchrun ends the others. Ranks of other machines find out at about the same time.

    Args:
        ranks: this process's place.
        stop: asked for at every step.
        note: takes why, in one line.
    """
    machine = socket.gethostname()
    everyone = ranks.gather((machine, os.getpid()))
    here = {f"rank {rank}": pid for rank, (name, pid) in enumerate(everyone) if name == machine}
    patience_s = hung.patience_s()

    def on_hung() -> None:
        why = hung.sentence(patience_s, {name: hung.ask(pid) for name, pid in here.items()})
        # It writes to the disk that may be what hangs: not in the way of the end.
        threading.Thread(target=note, args=(why,), daemon=True).start()
        time.sleep(hung.LAST_WORDS_S)
        os._exit(HUNG)  # whatever hangs might hold up any other way out

    stop.on_asked = hung.Watch(patience_s, on_hung).sign


def main(arguments: list[str]) -> int:
    """Be a worker."""
    events = take_stdout()
    forget_servers()
    stop = StopFlag()
    stop.on_signals(signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
    prepare_process()
    hung.tell_stacks_when_asked()
    signs.tell(stop.going_on)
    with joined() as ranks:
        worker = Worker(Order.read(Path(arguments[0])), ranks, stop)
        if arguments[1:]:
            watch(ranks, stop, worker.note_hung)
            return carry_out_all(arguments[1:], worker.carry_out)
        return serve(events, stop, worker.carry_out, worker.carry_out_several)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
