"""How a worker died without a word, in words: its signal or exit code, its last line, and what may help."""

import signal
from pathlib import Path

from slurm.job import signal_name

MORE_MEMORY = (
    "run fewer processes (--jobs), train fewer cells at once (--together), take a smaller batch, or on a cluster ask for more "
    "(memory_gb)"
)


def in_words(who: str, code: int, log: Path, killed_before: int | None) -> str:
    """What is known of a process that has ended, in one line.

    Args:
        who: the process.
        code: its exit code; of a signal that killed it, the number below 0.
        log: what it said outside any job.
        killed_before: what `killed_for_memory` said when it began.
    """
    how = f"was killed by {signal_name(-code)}" if code < 0 else f"exited with {code}"
    advice = ""
    if code == -signal.SIGKILL:
        now = killed_for_memory()
        known = now is not None and now != killed_before
        advice = (
            f"; {'the system ran out of memory' if known else 'if memory ran out'}: {MORE_MEMORY}"
        )
    return f"{who} {how}{_last_line(log)}{advice}"


def killed_for_memory() -> int | None:
    """How many processes this system has killed because memory ran out; None where it does not say."""
    try:
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
        return int(counts["oom_kill"])
    except (OSError, ValueError, KeyError):
        return None


def _last_line(log: Path) -> str:
    lines = (
        log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if log.exists()
        else []
    )
    return f" ({lines[-1].strip()})" if lines else ""
