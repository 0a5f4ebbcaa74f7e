"""Send the probe job to a cluster, wait for its answer, and see that nothing of it stays in the queue."""

import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from configs.clusters import Cluster
from harness import files, submission
from harness.node_findings import Probed
from harness.probe import ANSWER, TOKEN, read
from harness.send import request_of
from harness.workdir import Workdir
from slurm import queue, sbatch
from slurm.queue import NoAnswer

LOOK_S = 0.2
"""Seconds between two looks for the answer, in its folder."""
FIRST_ASK_S, LONGEST_ASK_S = 1.0, 10.0
"""Seconds between two questions to SLURM."""
AFTER_FAILURE_S = 3.0
"""How long the log of a job that failed may take to be seen here."""
TO_END_S = 15.0
"""How long a job that has answered may take to end by itself."""
LOG_LINES = 5


class Interrupted(Exception):
    """The user does not want to wait any longer; the message says what became of the job."""


def probe(cluster: Cluster, workdir: Workdir, wait_s: float, say: Callable[[str], None]) -> Probed:
    """Send a job of one cell's shape, and wait for what it finds.

    Args:
        cluster: where to.
        workdir: it must be writable here.
        wait_s: how long to wait, in seconds.
        say: is told what is being waited for.

    Raises:
        Interrupted: when the user does not want to wait any longer.
    """
    folder = workdir.root.resolve() / "doctor" / submission.new_folder(workdir).name
    try:
        sbatch.check_folder(folder)
    except ValueError as error:
        return Probed(refused=str(error))
    name = submission.job_name("doctor", folder)
    token = secrets.token_hex(16)
    files.write(folder / TOKEN, token.encode())
    request = request_of(
        cluster,
        name=name,
        folder=folder / "logs",
        module="harness.probe",
        words=(str(folder), "1" if cluster.gpus_per_node else "0"),
        ranks_per_node=1,
    )
    probed = Probed(token=token)
    left = "the probe job may still queue: `squeue --me` tells"
    try:
        try:
            probed = replace(probed, job=sbatch.submit(request))
            probed = _wait(probed, name, folder, wait_s, say)
        except sbatch.SubmissionRefused as error:
            probed = replace(probed, refused=str(error))
        finally:
            left = _clear(name, probed)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {left or 'nothing of the probe job stays in the queue'}") from None  # fmt: skip
    if left and probed.job:
        say(left)
    return probed


def _wait(
    probed: Probed, name: str, folder: Path, wait_s: float, say: Callable[[str], None]
) -> Probed:
    """Until the answer is here, the job has ended without one, or the time is up."""
    began = time.monotonic()
    deadline, ask_at, pause = began + wait_s, began, FIRST_ASK_S
    ended_at: float | None = None
    last = ""
    while True:
        now = time.monotonic()
        probed = replace(probed, waited_s=now - began)
        # The folder is listed: a network file system may remember for a while that a file was not there.
        if ANSWER in os.listdir(folder):  # noqa: PTH208 - no paths are needed
            late_s = now - ended_at if ended_at is not None else 0.0
            return _answered(replace(probed, late_s=late_s), folder)
        if ended_at is None and now >= ask_at:
            probed, problem = _told(probed, name)
            if probed.ended:
                ended_at = now
            said = problem or _in_words(probed)
            if said != last:
                say(f"waiting for the probe job {probed.job}: {said}")
                last = said
            pause = min(LONGEST_ASK_S, pause * 1.3)
            ask_at = time.monotonic() + pause
        # A job that has succeeded, for all that is known, has written its answer: it is only not seen here yet.
        gives_up_at = deadline
        if ended_at is not None and probed.state not in ("", "COMPLETED"):
            gives_up_at = min(deadline, ended_at + AFTER_FAILURE_S)
        if now >= gives_up_at:
            return replace(probed, log=_log(folder))
        time.sleep(LOOK_S)


def _answered(probed: Probed, folder: Path) -> Probed:
    facts = queue.facts(probed.job)
    probed = replace(probed, requeue=facts.get("Requeue", ""))
    try:
        return replace(probed, answer=read(folder / ANSWER))
    except (OSError, ValueError) as error:
        return replace(probed, unreadable=str(error))


def _told(probed: Probed, name: str) -> tuple[Probed, str]:
    """What SLURM says of the job now, and why it says nothing."""
    try:
        told = queue.queued({name}).get(probed.job)
    except NoAnswer as error:
        return probed, str(error)
    if told is None or not told.live:
        ended = queue.ended({probed.job}, name).get(probed.job)
        if told is None or (ended and ended.state == told.state):
            told = ended or told
    if told is None:
        # Not known yet (some sites take a moment to list a job), or forgotten: nobody can tell how it ended.
        return replace(probed, ended=bool(probed.state), state="", reason=""), ""
    probed = replace(probed, state=told.state, node=told.node, reason=told.reason)
    if told.live:
        return probed, ""
    return replace(probed, ended=True, exit=told.exit), ""


def _in_words(probed: Probed) -> str:
    where = f" on {probed.node}" if probed.node else ""
    why = f" ({probed.reason})" if probed.reason else ""
    return f"{probed.state or 'not listed yet'}{where}{why}"


def _log(folder: Path) -> tuple[str, ...]:
    """The last lines of what the job said; nothing where there is no log."""
    said: list[str] = []
    for path in sorted((folder / "logs").glob("*log.out")):
        with suppress(
            OSError
        ):  # a log that cannot be read explains nothing, like one that is missing
            said += path.read_text(encoding="utf-8", errors="replace").splitlines()
    return tuple([line.rstrip() for line in said if line.strip()][-LOG_LINES:])


def _clear(name: str, probed: Probed) -> str:
    """See that nothing of it queues or runs: by its name, since an interrupted sbatch leaves no id.

    Returns:
        Why something may; empty if nothing does.
    """
    deadline = time.monotonic() + (TO_END_S if probed.answer else 0.0)
    try:
        while live := {job for job, told in queue.queued({name}).items() if told.live}:
            if time.monotonic() >= deadline:
                queue.cancel(live)
                break
            time.sleep(FIRST_ASK_S)
    except NoAnswer as error:
        return f"the probe job may still queue ({error}): `scancel --name={name}` ends it"
    return ""
