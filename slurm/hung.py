"""Ranks that do nothing any more: how long that is borne, how a rank shows that it goes on, and what it is asked before its end.

A rank that waits for a dead disk, for another rank, or was stopped from outside, would wait for ever. Every rank shows that
it goes on whenever it asks whether to stop: at each step of training and each chunk of an evaluation; and at each piece of
a video that it writes into a store. Where none of a
job's ranks has done so for HARNESS_HUNG_AFTER_S seconds (30 minutes where nothing is said, 0: for ever), all are asked where
they are, which ends up in the cell's logs, and are ended. Building a model, scoring and sealing are between two such signs.

Time counts while whoever watches is awake: a machine that sleeps, or a whole tree of processes that is stopped and goes on
later, harms nothing.
"""

import faulthandler
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

VARIABLE = "HARNESS_HUNG_AFTER_S"
DEFAULT_S = 1800.0
STARTING_S = 120.0
"""Seconds that a rank may take to its first sign, at least: it imports torch, from a disk that may be slow."""
SIGN_EVERY_S = 10.0
"""Seconds between two signs of a rank that goes on, at most."""
LAST_WORDS_S = 5.0
"""Seconds from the question where ranks are to their end."""
ASK = signal.SIGUSR1
"""On which a rank writes the stacks of all its threads."""
_STATES = {"T": "is stopped by a signal", "D": "waits inside the system, as for a disk"}
"""Of a process, where they say something, as /proc names them."""


def patience_s(environment: Mapping[str, str] = os.environ) -> float:
    """Seconds without a sign of any rank after which a job's ranks count as hung; infinity: never.

    Raises:
        ValueError: in one sentence.
    """
    said = environment.get(VARIABLE, "").strip()
    if not said:
        return DEFAULT_S
    try:
        seconds = float(said)
    except ValueError:
        seconds = math.nan
    if seconds == 0:
        return math.inf
    if not 1 <= seconds < math.inf:
        raise ValueError(
            f"{VARIABLE}={said}: it is the number of seconds without a step after which ranks count as hung, 1 or more, or 0 "
            "to wait for ever"
        )
    return seconds


def round_s(patience: float) -> float:
    """Seconds between two looks of whoever watches."""
    return min(1.0, patience / 10)


class Sign:
    """Shows now and then that a rank goes on."""

    def __init__(self, show: Callable[[], None], patience: float) -> None:
        """Make one.

        Args:
            show: called from time to time, not at every sign.
            patience: seconds after which a rank without a sign counts as hung.
        """
        self._show = show
        self._every_s = min(SIGN_EVERY_S, patience / 10)
        self._shown = -math.inf

    def __call__(self) -> None:
        """The rank goes on."""
        now = time.monotonic()
        if now - self._shown >= self._every_s:
            self._shown = now
            self._show()


def tell_stacks_when_asked() -> None:
    """From now on a signal (ASK) or a crash makes this process write the stacks of all its threads to its log (stderr)."""
    faulthandler.enable(file=2)
    # In C, at once: Python's own handlers wait for a main thread that may be what hangs.
    faulthandler.register(ASK, file=2, all_threads=True)


def ask(pid: int) -> str:
    """Ask a process where it is.

    Returns:
        What is known of it, in words that follow its name; empty where nothing is.
    """
    state = _state(pid)
    try:
        os.kill(pid, ASK)
        os.kill(pid, signal.SIGCONT)  # one that is stopped answers when it goes on
    except ProcessLookupError:
        return "is gone"
    return _STATES.get(state, "")


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""  # no /proc on this system, or no such process any more


def sentence(patience: float, known: Mapping[str, str]) -> str:
    """Why a job's ranks are ended, in one line.

    Args:
        patience: seconds without a sign.
        known: what is known of ranks, by their names.
    """
    words = "".join(f"; {name} {each}" for name, each in known.items() if each)
    return (
        f"no step, and no other sign of it, for {patience:g} s ({VARIABLE}){words}; what its ranks were at is at the end of "
        "its logs"
    )


class Watch:
    """A rank's own look at itself, where nobody else watches: under torchrun."""

    def __init__(self, patience: float, on_hung: Callable[[], None]) -> None:
        """Begin to watch.

        Args:
            patience: seconds without a sign after which this process counts as hung.
            on_hung: called then, once, in another thread; it may end the process.
        """
        self._patience, self._on_hung = patience, on_hung
        self._signs = threading.Event()
        if patience < math.inf:
            threading.Thread(target=self._look, daemon=True, name="watch").start()

    def sign(self) -> None:
        """The rank goes on."""
        self._signs.set()

    def _look(self) -> None:
        quiet_s, each_s = 0.0, round_s(self._patience)
        while quiet_s < self._patience:
            time.sleep(each_s)
            quiet_s = 0.0 if self._signs.is_set() else quiet_s + each_s
            self._signs.clear()
        self._on_hung()
