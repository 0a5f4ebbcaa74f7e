"""A ratio: how long one thing takes against another, both timed in turn in the same run."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

ROUNDS = 7


@dataclass(frozen=True)
class Ratio:
    """Time of one thing over the time of its peer."""

    what: str
    peer: str
    median: float
    low: float
    high: float
    seconds: float
    """Median of the thing itself."""
    goal: str = ""
    """What the ratio should be, where the project has said so."""

    @classmethod
    def of(
        cls, what: str, own: list[float], peer: str, others: list[float], goal: str = ""
    ) -> "Ratio":
        """From the seconds of rounds, in which both were timed one after the other."""
        ratios = [mine / other for mine, other in zip(own, others, strict=True)]
        return cls(
            what, peer, statistics.median(ratios), min(ratios), max(ratios), statistics.median(own), goal
        )  # fmt: skip


def interleaved(
    runs: Mapping[str, Callable[[], object]], rounds: int = ROUNDS
) -> dict[str, list[float]]:
    """Time things in turn, A B C A B C ..., so that a drift of the machine hits all; each runs once before.

    Returns:
        Seconds of every round, by name.
    """
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def compare(
    what: str, run: Callable[[], object], peer: str, run_peer: Callable[[], object], goal: str = ""
) -> Ratio:
    """Time two things in turn."""
    seconds = interleaved({"own": run, "peer": run_peer})
    return Ratio.of(what, seconds["own"], peer, seconds["peer"], goal)
