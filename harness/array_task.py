"""One array task on a cluster: the local launcher, inside what SLURM has allotted.

Run as a module on a compute node: `python -m harness.array_task SUBMISSION ARRAY`. On one node, workers are fed the
task's cells as on a laptop, so that one cell that dies does not take the others of its task along. On several nodes
every node starts torchrun. A signal before the time limit or a preemption makes workers save and leave at a step
boundary; then SLURM is asked to run the task again, where the site allows it.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from harness import files, provenance, result, submission
from harness.order import Order
from harness.submission import CANCELLED
from harness.workdir import Workdir
from slurm import hung, torchrun
from slurm.job import Event, Job
from slurm.local import Local, visible_gpus
from slurm.queue import requeue_this_job
from slurm.worker import INTERRUPTED

SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
GRACE_S = 40.0
"""Seconds for torchrun to end; it gives its workers 30."""
LAST_LINES = 300
"""Lines of torchrun's that are searched for why it failed; its report of a failure is shorter."""


def main(arguments: list[str]) -> int:
    """Carry out the cells of the task that this process is.

    Returns:
        0 when every cell has a result, 1 when one failed, INTERRUPTED when asked to leave.
    """
    folder, array = Path(arguments[0]), arguments[1]
    index = int(os.environ["SLURM_ARRAY_TASK_ID"])
    order = Order.read(folder / "order.json")
    content = json.loads((folder / f"{array}.json").read_bytes())
    workdir = Workdir(Path(order.workdir))
    left = submission.left(folder, f"{os.environ['SLURM_ARRAY_JOB_ID']}_{index}")
    if os.environ.get("SLURM_NODEID", "0") == "0":
        left.unlink(missing_ok=True)  # of the time before a requeue
        broken(left).unlink(missing_ok=True)
    # After a requeue, some are done.
    keys = [key for key in content["tasks"][index] if not workdir.accepted(key).exists()]
    _say(f"task {array}[{index}] has {len(keys)} of {len(content['tasks'][index])} cells to do")
    sentence = _why_not(order)
    if sentence:
        for key in keys:
            result.note_refusal(workdir, key, sentence)
        _say(sentence)
        return 1
    if not content["gpus"]:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # what was not asked for is not taken
    for each in SIGNALS:
        signal.signal(each, _leave)
    before = _progress(workdir, keys)
    try:
        if torchrun.several_nodes():
            failed = _on_several_nodes(folder, workdir, keys, content["ranks_per_node"])
        else:
            logs = folder / "logs" / f"{array}_{index}"
            ranks = content["ranks_per_node"]
            jobs = [
                Job(id=key, ranks=ranks, together=content["kinds"].get(key, "")) for key in keys
            ]
            failed = _on_this_node(folder, workdir, jobs, content["together"], logs)
    except KeyboardInterrupt:
        return _left(folder, left, requeue=content["requeue"], moved=_progress(workdir, keys) != before)  # fmt: skip
    if failed:
        # Before this node's end makes srun end the others: they must not take that for a preemption.
        files.write(broken(left), " ".join(failed).encode())
    return 1 if failed else 0


def _why_not(order: Order) -> str:
    """Why no cell is begun, in a sentence; empty where nothing is in the way."""
    changed = provenance.change_since(order.code)
    if changed:
        return f"the code changed {changed} after this was sent: send it again with `harness run`"
    try:
        hung.patience_s()
    except ValueError as error:
        return str(error)
    return ""


def _on_this_node(
    folder: Path, workdir: Workdir, jobs: list[Job], together: int, logs: Path
) -> list[str]:
    failed = []

    def on_event(event: Event) -> None:
        if event.kind == "failed":
            failed.append(event.job)
            _note(result.note_death, workdir, event.job, event.detail)
        if event.kind != "step":
            _say(f"{event.job[:16]} {event.kind} {event.detail}".strip())

    worker = [sys.executable, "-m", "harness.work", str(folder / "order.json")]
    slots = max((job.ranks for job in jobs), default=1)
    launcher = Local(worker, slots=slots, logs=logs, gpus=visible_gpus(), together=together)
    launcher.run(jobs, on_event)
    return failed


def _on_several_nodes(folder: Path, workdir: Workdir, keys: list[str], ranks: int) -> list[str]:
    failed = []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    for key in keys:
        worker = ["-m", "harness.work", str(folder / "order.json"), key]
        process = subprocess.Popen(
            # torchrun does not know this signal and would die of it; its workers know, and this process tells it.
            [
                "sh",
                "-c",
                "trap '' USR2; exec \"$@\"",
                "sh",
                *torchrun.command(worker, ranks_per_node=ranks),
            ],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        last_words: deque[str] = deque(maxlen=LAST_LINES)
        listener = threading.Thread(target=_pass_on, args=(process, last_words), daemon=True)
        listener.start()
        try:
            code = process.wait()
        except KeyboardInterrupt:
            process.terminate()  # torchrun passes it on, and ranks agree on a step at which they leave
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
        if code:
            failed.append(key)
            listener.join(5.0)
            killed = torchrun.killed_rank("".join(last_words))
            if killed:
                # The ranks that lived on only say that a connection broke: this is why.
                _note(result.note_cause, workdir, key, f"{killed} on {socket.gethostname()}")
            elif os.environ["SLURM_NODEID"] == "0":
                how = f"exited with {code}"
                _note(
                    result.note_death,
                    workdir,
                    key,
                    f"torchrun on the first node {how}: see {folder}/logs",
                )
    return failed


def _note(
    note: Callable[[Workdir, str, str], None], workdir: Workdir, key: str, detail: str
) -> None:
    """Record why a cell failed; where the disk is full it is said in this task's log alone, and the other cells go on."""
    try:
        note(workdir, key, detail)
    except OSError as error:
        _say(f"{key[:16]}: {detail}; that could not be recorded ({error})")


def _pass_on(process: subprocess.Popen[str], last_words: deque[str]) -> None:
    """Send what torchrun and its workers say on to this task's log, and remember the end of it."""
    assert process.stderr is not None
    for line in process.stderr:
        last_words.append(line)
        sys.stderr.write(line)
        sys.stderr.flush()


def broken(left: Path) -> Path:
    """Where a node says that a cell failed there, beside the mark of a task that left."""
    return left.with_name(f"{left.name}-failed")


def _progress(workdir: Workdir, keys: list[str]) -> set[str]:
    """What would be lost if nothing had been done since: results, and the newest checkpoints."""
    found = set()
    for key in keys:
        accepted = workdir.accepted(key)
        found |= {str(path) for path in [accepted] if path.exists()}
        found |= {path.name for path in accepted.parent.glob("attempt-*/checkpoint-*.pt")}
    return found


def _left(folder: Path, left: Path, *, requeue: bool, moved: bool) -> int:
    """After a signal: say so where status looks, and come back where that is wanted and of use.

    Args:
        folder: the submission's.
        left: where to say it.
        requeue: whether the site allows it.
        moved: whether anything was finished or saved since this task began.
    """
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    if os.environ.get("SLURM_NODEID", "0") != "0":
        # The first node that ends with a code takes the others along: the one that asks for a requeue goes first.
        deadline = time.monotonic() + GRACE_S
        while not (left.exists() or broken(left).exists()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return INTERRUPTED
    if broken(left).exists():
        _say("left: a cell failed on another node")
        return 1
    if (folder / CANCELLED).exists():
        said = "left: it was cancelled"
    elif not requeue:
        said = "left; the next `harness run` continues"
    elif not moved and os.environ.get("SLURM_RESTART_COUNT", "0") != "0":
        said = "left; not requeued: nothing was finished or saved since the last time, so the time limit is too short"
    else:
        why_not = requeue_this_job()
        said = f"left; not requeued: {why_not}" if why_not else "left; requeued"
    files.write(left, said.encode())
    _say(said)
    return INTERRUPTED


def _leave(number: int, frame: FrameType | None) -> None:
    """Leave once; a second signal must not break off the leaving."""
    del frame
    for each in SIGNALS:
        signal.signal(each, _heard_already)
    _say(f"asked to leave by {signal.Signals(number).name}")
    raise KeyboardInterrupt


def _heard_already(number: int, frame: FrameType | None) -> None:
    del number, frame


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
