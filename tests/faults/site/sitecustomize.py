"""Faults at points of writing, in any process whose PYTHONPATH has this folder and whose HARNESS_FAULT_PLAN names a plan.

Python imports this before anything else of a process, and so of the driver, its workers and the collector alike. A plan is JSON:
  log:    file to which every point that any process reaches is added: a line of pid, role, point and path; beside it, as
          LOG.faults, the faults that happen;
  after:  how many lines of the log do not count, as they are of runs before; none where absent;
  faults: by the number of a line, from 1 on, what happens there, once: the name of a signal (KILL, TERM, INT, STOP) or of an
          error (ENOSPC, EROFS, EDQUOT, EIO), which a write there would raise; "ROLE 3" is the third point of that role, and
          "ROLE link 3" its third of this name;
  from:   number from which on every point raises `error`, as a full disk does; absent where none;
  roles:  whose points count (driver, worker, collector); absent for all.
"""

import errno
import fcntl
import json
import os
import signal
import sys
import threading
from pathlib import Path

PLAN = "HARNESS_FAULT_PLAN"


def role() -> str:
    """What this thread does: work on cells, gather runs in MLflow, or drive."""
    if any(word.endswith(("harness.work", "harness.array_task")) for word in sys.orig_argv):
        return "worker"
    if threading.current_thread().name == "mlflow" or "collect" in sys.orig_argv:
        return "collector"
    return "driver"


def installed(plan_path: Path) -> None:
    """Put the plan's faults in the place of tasks.data.writing.reached, which does nothing."""
    from tasks.data import writing

    plan = json.loads(plan_path.read_text())
    log, faults = Path(plan["log"]), plan.get("faults", {})

    def reached(point: str, path: Path) -> None:
        if role() not in plan.get("roles", [role()]):
            return
        # One order over all processes: a line is counted and added under a lock, and a fault happens after it is let go.
        with log.open("a+b") as lines:
            fcntl.flock(lines, fcntl.LOCK_EX)
            lines.seek(0)
            before = lines.read().decode().splitlines()[plan.get("after", 0) :]
            number = len(before) + 1
            of_role = [each.split("\t", 3)[2] for each in before if each.split("\t")[1] == role()]
            places = (
                str(number),
                f"{role()} {len(of_role) + 1}",
                f"{role()} {point} {of_role.count(point) + 1}",
            )
            happens = next((faults[place] for place in places if place in faults), None)
            if happens is None and "from" in plan and number >= plan["from"]:
                happens = plan["error"]
            lines.write(f"{os.getpid()}\t{role()}\t{point}\t{str(path)!r}\n".encode())
            lines.flush()
            if happens is None:
                return
            with log.with_name(f"{log.name}.faults").open("a") as told:
                told.write(f"{os.getpid()}\t{role()}\t{point}\t{happens}\n")
        if hasattr(errno, happens):
            code = getattr(errno, happens)
            raise OSError(code, os.strerror(code), str(path))
        os.kill(os.getpid(), signal.Signals[f"SIG{happens}"])

    writing.reached = reached


if PLAN in os.environ:
    installed(Path(os.environ[PLAN]))
