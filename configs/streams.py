"""What Tables 1, 3 and 4 and `two_stream` have in common: sets of videos, the streams they are seen as, and their stores.

A stream is RGB (the pixels of built-in data), single fields of flow, or stacks of ten. Of an indexed set it is a store of
percepts; a net that was trained on the labels of a split serves that split alone, so such a set has a store for each split.
On flow the paper's classifiers have 128 units and read 4 frames at a time (sec. 3.3).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, NamedTuple, TypeAlias

from configs.cells import pretraining
from configs.data import (
    check_alike,
    check_same_flow,
    find_dataset,
    find_labelled,
    has_stream,
    notes_on_pretraining,
    texts,
)
from configs.scales import Scale
from tasks.cell import Cell
from tasks.data.dataset import Dataset
from tasks.encoders import LSTM
from tasks.pretrain import Decoder
from tasks.registry import DATASETS

LEAVE_OUT = "none"
"""What a user names in place of a store to do without that stream."""


class Kind(NamedTuple):
    """A kind of stream, and the knob by which its stores are named."""

    knob: str
    streams: tuple[str, ...]
    """What the frames of a dataset may say of themselves; the first is how stores are called that are looked for."""
    words: str
    optional: bool = False
    """Whether a set may be seen without it: where it has none, or "none" is named."""

    @property
    def of_flow(self) -> bool:
        """Whether it is read as flow: fewer units, shorter blocks."""
        return self.streams[0].startswith("flow")

    def takes(self, stream: str) -> bool:
        """Whether a dataset's stream is of this kind; "flow" stands for any number of fields."""
        return stream in self.streams or stream.rstrip("0123456789") in self.streams


RGB = Kind("rgb", ("rgb", "pixels"), "RGB")
FLOW1 = Kind("flow", ("flow1",), "single fields of flow", optional=True)
FLOW10 = Kind("flow10", ("flow10",), "stacks of 10 fields of flow", optional=True)
ANY_FLOW = Kind("flow", ("flow",), "flow")


class Frames(NamedTuple):
    """One stream of a set for one split, and what is trained on it."""

    data: Dataset
    unlabelled: Dataset
    encoder: LSTM
    block: int

    def pretraining(
        self,
        sizes: Scale,
        *,
        future_frames: int,
        reconstruct: Decoder = "unconditioned",
        predict_future: Decoder = "unconditioned",
    ) -> Cell:
        """The pretraining that a classifier of these frames starts from."""
        return pretraining(
            self.unlabelled,
            self.encoder,
            sizes,
            future_frames=future_frames,
            input_frames=self.block,
            reconstruct=reconstruct,
            predict_future=predict_future,
        )

    def notes(self, *, pretrained: bool) -> tuple[str, ...]:
        """What a report on them should say."""
        more = self.unlabelled.notes if pretrained and self.unlabelled != self.data else ()
        of_it = notes_on_pretraining(self.data, self.unlabelled) if pretrained else ()
        return (*self.data.notes, *more, *of_it)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stores:
    """The stores of one kind of stream as the user named them; empty where nothing was named.

    Raises:
        ValueError: when a store to pretrain on is named, and no videos.
    """

    kind: Kind
    given: tuple[str, ...]
    pretrain_on: str = ""
    """Unlabelled videos of this stream; empty: the same dataset."""
    pretrain_given: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pretrain_given and not self.pretrain_on:
            of_flow = "_flow" if self.kind.of_flow else ""
            raise ValueError(
                f"pretrain_{self.kind.knob}={_said(self.pretrain_given)}: it names a store of other videos to pretrain on, and there "
                f"are none: set pretrain{of_flow}_on too, or leave it out"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sets:
    """Sets of videos, their splits, and the models that see them.

    Raises:
        ValueError: when a dataset or a split is named twice, or none.
    """

    names: tuple[str, ...]
    sizes: Scale
    by_scale: str
    """The scale that asks for the splits; empty where the user named them."""
    flow_units: int = 128
    flow_block: int = 4

    def __post_init__(self) -> None:
        check_once(dataset=self.names, splits=self.sizes.splits)
        for name, value in (("flow_units", self.flow_units), ("flow_block", self.flow_block)):
            if value < 1:
                raise ValueError(f"{name}={value}: it must be at least 1")

    def frames(self, stores: Stores, but: Collection[str] = ()) -> dict[str, dict[int, Frames]]:
        """A stream of every dataset, by dataset and then by split; a dataset that is seen without it is not there.

        Args:
            stores: which stream, and what was said of its stores.
            but: datasets of which it is not asked for; their stores are not looked at.

        Raises:
            ValueError: when a dataset, a split or a store that was named is not there, or stores do not fit together.
        """
        kind = stores.kind
        own = self._by_set(kind.knob, stores.given)
        other = self._by_set(f"pretrain_{kind.knob}", stores.pretrain_given)
        asked = [name for name in self.names if name not in but]
        seen = [name for name in asked if self._has(name, kind, own[name], stores.given)]
        if not seen and stores.given and LEAVE_OUT not in stores.given:
            seen = asked  # what was named is nowhere: the first one says so
        return {
            name: self._of_set(name, kind, own[name], stores.pretrain_on, other[name])
            for name in seen
        }

    def _by_set(self, knob: str, given: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The stores of every dataset: none, one, or one for each split.

        Raises:
            ValueError: unless there is one for all, one for each dataset, or one for each split of each dataset.
        """
        sets, splits = len(self.names), len(self.sizes.splits)
        if len(given) in (0, 1):
            return dict.fromkeys(self.names, tuple(given))
        if len(given) not in (sets, sets * splits):
            all_of, each = "all splits", f"one for each of splits={_said(self.sizes.splits)}"
            if sets > 1:
                all_of = f"all, one for each of dataset={_said(self.names)}"
                each = f"for each of these {each}"
            raise ValueError(f"{knob}={_said(given)}: name one store for {all_of}, or {each}")
        many = len(given) // sets
        return {
            name: tuple(given[at * many : (at + 1) * many]) for at, name in enumerate(self.names)
        }

    def _has(self, name: str, kind: Kind, own: Sequence[str], given: Sequence[str]) -> bool:
        """Whether a dataset is to be seen as this stream: as told for it alone, else if it can be."""
        if not kind.optional:
            return True
        if LEAVE_OUT in own:
            return False
        told = own and (len(self.names) == 1 or len(given) > 1)
        return bool(told) or has_stream(name, kind.streams[0])

    def _of_set(
        self, name: str, kind: Kind, own: Sequence[str], pretrain_on: str, other: Sequence[str]
    ) -> dict[int, Frames]:
        """Frames of one dataset, by split."""

        @cache
        def of_stores(store: str, other_store: str, asked: tuple[int, ...]) -> Frames:
            data = find_labelled(name, store, kind.knob, asked, by_scale=self.by_scale)
            if not kind.takes(data.stream):
                raise ValueError(
                    f"{kind.knob}={store}: these percepts of {name} are of the {data.stream} stream, name a store of {kind.words}"
                )
            unlabelled = data
            if pretrain_on:
                unlabelled = find_dataset(pretrain_on, other_store, f"pretrain_{kind.knob}")
            check_alike(data, unlabelled)
            return Frames(
                data,
                unlabelled,
                LSTM(
                    units=self.flow_units if kind.of_flow else self.sizes.units,
                    layers=self.sizes.layers,
                ),
                self.flow_block if kind.of_flow else 16,
            )

        stores = own or (_looked_for(name, kind),)
        others = other or ((_looked_for(pretrain_on, kind),) if pretrain_on else ("",))
        found: dict[int, Frames] = {}
        for place, split in enumerate(self.sizes.splits):
            asked = self.sizes.splits if len(stores) == 1 else (split,)
            mine, theirs = (each[place if len(each) > 1 else 0] for each in (stores, others))
            found[split] = of_stores(mine, theirs, asked)
            check_same_flow(found[self.sizes.splits[0]].data, found[split].data)
        return found


def without(sets: Sets, found: Mapping[str, object], kind: Kind) -> tuple[str, ...]:
    """What a report should say of datasets that are not seen as a stream."""
    return tuple(
        f"{name} is not seen as {kind.words}: no such percepts were named or found, so these columns are left out."
        for name in sets.names
        if name not in found
    )


def check_once(**given: Sequence[object]) -> None:
    """See that a list names at least one thing, and none twice.

    Raises:
        ValueError: naming the knob.
    """
    for name, values in given.items():
        if len(set(values)) < len(values) or not values:
            raise ValueError(f"{name}={_said(values)}: name at least one, and each once")


def check_weight(rgb_weight: float) -> None:
    """See that a weight is one.

    Raises:
        ValueError: when it is not between 0 and 1.
    """
    if not 0 <= rgb_weight <= 1:
        raise ValueError(f"rgb_weight={rgb_weight}: it lies between 0 and 1, flow has the rest")


def fusion_note(rgb_weight: float) -> str:
    """What a report should say of a fusion."""
    return (
        f"Fusion: {rgb_weight:.3g} of RGB's probabilities and {1 - rgb_weight:.3g} of flow's, joined by video id; the weights were "
        "fixed beforehand."
    )


def check_resamples(resamples: int) -> None:
    """See that there are some.

    Raises:
        ValueError: when there is none.
    """
    if resamples < 1:
        raise ValueError(f"resamples={resamples}: there is at least 1")


def chance_of(frames: Mapping[str, Mapping[int, Frames]]) -> dict[str, float]:
    """Chance level in percent, by dataset."""
    return {
        name: 100.0 / len(next(iter(by_split.values())).data.classes)
        for name, by_split in frames.items()
    }


def stores_of(
    kind: Kind, given: Sequence[str], pretrain_on: str, pretrain_given: Sequence[str]
) -> Stores:
    """Stores as a Python caller may write them: a single name is a list of one."""
    return Stores(
        kind=kind,
        given=texts(given),
        pretrain_on=pretrain_on,
        pretrain_given=texts(pretrain_given),
    )


def _looked_for(name: str, kind: Kind) -> str:
    """How the stores of a stream begin that is not named; built-in data name their streams."""
    if name in DATASETS:
        return kind.streams[-1]
    return "rgb" if kind is RGB else f"{kind.streams[0]}-"


def _said(given: Sequence[object]) -> str:
    return ",".join(map(str, given))


# Knobs that several experiments have.
Datasets: TypeAlias = Annotated[
    tuple[str, ...], "labelled videos: digits, or sets made by `harness data index`; columns each"
]
RgbStores: TypeAlias = Annotated[
    tuple[str, ...],
    "of indexed sets: the stores of RGB percepts by the first letters of their names; one for all, or one each (rgb)",
]
FlowStores: TypeAlias = Annotated[
    tuple[str, ...],
    "the same of single fields of flow, or one for each split of each set; none: no such columns (flow1, where there is one)",
]
Flow10Stores: TypeAlias = Annotated[
    tuple[str, ...],
    "the same of stacks of 10 fields (flow10, where there is one)",
]
PretrainOn: TypeAlias = Annotated[str, "unlabelled videos to pretrain on; empty: the same dataset"]
PretrainFlowOn: TypeAlias = Annotated[
    str, "unlabelled videos to pretrain on, as flow; empty: the same dataset"
]
PretrainRgb: TypeAlias = Annotated[
    tuple[str, ...], "the stores of RGB percepts of pretrain_on, as many as of rgb"
]
PretrainFlow: TypeAlias = Annotated[
    tuple[str, ...], "the stores of flow percepts of pretrain_flow_on, as many as of flow"
]
PretrainFlow10: TypeAlias = Annotated[
    tuple[str, ...], "the same of stacks of 10 fields, as many as of flow10"
]
FlowUnits: TypeAlias = Annotated[int, "units of an LSTM layer on flow (paper: 128)"]
FlowBlock: TypeAlias = Annotated[int, "frames that a classifier of flow reads at a time (paper: 4)"]
DropoutKnob: TypeAlias = Annotated[
    float, "ratio of dropped activations in the classifiers (paper: not stated)"
]
FutureFrames: TypeAlias = Annotated[int, "frames that pretraining predicts (paper: 13)"]
RgbWeight: TypeAlias = Annotated[
    float, "of RGB in the fusion; flow has the rest, never chosen by test scores"
]
