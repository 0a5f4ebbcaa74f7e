"""A time over the time of its peer: what every group of benchmarks measures."""

import statistics
import time
from collections.abc import Callable
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


def compare(
    what: str, run: Callable[[], object], peer: str, run_peer: Callable[[], object]
) -> Ratio:
    """Time two things in turn, A B A B ..., so that a drift of the machine hits both."""
    run(), run_peer()
    pairs = []
    for _ in range(ROUNDS):
        times = []
        for each in (run, run_peer):
            began = time.perf_counter()
            each()
            times.append(time.perf_counter() - began)
        pairs.append((times[0], times[1]))
    return of_pairs(what, peer, pairs)


def of_pairs(what: str, peer: str, pairs: list[tuple[float, float]]) -> Ratio:
    """The ratio of (own, peer's) seconds, a pair a round."""
    ratios = [own / other for own, other in pairs]
    seconds = statistics.median(own for own, _ in pairs)
    return Ratio(what, peer, statistics.median(ratios), min(ratios), max(ratios), seconds)
