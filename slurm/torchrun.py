"""Several nodes: every node's one process starts torchrun, and all meet on the first node.

What listens, and why. On the first node torchrun's own process does, at one port (FIRST_PORT and on) of every interface of that
node, because the other nodes have to reach it and nobody knows by which of its addresses; and every rank does, at ports that
the system gives, on the interface that gloo and NCCL choose (GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME name another), because
gradients go from each to each. None of them asks who connects: whoever can reach the nodes could disturb the job or alter
its numbers, and no more, as nothing that comes that way is unpickled by this program (ddp.py), and torchrun's own store holds
counters and addresses. On a network where others than the cluster's users reach the nodes, keep pretraining on one node.
"""

import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence

from submitit.slurm.slurm import SlurmJobEnvironment

from slurm.job import signal_name

FIRST_PORT, PORTS = 20000, 10000
"""Ports for meeting: below the range from which systems hand out ports of their own."""


_ROOT_CAUSE = re.compile(r"Root Cause.*?rank\s*: (\d+).*?exitcode\s*: -(\d+) ", re.DOTALL)


def killed_rank(told: str) -> str:
    """Which rank was killed, and by which signal, in words; empty if torchrun's last words name no such cause.

    SIGTERM is what torchrun itself ends the other ranks with: it explains nothing.

    Args:
        told: what torchrun wrote to stderr, or the end of it.
    """
    found = _ROOT_CAUSE.search(told)
    if found is None or int(found[2]) == signal.SIGTERM:
        return ""
    return f"rank {found[1]} was killed by {signal_name(int(found[2]))}"


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
        # SLURM has numbered the nodes. Where torchrun has them find each other (c10d), it unpickles what lies at that port.
        "--rdzv-backend=static",
        f"--rdzv-id={job}-{restart}",
        f"--node-rank={os.environ['SLURM_NODEID']}",
        f"--master-addr={first}",
        f"--master-port={port}",
        *worker,
    ]
