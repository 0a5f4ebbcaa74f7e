"""Which of a store's runs are this work folder's: of every attempt one, one parent, its lines; and those that are too many.

MLflow's client sends a call again that a server may have carried out though its answer was lost, and a call that creates a run
then makes two.
"""

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from harness.entry import Entry, Found

CELL, ATTEMPT, ROLE, COMPLETE, CONTENT = "cell", "attempt", "role", "complete", "content"
ENCODER = "encoder_model"
"""Tag of a pretraining run: the id of its encoder as an MLflow model, or why there is none."""
PARENT = "mlflow.parentRunId"
LAYOUT = "2"
"""Of a run that is whole, the value of its tag `complete`; one that an earlier version of `store` wrote is written anew."""
WANTED = (CELL, ATTEMPT, ROLE, PARENT, COMPLETE, ENCODER, CONTENT)
"""The tags by which runs are told apart."""


class Runs(Protocol):
    """The runs of an MLflow experiment, however they are written and read."""

    def having(self, tag: str, value: str, wanted: Collection[str]) -> Iterator[Found]:
        """Runs that are not deleted and have a tag of this value, newest first, with those of the wanted tags that they have."""

    def values(self, runs: Sequence[str], names: Collection[str]) -> dict[str, dict[str, float]]:
        """Newest values of metrics, by run."""

    def write(self, entries: Sequence[Entry]) -> list[str]:
        """Create whole runs; returns their ids."""

    def tag(self, runs: Iterable[str], tags: Mapping[str, str]) -> None:
        """Give runs these tags, in place of others of the same names."""

    def untag(self, runs: Iterable[str], name: str) -> None:
        """Take a tag from runs that have it."""


class Known(NamedTuple):
    """A run that is in the store."""

    id: str
    parent: str
    layout: str
    """How it was written; empty if it is not whole."""
    encoder: str = ""

    @property
    def worth(self) -> tuple[bool, bool]:
        """By this the better of two runs of one attempt is kept."""
        return self.layout == LAYOUT, bool(self.encoder)


@dataclass(frozen=True, slots=True)
class KeptRuns:
    """The runs of a work folder."""

    runs: dict[str, dict[str, Known]] = field(default_factory=dict)
    """Runs of cells, by key and attempt."""
    parents: list[tuple[str, str]] = field(default_factory=list)
    """Id and content of the runs with role parent, the one to keep first; the content is empty if one is not whole."""
    lines: list[tuple[str, str]] = field(default_factory=list)
    """The same of the runs of lines; of those with the same content too."""
    spare: list[Known] = field(default_factory=list)
    """Runs of cells of whose attempt there is another, as whole or more so."""


def sorted_out(found: Iterable[Found]) -> KeptRuns:
    """Tell runs apart.

    Args:
        found: a folder's runs with those of the tags `WANTED` that they have, newest first.
    """
    kept = KeptRuns()
    for run_id, tags in found:
        if tags.get(ROLE) == "parent":
            kept.parents.append((run_id, tags.get(CONTENT, "")))
        elif tags.get(ROLE) == "curve":
            kept.lines.append((run_id, tags.get(CONTENT, "")))
        elif CELL in tags:
            parent, layout = tags.get(PARENT, ""), tags.get(COMPLETE, "")
            run = Known(run_id, sys.intern(parent), sys.intern(layout), tags.get(ENCODER, ""))
            attempts = kept.runs.setdefault(tags[CELL], {})
            before = attempts.setdefault(tags.get(ATTEMPT, ""), run)
            if before is not run:
                worse, better = sorted((run, before), key=lambda each: each.worth)
                attempts[tags.get(ATTEMPT, "")] = better
                kept.spare.append(worse)
    kept.parents.sort(key=lambda each: not each[1])  # the whole one, else the newest
    return kept
