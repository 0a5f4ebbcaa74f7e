"""Several nodes: every node's one process starts torchrun, and all meet on the first node."""

import os
import sys
from collections.abc import Mapping, Sequence

from submitit.slurm.slurm import SlurmJobEnvironment

FIRST_PORT, PORTS = 20000, 10000
"""Ports for meeting: below the range from which systems hand out ports of their own."""


def several_nodes(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is one of several nodes' in a job."""
    return int(environment.get("SLURM_NNODES", "1")) > 1


def command(worker: Sequence[str], *, ranks_per_node: int) -> list[str]:
    """The command that starts this node's workers.

    Args:
        worker: the words after `python` that start one rank.
        ranks_per_node: processes on every node.
    """
    job = os.environ["SLURM_JOB_ID"]
    first = SlurmJobEnvironment().hostnames[0]
    restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    # Another port after a requeue: the one before may not be free yet.
    port = FIRST_PORT + (int(job) + 97 * restart) % PORTS
    return [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nnodes={os.environ['SLURM_NNODES']}",
        f"--nproc-per-node={ranks_per_node}",
        "--max-restarts=0",
        "--rdzv-backend=c10d",
        f"--rdzv-id={job}-{restart}",
        f"--rdzv-endpoint={first}:{port}",
        # Not left to torchrun, which guesses from names and addresses whether it is on that node.
        f"--rdzv-conf=is_host={int(os.environ['SLURM_NODEID'] == '0')}",
        *worker,
    ]
