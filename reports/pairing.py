"""Which cell of one side is compared with which cell of the other: those that stand at the same place.

A side is one or several methods of one experiment in one work folder. A place is what was asked besides the method: dataset,
stream, split, number of labelled videos, resample (or seed, where nothing is resampled); the method too, where both sides
hold several.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.evidence import Evidence, Value

PLACE = ("dataset", "stream", "split", "shots", "resample", "seed")
"""What makes a place, as far as the cells of both sides say it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One of the two things that are compared."""

    name: str
    """What it is called."""
    evidence: Evidence
    methods: tuple[str, ...]
    """Labels of the methods that are compared."""

    @property
    def cells(self) -> tuple[Mapping[str, Value], ...]:
        """The expected cells of these methods."""
        return tuple(each for each in self.evidence.expected if each["method"] in self.methods)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two cells at one place."""

    first: Mapping[str, Value]
    second: Mapping[str, Value]

    @property
    def cells(self) -> tuple[str, str]:
        """Both keys."""
        return str(self.first["cell"]), str(self.second["cell"])

    @property
    def split(self) -> int:
        """The dataset's split; 0 where there is none."""
        return int(str(self.first.get("split", 0)))

    @property
    def resample(self) -> int:
        """Which resample, or seed where nothing is resampled."""
        return int(str(self.first.get("resample", self.first.get("seed", 0))))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairing:
    """All pairs, and who is left over."""

    pairs: tuple[Pair, ...]
    alone: tuple[tuple[Mapping[str, Value], ...], tuple[Mapping[str, Value], ...]]
    """Cells of the first and of the second side that have no partner."""
    by: tuple[str, ...]
    """By which columns they were paired."""
    by_method: bool
    """Whether both sides hold several methods, each compared with itself."""

    def point(self, pair: Pair) -> tuple[str, str, str, str]:
        """Dataset, stream, shots and method of a pair: what one line of a table is of. Where the streams differ it names both."""
        one, other = (str(cell.get("stream", "")) for cell in (pair.first, pair.second))
        return (
            str(pair.first.get("dataset", "")),
            one if one == other else f"{one} / {other}",
            str(pair.first.get("shots", "all")),
            str(pair.first["method"]) if self.by_method else "",
        )


def pair(first: Side, second: Side) -> Pairing:
    """Pair the cells of two sides.

    Where one method on one stream is compared with one method on another stream, streams are not part of the place.

    Raises:
        ValueError: when a side has no cells, nothing stands at the same place, or several cells of a side do.
    """
    for side in (first, second):
        if not side.cells:
            raise ValueError(f"{side.name} has no cells: there is nothing to compare")
    by_method = len(first.methods) > 1 or len(second.methods) > 1
    by = [name for name in PLACE if all(name in cell for side in (first, second) for cell in side.cells)]  # fmt: skip
    streams = [_values(side.cells, "stream") for side in (first, second)]
    if not by_method and streams[0] != streams[1] and all(len(each) == 1 for each in streams):
        by = [name for name in by if name != "stream"]
    if "resample" in by and "seed" in by:
        by.remove(
            "seed"
        )  # it follows the resample; another choice of seeds asks for the same labelled videos all the same
    if by_method:
        by.append("method")
    by = _enough(first.cells, second.cells, by)
    placed = []
    for side in (first, second):
        found: dict[tuple[Value, ...], Mapping[str, Value]] = {}
        for cell in side.cells:
            place = tuple(cell[name] for name in by)
            if place in found:
                at = ", ".join(f"{name} {value}" for name, value in zip(by, place, strict=True))
                raise ValueError(
                    f"{side.name} has several cells at {at} ({str(found[place]['cell'])[:16]}, {str(cell['cell'])[:16]}): it "
                    "cannot be told which one to compare"
                )
            found[place] = cell
        placed.append(found)
    one, other = placed
    pairs = tuple(Pair(first=one[place], second=other[place]) for place in one if place in other)
    if not pairs:
        raise ValueError(
            f"no cell of {first.name} stands where one of {second.name} does (by {', '.join(by)}): nothing can be paired"
        )
    alone = tuple(
        tuple(cell for place, cell in mine.items() if place not in theirs)
        for mine, theirs in ((one, other), (other, one))
    )
    return Pairing(pairs=pairs, alone=(alone[0], alone[1]), by=tuple(by), by_method=by_method)


def _values(cells: Sequence[Mapping[str, Value]], name: str) -> set[Value]:
    return {cell.get(name) for cell in cells}


def _enough(
    first: Sequence[Mapping[str, Value]], second: Sequence[Mapping[str, Value]], by: list[str]
) -> list[str]:
    """The columns, and where they do not tell a side's cells apart those that both sides vary alike (a knob, not the method)."""

    def clashes(names: Sequence[str]) -> bool:
        return any(len({tuple(cell[name] for name in names) for cell in cells}) < len(cells) for cells in (first, second))  # fmt: skip

    if not clashes(by):
        return by
    known = set.intersection(*(set(cell) for cell in (*first, *second)))
    alike = [
        name for name in sorted(known - {*by, "cell", "method"})
        if _values(first, name) == _values(second, name) and len(_values(first, name)) > 1
    ]  # fmt: skip
    return [*by, *alike]
