"""Where the ranks of one machine meet: at a port of the loopback address, which the launcher binds before it starts them."""

import socket

LOOPBACK = "127.0.0.1"
LISTENING = "HARNESS_LISTENING"
"""Variable of rank 0 that names the file descriptor of a bound socket, at which it is to listen."""


def torchrun_environment(rank: int, num_ranks: int, port: int = 0) -> dict[str, str]:
    """The variables that torchrun sets for one of `num_ranks` processes on this machine; one alone needs no port."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num_ranks),
        "LOCAL_WORLD_SIZE": str(num_ranks),
        "MASTER_ADDR": LOOPBACK,
        "MASTER_PORT": str(port),
    }


def meeting_place() -> socket.socket:
    """A socket bound to a port of the loopback address, for rank 0 to listen at."""
    bound = socket.socket()
    bound.bind((LOOPBACK, 0))
    return bound
