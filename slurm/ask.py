"""How SLURM's commands are asked: in one language, without a user's own formats, and never for ever."""

import os
import subprocess
from collections.abc import Sequence

TIMEOUT_S = 60.0
_DROPPED = ("SQUEUE_", "SACCT_", "SCANCEL_", "SINFO_", "SCONTROL_")


class NoAnswer(Exception):
    """SLURM does not answer: nobody can tell what queues or runs."""


class NotHere(NoAnswer):
    """The command is not on this machine."""


def ask(command: Sequence[str]) -> str:
    """What a command says.

    Raises:
        NoAnswer: when it fails or does not end within TIMEOUT_S.
        NotHere: when there is no such command.
    """
    # Another locale or a user's squeue format would change what is read here.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_DROPPED)}  # fmt: skip
    environment["LC_ALL"] = "C"
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
            env=environment,
        )
    except (FileNotFoundError, PermissionError):
        raise NotHere(f"there is no {command[0]} here") from None
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{command[0]} did not answer within {TIMEOUT_S:.0f} s") from None
    if done.returncode:
        line = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[0]
        raise NoAnswer(f"{command[0]} failed: {line}")
    return done.stdout
