"""Natural image patches of an indexed set (sec. 3.2): windows of stored tracks, to train on and held out.

A track is one place of a video through all its frames; a store of them is made by `tasks.patch_tracks`. Which videos,
which store and which splits is part of the value, by identities, so it is part of every cell's key; where the store lies is
not. Shapes: T frames of a window, B windows, D numbers of a patch, K tracks of a video.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.data.dataset import EVALUATION_SEED
from tasks.data.features import FeatureStore
from tasks.data.held_out import sides, sides_of
from tasks.data.index import read
from tasks.data.listed import index_of
from tasks.data.moving_mnist import uniforms
from tasks.data.on_device import float32_windows
from tasks.data.percept_scale import spaced
from tasks.data.root import folder_of
from tasks.data.stores import the_store

if TYPE_CHECKING:
    import torch

Colour = Literal["gray", "rgb"]
CHANNELS = {"gray": 1, "rgb": 3}

TRACKS, FRAMES = 1_024, 32
"""The mean and the standard deviation are measured on so many training tracks, and so many frames of each."""


def track_id(video: str, number: int) -> str:
    """The name in a store of track `number` (from 0) of a video."""
    return f"{video}#{number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Patches:
    """The patches of a set of videos; made by `find_patches`.

    Frames are vectors of side x side x channels numbers, in that order: pixels in [0, 1], minus `offset`, divided by `scale`.
    """

    version: ClassVar[int] = 1
    output: ClassVar[Literal["logistic", "linear"]] = "linear"
    stream: ClassVar[str] = "patches"

    set_name: str
    index: str
    """Identity of the index: videos, groups, splits."""
    patches: str
    """Identity of the store: everything that a byte of it depends on."""
    colour: Colour
    side: int
    """Rows and columns of a patch."""
    per_video: int
    """K, tracks of a video."""
    place: str = field(metadata={"key": False}, compare=False)
    """Name of the store's folder."""

    @property
    def name(self) -> str:
        """The set's name."""
        return self.set_name

    @property
    def frame_size(self) -> int:
        """D, numbers of a patch."""
        return self.side**2 * CHANNELS[self.colour]

    @property
    def notes(self) -> tuple[str, ...]:
        """What every report on this set should say, each begun with its name."""
        index = index_of(self.set_name, self.index)
        parted = sides_of(self.set_name, self.index)
        made = [
            f"{self.set_name}: patches are {self.place}: {self.per_video} places a video, each followed through all of its frames.",
            f"{self.set_name}: {len(parted.held_out):,} videos are held out, {parted.rule}; {len(parted.train):,} are trained "
            "on, and no group is on both sides.",
            f"{self.set_name}: pixels in [0, 1] minus the training mean, divided by the training standard deviation (one "
            "number each), so squared errors are in units of that variance.",
            *(f"{self.set_name}: {note.rstrip('.')}." for note in index.notes),
        ]
        if index.partial:
            made.append(f"{self.set_name} is not whole: some of its official videos are not there.")
        return tuple(made)

    @property
    def details(self) -> Mapping[str, str | int]:
        """Which patches."""
        return {"colour": self.colour, "side": self.side, "per_video": self.per_video}

    @property
    def scale(self) -> float:
        """Standard deviation of training pixels in [0, 1]; a squared error times its square is in units of such pixels."""
        return _level(self._folder, self.set_name, self.index, self.patches, self.per_video).sd

    @property
    def offset(self) -> float:
        """Mean of training pixels in [0, 1]: a frame times `scale` plus this is a picture."""
        return _level(self._folder, self.set_name, self.index, self.patches, self.per_video).mean

    def unlabelled(self, seed: int, indices: Sequence[int], num_frames: int) -> NDArray[np.float32]:
        """Sequences of the training videos, float32 (T, B, D): a pure function of (seed, index).

        Every place in time where one fits is as likely as any other, then every track of that video; a video that is
        shorter than a sequence counts once, and its last frame is held.

        Raises:
            ValueError: for no frames.
            StoreError: when the store is not there any more, was replaced, or is damaged.
        """
        return self.unlabelled_on("cpu", seed, indices, num_frames).numpy()

    def unlabelled_on(
        self, device: str, seed: int, indices: Sequence[int], num_frames: int
    ) -> torch.Tensor:
        """What `unlabelled` gives, on a device; raises as it does."""
        return self._drawn("train", device, seed, indices, num_frames)

    def evaluation(self, indices: Sequence[int], num_frames: int) -> NDArray[np.float32]:
        """Sequences of the held-out videos, drawn likewise, float32 (T, B, D): a pure function of the index."""
        return self._drawn("held_out", "cpu", EVALUATION_SEED, indices, num_frames).numpy()

    def _drawn(
        self,
        side: Literal["train", "held_out"],
        device: str,
        seed: int,
        indices: Sequence[int],
        num_frames: int,
    ) -> torch.Tensor:
        if num_frames < 1:
            raise ValueError(f"num_frames={num_frames}: a sequence has at least 1")
        windows = _windows(self.set_name, self.index, side, num_frames)
        draws_B2 = uniforms(seed, indices, 2)
        place_B = np.floor(draws_B2[:, 0] * windows.ends[-1]).astype(np.int64)
        which_B = np.searchsorted(windows.ends, place_B, side="right")
        start_B = place_B - np.concatenate([[0], windows.ends])[which_B]
        track_B = np.floor(draws_B2[:, 1] * self.per_video).astype(np.int64)
        places = [
            (track_id(windows.ids[which], int(track)), int(start))
            for which, track, start in zip(which_B, track_B, start_B, strict=True)
        ]
        return float32_windows(
            self._store,
            device,
            places,
            num_frames,
            divisor=np.float32(255 * self.scale),
            offset=np.float32(255 * self.offset),
        )

    @property
    def _folder(self) -> Path:
        # Whole, as open stores are remembered by it: the same name may lie under another root, or another current folder.
        return folder_of(self.set_name).absolute() / "patches" / self.place

    @property
    def _store(self) -> FeatureStore:
        return _store(self._folder, self.patches)


def find_patches(set_name: str, store: str = "", knob: str = "patches") -> Patches:
    """The patches of an indexed set that were cut.

    Args:
        set_name: the set's name.
        store: by the first letters of its folder's name (such as "gray"); empty if there is one only. Among several, those
            of videos that the set does not hold any more, and those without all shards, do not count.
        knob: what the user sets to name a store, for messages.

    Raises:
        ValueError: when the set was never indexed, has no such store, more than one, a damaged one or one that lacks shards,
            or when no group of videos can be held out; in one sentence.
    """
    index = read(set_name)
    place, plan = the_store(index, "patches", store, knob)
    sides(index)
    match plan.made_of:
        case {
            "colour": "gray" | "rgb" as colour,
            "side": int(side),
            "per_video": int(per_video),
        } if plan.dtype == "uint8" and plan.frame_size == side**2 * CHANNELS[colour]:
            return Patches(
                set_name=set_name,
                index=index.identity,
                patches=plan.identity,
                colour=colour,
                side=side,
                per_video=per_video,
                place=place,
            )
    raise ValueError(f"{place} of {set_name} holds no patches: remove it, or name another")


class _Windows(NamedTuple):
    ids: tuple[str, ...]
    frames: NDArray[np.int64]
    """Of each video."""
    ends: NDArray[np.int64]
    """Running number of the places in time where a window fits."""


@lru_cache(maxsize=16)
def _windows(
    set_name: str, identity: str, side: Literal["train", "held_out"], num_frames: int
) -> _Windows:
    parted = sides_of(set_name, identity)
    ids = parted.train if side == "train" else parted.held_out
    index = index_of(set_name, identity)
    frames = np.array([index.video(each).num_frames for each in ids], np.int64)
    return _Windows(ids, frames, np.cumsum(np.maximum(1, frames - num_frames + 1)))


class Level(NamedTuple):
    """How bright pixels in [0, 1] are, and how different."""

    mean: float
    sd: float
    """Above 0; 1 where all pixels are equal."""


def level(store: FeatureStore, tracks: Sequence[str]) -> Level:
    """The mean and the standard deviation of the pixels of tracks: a pure function of both, in whole numbers until the end.

    Measured on evenly spaced frames of each; on all where there are few.

    Raises:
        StoreError: when a file of the store is damaged or gone.
    """
    counts_L = np.zeros(256, np.int64)
    for track in tracks:
        for frame in spaced(range(store.videos[track]), FRAMES):
            counts_L += np.bincount(store.window(track, frame, 1)[0], minlength=256)
    levels_L = np.arange(256, dtype=np.int64)
    count, total = int(counts_L.sum()), int(counts_L @ levels_L)
    spread = count * int(counts_L @ levels_L**2) - total**2  # of whole numbers, so exact
    return Level(total / count / 255, math.sqrt(spread) / count / 255 if spread else 1.0)


@lru_cache(maxsize=16)
def _level(folder: Path, set_name: str, index: str, patches: str, per_video: int) -> Level:
    train = sides_of(set_name, index).train
    tracks = [track_id(video, track) for video in train for track in range(per_video)]
    return level(_store(folder, patches), spaced(tracks, TRACKS))


@lru_cache(maxsize=16)
def _store(folder: Path, identity: str) -> FeatureStore:
    return FeatureStore.open(folder, expect=identity)
