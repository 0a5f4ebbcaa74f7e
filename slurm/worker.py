"""The worker's end of the local pool: job ids come in on stdin, events go out on what was stdout.

stdout itself is turned into a log first, so that nothing a job prints can be taken for an event. When stdin
closes, whoever started the worker is gone or done with it: the job in hand is asked to stop.
"""

import json
import logging
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from types import FrameType
from typing import TextIO

from slurm.hung import Sign, patience_s
from slurm.job import Event, Interrupted, in_one_line
from slurm.launcher import OnEvent

INTERRUPTED = 75
"""Exit code of a worker that left at a step boundary because it was asked to."""


def _nothing() -> None:
    """Take no notice."""


class StopFlag:
    """Whether a stop was asked for, by signal or because the driver is gone. Handlers only set it."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.on_asked: Callable[[], None] = _nothing
        """Called whenever this process asks: it is at a step boundary, and goes on."""

    def __call__(self) -> bool:
        """Whether to stop at the next step boundary."""
        self.going_on()
        return self._event.is_set()

    def going_on(self) -> None:
        """Say that this process goes on, where it is no step boundary."""
        self.on_asked()

    def set(self) -> None:
        """Ask for a stop."""
        self._event.set()

    def on_signals(self, *signals: signal.Signals) -> None:
        """Set the flag when one of these arrives."""

        def handler(number: int, frame: FrameType | None) -> None:
            del number, frame
            self.set()

        for each in signals:
            signal.signal(each, handler)


def take_stdout() -> TextIO:
    """Keep stdout for events, and send what is printed from now on to stderr, the worker's log."""
    sys.stdout.flush()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events


def carry_out_all(jobs: Sequence[str], carry_out: Callable[[str, OnEvent], None]) -> int:
    """Carry out these jobs and end; the first that fails ends the process, whose other ranks wait for it in vain.

    Returns:
        The process's exit code.
    """
    for job in jobs:
        try:
            carry_out(job, lambda event: None)
        except Interrupted:
            return INTERRUPTED
        except Exception:
            logging.getLogger(__name__).exception("job %s failed", job)
            return 1
    return 0


def carry_out_one(job: str, carry_out: Callable[[str, OnEvent], None], tell: OnEvent) -> None:
    """Carry out a job and tell how it ended: an error is an event, the worker lives on.

    Args:
        job: its id.
        carry_out: raises `Interrupted` to stop, any other exception to fail the job.
        tell: takes events.

    Raises:
        Interrupted: when a stop was asked for.
    """
    try:
        carry_out(job, tell)
    except Interrupted:
        raise
    except Exception as error:  # noqa: BLE001 - see above
        tell(Event(kind="failed", job=job, detail=in_one_line(error)))
    else:
        tell(Event(kind="done", job=job))


def serve(
    events: TextIO,
    stop: StopFlag,
    carry_out: Callable[[str, OnEvent], None],
    together: Callable[[Sequence[str], OnEvent], None] | None = None,
) -> int:
    """Carry out jobs by id until stdin closes; a line names one, or several that are given together.

    Args:
        events: from `take_stdout`.
        stop: set when the process is asked to stop.
        carry_out: does one job; raises `Interrupted` to stop, any other exception to fail the job.
        together: does several and tells how each ended; raises `Interrupted` to stop, any other exception to end this process.
            None does one after the other.

    Returns:
        The process's exit code.
    """
    incoming: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            incoming.put(line.strip())
        stop.set()
        incoming.put(None)

    def tell(event: Event) -> None:
        try:
            events.write(json.dumps(asdict(event)) + "\n")
            events.flush()
        except BrokenPipeError:
            stop.set()

    sign = Sign(lambda: tell(Event(kind="alive", job="")), patience_s())
    threading.Thread(target=listen, daemon=True, name="driver").start()
    while not stop():
        try:
            line = incoming.get(timeout=0.5)
        except queue.Empty:
            continue
        if line is None or stop():
            break  # a job that came with a driver's last breath is not begun
        # Only with a job in hand: a rank that waits for its next one says nothing of the others, which may hang in this one.
        stop.on_asked = sign
        sign()
        try:
            jobs = line.split()
            if together is not None and len(jobs) > 1:
                together(jobs, tell)
            else:
                for job in jobs:
                    carry_out_one(job, carry_out, tell)
        except Interrupted:
            return INTERRUPTED
        finally:
            stop.on_asked = _nothing
    return 0
