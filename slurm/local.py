"""This machine: a bounded pool of worker processes that are fed one job after the other.

A worker is a group of `ranks` processes started with torchrun's environment. It stays alive from job to job, so
`import torch` is paid once per worker and not once per job. It may be given several jobs at once that go together. A
job whose worker died without a word (SIGKILL, out of memory), or hung (slurm.hung), is tried again, alone; a job that raised
is not.
"""

import itertools
import json
import os
import selectors
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from slurm import death, hung
from slurm.job import Event, Job, by_priority, done_before
from slurm.launcher import OnEvent
from slurm.meeting import LISTENING, meeting_place, torchrun_environment

TRIES = 3
"""How often a job is started whose workers die."""
GRACE_S = 20.0
"""Seconds that workers have to leave at a step boundary before they are killed."""


@dataclass(eq=False)
class _Rank:
    process: subprocess.Popen[bytes]
    buffer: bytes = b""
    open: bool = True


@dataclass(eq=False)
class _Group:
    """The processes that carry out a job, or several jobs together."""

    ranks: list[_Rank]
    log: Path
    jobs: dict[str, set[int]] = field(default_factory=dict)
    """Ids of the jobs in hand, and which ranks have finished each."""
    spent: bool = False
    """Whether it ends with the jobs in hand."""
    quiet_s: float = 0.0
    """Seconds since the last sign of any rank, as far as this process was awake."""
    patience_s: float = hung.STARTING_S
    """After how many of them it is ended."""
    asked: str = ""
    """Why it is to end, once its ranks were asked where they are."""
    end_at: float = 0.0
    """When, by the monotonic clock."""
    killed_before: int | None = None
    """`death.killed_for_memory` when it began."""

    def send(self, jobs: Sequence[Job]) -> None:
        self.jobs = {job.id: set() for job in jobs}
        self.quiet_s = 0.0
        for rank in self.ranks:
            # A rank that is gone is noticed when its events end.
            with suppress(BrokenPipeError):
                assert rank.process.stdin is not None
                rank.process.stdin.write(f"{' '.join(self.jobs)}\n".encode())
                rank.process.stdin.flush()


class Local:
    """A launcher with a bounded number of processes on this machine."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        slots: int,
        logs: Path,
        gpus: Sequence[str] = (),
        together: int = 1,
        kept: Sequence[int] = (),
    ) -> None:
        """Make a launcher, which has as much patience with workers that hang as HARNESS_HUNG_AFTER_S says.

        Args:
            command: starts one process of a worker (see `slurm.worker`).
            slots: processes that work at the same time; a job of more ranks than slots runs alone.
            logs: folder for what workers say outside any job.
            gpus: ids of this machine's GPUs; each process sees one of them, in turn.
            together: jobs that a worker is given together, at most, where they may be (`Job.together`).
            kept: open files that workers keep open as long as they live; a lock on one outlives a driver that is killed.

        Raises:
            ValueError: when HARNESS_HUNG_AFTER_S is no number of seconds.
        """
        self._patience_s = hung.patience_s()
        self._command = list(command)
        self._slots = slots
        self._logs = logs
        self._gpus = gpus
        self._together = together
        self._kept = tuple(kept)
        self._groups: list[_Group] = []
        self._started = 0
        self._selector = selectors.DefaultSelector()
        self._looked = time.monotonic()

    def run(self, jobs: Sequence[Job], on_event: OnEvent) -> None:
        """Carry out all jobs (see `Launcher.run`)."""
        waiting = by_priority(jobs)
        done = done_before(jobs)
        tries: Counter[str] = Counter()
        broken: set[str] = set()
        by_id = {job.id: job for job in jobs}
        try:
            self._tell(self._feed(waiting, done, tries), on_event)
            while waiting or any(group.jobs for group in self._groups):
                news = []
                for event in self._listen() + self._look_out():
                    told = event
                    if event.kind == "done":
                        done.add(event.job)
                    elif event.kind == "failed":
                        broken.add(event.job)
                    elif event.kind == "lost" and tries[event.job] < TRIES:
                        waiting.insert(0, by_id[event.job])
                    elif event.kind == "lost":
                        broken.add(event.job)
                        detail = f"{TRIES} times in a row: {event.detail}"
                        told = Event(kind="failed", job=event.job, detail=detail)
                    news.append(told)
                if any(event.kind == "failed" for event in news):
                    news += _skip(waiting, broken)
                # Workers get their next job first: they do not wait until what happened is told, which may take a while.
                if any(event.kind != "step" for event in news) or not self._busy():
                    news += self._feed(waiting, done, tries)
                self._tell(news, on_event)
        finally:
            self.close()

    @staticmethod
    def _tell(news: Sequence[Event], on_event: OnEvent) -> None:
        for event in news:
            on_event(event)

    def _busy(self) -> int:
        """Processes that have a job."""
        return sum(len(group.ranks) for group in self._groups if group.jobs)

    def _feed(self, waiting: list[Job], done: set[str], tries: Counter[str]) -> list[Event]:
        """Hand out jobs while there are free slots."""
        started: list[Event] = []
        for job in list(waiting):
            if not done.issuperset(job.needs):
                continue
            if job not in waiting:
                continue  # given away with one before it
            busy = self._busy()
            if busy and busy + job.ranks > self._slots:
                break  # not the next one either: a job of many ranks must not starve behind small ones
            idle = (g for g in self._groups if not g.jobs and len(g.ranks) == job.ranks)
            group = next(idle, None) or self._start(job.ranks)
            given = self._with_others(job, waiting, done, tries, self._slots - busy)
            for each in given:
                waiting.remove(each)
                tries[each.id] += 1
            group.send(given)
            started += [Event(kind="started", job=each.id) for each in given]
        return started

    def _with_others(
        self, job: Job, waiting: list[Job], done: set[str], tries: Counter[str], free: int
    ) -> list[Job]:
        """A job, and those that are given to its worker with it.

        No more than an even share of them for every free slot, so that none idles. A job whose worker died is given
        alone: it may be what killed the others.
        """
        if self._together < 2 or not job.together or job.ranks > 1 or tries[job.id]:
            return [job]
        alike = [
            each
            for each in waiting
            if each.together == job.together
            and each.ranks == 1
            and not tries[each.id]
            and done.issuperset(each.needs)
        ]
        share = -(-len(alike) // max(1, free))
        others = [each for each in alike if each is not job]
        return [job, *others[: min(self._together, share) - 1]]

    def _start(self, num_ranks: int) -> _Group:
        number = self._started
        self._started += 1
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"worker-{os.getpid()}-{number}.log"
        # Bound here, so that nobody else takes the port before rank 0 listens at it.
        meeting = meeting_place() if num_ranks > 1 else None
        port = meeting.getsockname()[1] if meeting else 0
        ranks = []
        for rank in range(num_ranks):
            environment = dict(os.environ)
            environment.update(torchrun_environment(rank, num_ranks, port))
            # One thread a process: results do not depend on how many processes share the machine.
            # DDP warns at every start that it looks for unused parameters; the loop says why it does.
            environment.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
            environment["OMP_NUM_THREADS"] = environment["MKL_NUM_THREADS"] = "1"
            # What is left of the machine for other work of this process, such as decoding beside a GPU.
            environment["HARNESS_CORES"] = str(max(1, (os.cpu_count() or 1) // self._slots))
            if self._gpus:
                environment["CUDA_VISIBLE_DEVICES"] = self._gpus[(number + rank) % len(self._gpus)]
            # Ranks of one machine have nothing to say outside it, on GPUs neither.
            for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
                environment[name] = "lo0" if sys.platform == "darwin" else "lo"
            inherited = [*self._kept]
            if meeting is not None and rank == 0:
                inherited.append(meeting.fileno())
                environment[LISTENING] = str(meeting.fileno())
            with log.open("ab") as sink:
                process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=sink,
                    env=environment,
                    pass_fds=inherited,
                    # Ctrl-C reaches the driver alone; it tells the workers.
                    start_new_session=True,
                )
            ranks.append(_Rank(process))
        if meeting is not None:
            meeting.close()
        patience_s = max(self._patience_s, hung.STARTING_S)
        group = _Group(ranks, log, patience_s=patience_s, killed_before=death.killed_for_memory())
        for index, each in enumerate(ranks):
            assert each.process.stdout is not None
            os.set_blocking(each.process.stdout.fileno(), False)
            self._selector.register(each.process.stdout, selectors.EVENT_READ, (group, index))
        self._groups.append(group)
        return group

    def _listen(self) -> list[Event]:
        """Wait for news from the workers."""
        events: list[Event] = []
        for key, _ in self._selector.select(timeout=hung.round_s(self._patience_s)):
            group, index = key.data
            if group not in self._groups:
                continue  # another of its ranks has ended it within this round
            rank = group.ranks[index]
            data = os.read(key.fd, 1 << 16)
            if not data:
                self._selector.unregister(key.fileobj)
                rank.open = False
                events += self._ended(group, index)
                continue
            group.quiet_s, group.patience_s = 0.0, self._patience_s
            *lines, rank.buffer = (rank.buffer + data).split(b"\n")
            for line in lines:
                if group in self._groups:
                    events += self._heard(group, index, Event(**json.loads(line)))
        return events

    def _look_out(self) -> list[Event]:
        """Ask ranks that hang where they are, and end those that were asked.

        A round counts for no longer than it should take: signs that came while this process itself was stopped are read first.
        """
        now = time.monotonic()
        round_s = min(now - self._looked, 2 * hung.round_s(self._patience_s))
        self._looked = now
        events: list[Event] = []
        for group in [each for each in self._groups if each.jobs]:
            group.quiet_s += round_s
            if not group.asked and group.quiet_s >= group.patience_s:
                known = {
                    f"rank {index}" if len(group.ranks) > 1 else "its worker": hung.ask(
                        rank.process.pid
                    )
                    for index, rank in enumerate(group.ranks)
                }
                group.asked = hung.sentence(group.patience_s, known)
                group.end_at = now + hung.LAST_WORDS_S
            elif group.asked and now >= group.end_at:
                events += self._end_group(group, group.asked)
        return events

    def _heard(self, group: _Group, index: int, event: Event) -> list[Event]:
        if event.job not in group.jobs:
            return []
        if event.kind == "step":
            return [event] if index == 0 else []
        if event.kind == "failed" and len(group.ranks) > 1:
            # The other ranks wait in a collective for this one: the whole group ends.
            del group.jobs[event.job]
            return [replace(event, detail=f"rank {index}: {event.detail}"), *self._end_group(group)]
        if event.kind == "failed":
            # A CUDA error can outlast the job: the next one gets a fresh process.
            group.spent = group.spent or bool(self._gpus)
            return self._over(group, event)
        if event.kind == "done":
            finished = group.jobs[event.job]
            finished.add(index)
            if len(finished) == len(group.ranks):
                return self._over(group, event)
        return []

    def _over(self, group: _Group, event: Event) -> list[Event]:
        """A job of a group that lives on, unless it is spent and this was its last."""
        del group.jobs[event.job]
        over = (group.spent or group.asked) and not group.jobs
        return [event, *(self._end_group(group) if over else [])]

    def _ended(self, group: _Group, index: int) -> list[Event]:
        """A rank's events have ended: it died, and its group with it."""
        if group not in self._groups:
            return []
        code = group.ranks[index].process.wait()
        who = f"rank {index}" if len(group.ranks) > 1 else "its worker"
        return self._end_group(group, death.in_words(who, code, group.log, group.killed_before))

    def _end_group(self, group: _Group, why: str = "") -> list[Event]:
        """End a group; jobs that it has in hand are lost."""
        self._groups.remove(group)
        for rank in group.ranks:
            rank.process.kill()
            self._forget(rank)
        return [Event(kind="lost", job=job, detail=why) for job in group.jobs]

    def _forget(self, rank: _Rank) -> None:
        rank.process.wait()
        if rank.open and rank.process.stdout is not None:
            with suppress(KeyError, ValueError):
                self._selector.unregister(rank.process.stdout)
        for pipe in (rank.process.stdin, rank.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def close(self) -> None:
        """Ask every worker to leave at a step boundary, wait, and kill those that do not."""
        ranks = [rank for group in self._groups for rank in group.ranks]
        for rank in ranks:
            with suppress(BrokenPipeError):
                assert rank.process.stdin is not None
                rank.process.stdin.close()
        deadline = time.monotonic() + GRACE_S
        for rank in ranks:
            with suppress(subprocess.TimeoutExpired):
                rank.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            if rank.process.poll() is None:
                rank.process.kill()
            self._forget(rank)
        self._groups.clear()


def _skip(waiting: list[Job], broken: set[str]) -> list[Event]:
    """Take jobs that need a broken one out of those that wait, and so on down the chain."""
    skipped: list[Event] = []
    while hopeless := [each for each in waiting if broken.intersection(each.needs)]:
        broken.update(job.id for job in hopeless)
        waiting[:] = [each for each in waiting if each.id not in broken]
        detail = "a cell that it needs failed"
        skipped += [Event(kind="skipped", job=job.id, detail=detail) for job in hopeless]
    return skipped


def visible_gpus() -> list[str]:
    """Ids of the GPUs that this process may use, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        ids = [each.strip() for each in visible.split(",") if each.strip()]
        # CUDA takes nothing from the first negative id on.
        return list(itertools.takewhile(lambda each: not each.startswith("-"), ids))
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [
        str(index)
        for index, line in enumerate(listing.stdout.splitlines())
        if line.startswith("GPU ")
    ]
