"""How the paper lays out Tables 1, 3 and 4: what its rows are called, what each is compared with, which number stands beside it.

What is measured is in `reports.accuracy_lines`, how it becomes tables in `reports.accuracy_tables`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reports.published import (
    BASELINE,
    DATASET_NAMES,
    PRETRAINED,
    PUBLISHED,
    SINGLE_FRAME,
    Published,
    entry,
)

_SETS = {"rgb": "rgb", "pixels": "rgb", "flow1": "flow", "flow10": "flow", "rgb+flow": "rgb+flow"}
"""Stream to the set of Table 4 that it stands in, in the order of all tables."""
_RGB, _FLOW = ("rgb", "pixels"), ("flow10", "flow1")
"""Streams that may be a fusion's two: it takes stacks of ten fields where there are some."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """One of the paper's tables of accuracies."""

    artefact: str
    """"table1", "table3" or "table4"."""
    heading: str
    """Of the column that names the rows."""
    names: Mapping[str, str]
    """Label of a method to its name in that column, in the paper's order; others follow under their labels."""
    baselines: Mapping[str, str]
    """Label of a method to that of the one it is compared with, on the same stream and with the same labels."""
    by_stream: bool = False
    """Rows are streams in the three sets of Table 4, beside other systems, and are compared with the same method on RGB; RGB + flow also with it on flow."""

    def order(self, methods: Iterable[str]) -> list[str]:
        """The methods in the order of rows, each once."""
        found = list(dict.fromkeys(methods))
        return sorted(
            found, key=lambda each: list(self.names).index(each) if each in self.names else 99
        )

    def name(self, method: str) -> str:
        """What a method's row is called."""
        return self.names.get(method, method)

    def compared(self, method: str, stream: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What a method on a stream is compared with, at most two: each a method, and the streams it may stand on, the first first."""
        if self.by_stream:
            wanted = {"rgb": (), "rgb+flow": (_RGB, _FLOW)}.get(stream_set(stream), (_RGB,))
            return tuple((method, streams) for streams in wanted)
        other = self.baselines.get(method)
        return () if other is None else ((other, (stream,)),)

    def published(self, dataset: str, method: str, shots: str, stream: str) -> Published | None:
        """The number that the paper prints at this place; None where it prints none."""
        modality = stream_set(stream) if self.by_stream and stream != "pixels" else stream
        return entry(self.artefact, dataset, method, shots, modality=modality)

    def printed(self) -> tuple[Published, ...]:
        """All numbers that the paper prints in this table, in its order."""
        return tuple(one for one in PUBLISHED if one.artefact == self.artefact)


def stream_set(stream: str) -> str:
    """The set of Table 4 that a stream stands in: "rgb", "flow" or "rgb+flow"; another stream is one of its own."""
    return _SETS.get(stream, stream)


def stream_rank(stream: str) -> int:
    """Place of a stream in the order of columns."""
    return list(_SETS).index(stream) if stream in _SETS else len(_SETS)


def stream_words(stream: str) -> str:
    """A stream, or a set of Table 4, in words."""
    words = {"rgb": "RGB", "rgb+flow": "RGB + flow", "flow1": "flow, 1 field"}
    words["flow10"] = "flow, 10 fields"
    return words.get(stream, stream)


def dataset_words(dataset: str) -> str:
    """A dataset as it is written in headings."""
    return DATASET_NAMES.get(dataset, dataset)


def _kinds() -> dict[str, str]:
    """Rows of Table 3: with which pretraining the LSTM classifier begins."""
    labels = dict.fromkeys(one.method for one in PUBLISHED if one.artefact == "table3")
    inside = {
        each: each.removeprefix(f"{BASELINE} + ").removesuffix(" pretraining") for each in labels
    }
    return inside | {BASELINE: "none"}


TABLE1 = Layout(
    artefact="table1",
    heading="method",
    names={
        SINGLE_FRAME: SINGLE_FRAME,
        BASELINE: BASELINE,
        PRETRAINED: PRETRAINED.removeprefix(f"{BASELINE} "),  # "+ Composite pretraining"
    },
    baselines={BASELINE: SINGLE_FRAME, PRETRAINED: BASELINE},
)
TABLE3 = Layout(
    artefact="table3",
    heading="pretraining of the LSTM classifier",
    names=_kinds(),
    baselines={each: BASELINE for each in _kinds() if each != BASELINE},
)
TABLE4 = Layout(
    artefact="table4",
    heading="method",
    names={one.method: one.method for one in PUBLISHED if one.artefact == "table4"},
    baselines={},
    by_stream=True,
)
