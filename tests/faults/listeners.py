"""Who listens where, from what Linux says of processes."""

import socket
import sys
from pathlib import Path


def listening(pids: set[int]) -> set[str]:
    """Addresses that these processes listen at, from what Linux says of them."""
    inodes = set()
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = str(handle.readlink())
            except OSError:
                continue  # it was closed meanwhile
            inodes |= {target[8:-1]} if target.startswith("socket:[") else set()
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and inode in inodes:
                # Words of 32 bits, each in this machine's order.
                told = bytes.fromhex(local.partition(":")[0])
                words = [told[place : place + 4] for place in range(0, len(told), 4)]
                order = [word[::-1] if sys.byteorder == "little" else word for word in words]
                found.add(socket.inet_ntop(family, b"".join(order)))
    return found


def family(pid: int) -> set[int]:
    """A process and all that it started."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(status.parent.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
