"""`make torture`: small runs are killed, interrupted, stopped and starved of disk at random, for as long as it is told to.

    python -m tests.faults.torture --seed 1 --duration 3600
    python -m tests.faults.torture --seed 1 --trial 17        # that one again

A trial is a work folder: some runs of an experiment of a random size, each with several faults, at points of writing or at any
time, in any of its processes; then the same command once more, without faults. What trials.py calls wrong breaks a bar. A
summary and JSON are printed, and the exit code is 1 when a bar was broken; the folder of such a trial is kept. Reports say of
what commit they are, so the code must not be altered meanwhile.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from harness import provenance
from tests.faults.trials import Running, Trial

SIZES: tuple[Mapping[str, object], ...] = (
    {"resamples": 2, "steps": 3},
    {"resamples": 3, "steps": 2, "lstm": True},
    {"resamples": 8, "steps": 1},
    {"resamples": 8, "steps": 1, "lstm": True},
)
OPTIONS = ((), ("--jobs", "1"), ("--jobs", "2"), ("--together", "2"), ("--cluster", "inline"))
SIGNALS = ("KILL",) * 9 + ("TERM", "INT", "STOP", "40")
"""What a process is sent at any time; 40 is a signal that has no name."""
AT_POINTS = ("KILL",) * 9 + ("TERM", "INT", "STOP", "ENOSPC", "EIO")
RUNS = (3, 6)
"""Runs with faults, at least and at most."""
FAULTS = (3, 10)
"""Faults planned in each of them, at least and at most; not all come about, as one may end the run."""
WORKERS_ALONE = 0.6
"""Part of the runs in which faults meet workers alone: the run survives them, and so meets more of them."""
BARS = (
    "lost",
    "repeated",
    "missing",
    "leftovers",
    "differing reports",
    "not once in MLflow",
    "did not end well",
)


@dataclass
class Counts:
    """What came of all trials."""

    trials: int = 0
    runs: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    cells: int = 0
    """Accepted, over all trials."""
    broken: dict[str, int] = field(default_factory=lambda: dict.fromkeys(BARS, 0))
    failures: list[dict[str, object]] = field(default_factory=list)


class Torture:
    """Trials by number, all from one seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.folder = seed, folder
        self.counts = Counts()
        self._lock = threading.Lock()
        self._undisturbed: dict[str, Trial] = {}
        self._code = provenance.code()

    def undisturbed(self, settings: Mapping[str, object]) -> Trial:
        """A run of this size without faults; made once."""
        with self._lock:
            name = "-".join(map(str, settings.values()))
            if name not in self._undisturbed:
                trial = Trial(self.folder / f"undisturbed-{name}", settings)
                trial.folder.mkdir()
                ended = trial.run()
                if ended.code or trial.wrong(trial):
                    raise RuntimeError(f"without faults it fails already: {trial.wrong(trial)}\n{ended.told}")  # fmt: skip
                self._undisturbed[name] = trial
            return self._undisturbed[name]

    def trial(self, number: int) -> None:
        """Do one trial, and count what came of it."""
        drawn = random.Random(f"{self.seed}/{number}")
        settings = drawn.choice(SIZES)
        undisturbed = self.undisturbed(settings)
        trial = Trial(self.folder / f"trial-{number}", settings, drawn.choice(OPTIONS))
        trial.folder.mkdir()
        runs, wrong, told = 0, {}, ""
        try:
            for _ in range(drawn.randint(*RUNS)):
                self._disturbed(trial, undisturbed, drawn)
                runs += 1
            ended = trial.run()
            runs += 1
            told = ended.told
            wrong = trial.wrong(undisturbed)
            if ended.code or "Traceback" in told:
                wrong["did not end well"] = [f"exit {ended.code}"]
        except Exception:  # noqa: BLE001 - a trial that cannot be done to its end is one that failed
            wrong, told = {"did not end well": ["see what it told"]}, traceback.format_exc()
        finally:
            trial.end_all()
        if provenance.code() != self._code:
            raise RuntimeError("the code was altered while it was tried: begin again, and leave it as it is meanwhile")  # fmt: skip
        with self._lock:
            self.counts.trials += 1
            self.counts.runs += runs
            self.counts.faults += trial.faults
            self.counts.cells += len(trial.accepted)
            for bar, names in wrong.items():
                self.counts.broken[bar] += len(names)
            if wrong:
                failure = {
                    "again": f"python -m tests.faults.torture --seed {self.seed} --trial {number}",
                    "folder": str(trial.folder),
                    "wrong": wrong,
                    "told": told[-2000:],
                }
                self.counts.failures.append(failure)
                print(json.dumps(failure, indent=1), file=sys.stderr, flush=True)  # noqa: T201
            verdict = f"{', '.join(wrong)} (!)" if wrong else "all as it should be"
            print(  # noqa: T201
                f"trial {number}: {runs} runs, {trial.faults.total()} faults, {verdict}; {self.counts.faults.total()} faults so far",
                file=sys.stderr,
                flush=True,
            )
        if not wrong:
            shutil.rmtree(trial.folder)

    def _disturbed(self, trial: Trial, undisturbed: Trial, drawn: random.Random) -> None:
        """One run with faults."""
        planned = drawn.randint(*FAULTS)
        by_point = drawn.randint(0, planned)
        reached = Counter(point.role for point in undisturbed.points)
        spared = drawn.random() < WORKERS_ALONE
        roles = ["worker"] if spared else sorted(reached)
        faults: dict[int | str, str] = {}
        for _ in range(by_point):
            role = drawn.choice(roles)
            faults[f"{role} {drawn.randint(1, reached[role])}"] = drawn.choice(AT_POINTS)
        more: dict[str, object] = {}
        if drawn.random() < 0.1:  # a disk that stays full
            more = {"from": drawn.randint(1, reached.total()), "error": "ENOSPC"}
        words = ("collect", "small") if trial.accepted and drawn.random() < 0.2 else ()
        running = trial.start(*words, faults=faults, **more)
        over, harm = threading.Event(), Counter[str]()
        moments = [drawn.uniform(0, undisturbed.seconds / 3) for _ in range(planned - by_point)]
        choices = random.Random(drawn.random())
        beside = threading.Thread(
            target=_harm, args=(running, moments, choices, over, harm, spared)
        )
        beside.start()
        try:
            running.ended()
        finally:
            over.set()
            beside.join()
            trial.faults += harm


def _harm(
    running: Running,
    moments: list[float],
    drawn: random.Random,
    over: threading.Event,
    harm: Counter[str],
    spared: bool,
) -> None:
    """Send signals to any of a trial's processes while a run goes on.

    Args:
        running: the run.
        moments: seconds after the one before.
        drawn: says what, and to whom.
        over: set when the run has ended.
        harm: counts what was sent.
        spared: whether the driver is.
    """
    for moment in moments:
        if over.wait(moment):
            return
        pids = [
            pid for pid in running.trial.processes() if not (spared and pid == running.process.pid)
        ]
        if not pids:
            continue
        pid, name = drawn.choice(pids), drawn.choice(SIGNALS)
        try:
            os.kill(pid, int(name) if name.isdigit() else signal.Signals[f"SIG{name}"])
        except ProcessLookupError:
            continue
        harm[name] += 1


def main(arguments: list[str]) -> int:
    """Do trials until the time is over.

    Returns:
        0, or 1 when a bar was broken.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--duration", type=float, default=3600.0, help="seconds")
    parser.add_argument("--trial", type=int, help="this one alone")
    parser.add_argument("--at-once", type=int, default=2, help="trials at the same time")
    parser.add_argument("--out", type=Path, help="a file for the JSON, too")
    given = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="torture-"))
    torture = Torture(given.seed, folder)
    began = time.monotonic()
    if given.trial is not None:
        torture.trial(given.trial)
    else:
        numbers, lock = iter(range(1 << 31)), threading.Lock()

        def work() -> None:
            while time.monotonic() - began < given.duration:
                with lock:
                    number = next(numbers)
                torture.trial(number)

        with ThreadPoolExecutor(given.at_once) as pool:
            for each in [pool.submit(work) for _ in range(given.at_once)]:
                each.result()
    return _told(torture, time.monotonic() - began, given.out)


def _told(torture: Torture, seconds: float, out: Path | None) -> int:
    """Say what came of it."""
    counts = torture.counts
    content = {
        "seed": torture.seed,
        "seconds": round(seconds),
        "trials": counts.trials,
        "runs": counts.runs,
        "faults": dict(counts.faults),
        "cells": counts.cells,
        **counts.broken,
        "failures": counts.failures,
    }
    text = json.dumps(content, indent=1)
    print(text)  # noqa: T201
    if out is not None:
        out.write_text(text + "\n")
    broken = ", ".join(f"{number} {bar}" for bar, number in counts.broken.items())
    print(  # noqa: T201
        f"In {seconds / 60:.0f} minutes (seed {torture.seed}), {counts.trials} trials with {counts.runs} runs met "
        f"{counts.faults.total()} faults, {counts.faults['KILL']} of them SIGKILL, and accepted {counts.cells} cells: {broken}."
    )
    if counts.failures:
        print(f"Folders of trials that failed are kept in {torture.folder}.")  # noqa: T201
        return 1
    shutil.rmtree(torture.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
