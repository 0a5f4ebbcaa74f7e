"""A set of indexed videos as the tasks see it: lists and splits from the index, frames from a store of percepts.

Which videos and which percepts is part of the value, by their identities, so it is part of every cell's key; where
they lie is not. Shapes: T frames of a sequence, B sequences, D numbers of a percept.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from tasks.data.dataset import EVALUATION_SEED, Video
from tasks.data.feature_plan import read_plan
from tasks.data.feature_shards import shards_missing
from tasks.data.features import FeatureStore
from tasks.data.index import read
from tasks.data.listed import index_of, listed
from tasks.data.on_device import float32_windows
from tasks.data.percept_scale import root_mean_square
from tasks.data.plain_json import JSON
from tasks.data.root import folder_of
from tasks.data.stores import is_usable, maker, misplaced, stores_in

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoPercepts:
    """A set of videos through one store of percepts; made by `video_percepts`.

    Frames are percepts divided by the root mean square of all of the store's numbers (`tasks.data.percept_scale`).
    """

    version: ClassVar[int] = 2
    output: ClassVar[Literal["logistic", "linear"]] = "linear"

    set_name: str
    stream: str
    index: str
    """Identity of the index: videos, labels, groups, splits."""
    percepts: str
    """Identity of the store: everything that the percepts are made of."""
    frame_size: int
    place: str = field(metadata={"key": False}, compare=False)
    """Name of the store's folder."""

    @property
    def name(self) -> str:
        """The set's name, whatever the stream: subsets are drawn by it, the same for all streams."""
        return self.set_name

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return index_of(self.set_name, self.index).classes

    @property
    def splits(self) -> tuple[int, ...]:
        """Numbers of the splits."""
        return tuple(sorted(index_of(self.set_name, self.index).splits))

    @property
    def notes(self) -> tuple[str, ...]:
        """What every report on this set should say, each begun with its name: its percepts, and what its index notes."""
        index = index_of(self.set_name, self.index)
        made = [
            f"{self.set_name}: frames are percepts {self.place}, divided by their root mean square.",
            *(f"{self.set_name}: {note.rstrip('.')}." for note in index.notes),
        ]
        seen = _labels_seen(self.set_name, self.place)
        if seen.get("set_name") == self.set_name:
            made.append(
                f"{self.set_name}, {self.place}: the convnet of these percepts was trained on the labels of all training videos of split {seen['split']}: no other "
                "split is tested, and what is trained on a few of them has been shown more labels than it was given."
            )
        if index.partial:
            made.append(f"{self.set_name} is not whole: some of its official videos are not there.")
        return tuple(made)

    @property
    def details(self) -> Mapping[str, str | int]:
        """The store of percepts."""
        return {"percepts": self.place}

    def train(self, split: int) -> tuple[Video, ...]:
        """The training list of a split.

        Raises:
            ValueError: when the percepts were made by a net that has seen labels of this split's test list.
        """
        _check_unseen(self, split)
        return listed(self.set_name, self.index, split, "train")

    def test(self, split: int) -> tuple[Video, ...]:
        """The test list of a split; raises as `train` does."""
        _check_unseen(self, split)
        return listed(self.set_name, self.index, split, "test")

    def frames(self, video: Video) -> np.ndarray:
        """All percepts of a video, float32 (T, D)."""
        return self.window(video, 0, video.num_frames)

    def window(self, video: Video, start: int, num_frames: int) -> np.ndarray:
        """Percepts start .. start + num_frames of a video, as far as it has them, float32."""
        count = min(num_frames, video.num_frames - start)
        return self.windows_on("cpu", [(video, start)], count)[:, 0].numpy()

    def windows_on(
        self, device: str, windows: Sequence[tuple[Video, int]], num_frames: int
    ) -> torch.Tensor:
        """Percepts of several windows, float32 (T, B, D) on a device; beyond the end of a video its last frame is held.

        Raises:
            IndexError: when a video has fewer percepts than frames, or a window does not begin within it.
        """
        store = self._store
        for video, _ in windows:
            if store.num_frames(video.id) < video.num_frames:
                raise IndexError(
                    f"video {video.id} has {video.num_frames} frames and {store.num_frames(video.id)} percepts in {self.place}: "
                    "extract them again"
                )
        return float32_windows(
            store,
            device,
            [(video.id, start) for video, start in windows],
            num_frames,
            self._scale,
        )

    def unlabelled(self, seed: int, indices: Sequence[int], num_frames: int) -> np.ndarray:
        """Windows of any videos of the set, labels unseen, float32 (T, B, D).

        Every place where a window fits is as likely as any other; a video that is shorter than a window counts once,
        and its last frame is held.
        """
        return self.unlabelled_on("cpu", seed, indices, num_frames).numpy()

    def unlabelled_on(
        self, device: str, seed: int, indices: Sequence[int], num_frames: int
    ) -> torch.Tensor:
        """What `unlabelled` gives, on a device."""
        import numpy as np

        ids, ends = _windows(_folder(self.set_name, self.place), self.percepts, num_frames)
        windows = []
        for index in indices:
            draw = int(np.random.Generator(np.random.Philox(key=[seed, index])).integers(ends[-1]))
            which = bisect_right(ends, draw)
            windows.append((ids[which], draw - (ends[which - 1] if which else 0)))
        return float32_windows(self._store, device, windows, num_frames, self._scale)

    def evaluation(self, indices: Sequence[int], num_frames: int) -> np.ndarray:
        """Windows drawn as `unlabelled` draws them, by a stream of its own, float32 (T, B, D)."""
        return self.unlabelled(EVALUATION_SEED, indices, num_frames)

    @property
    def _store(self) -> FeatureStore:
        return _store(_folder(self.set_name, self.place), self.percepts)

    @property
    def _scale(self) -> np.float32:
        return _scale(_folder(self.set_name, self.place), self.percepts)


def video_percepts(set_name: str, percepts: str = "", knob: str = "percepts") -> VideoPercepts:
    """A set of indexed videos with percepts that were extracted.

    Args:
        set_name: the set's name.
        percepts: the store, by the first letters of its folder's name (such as "rgb-vgg16"); empty if there is one only.
            Among several, those of videos that the set does not hold any more, and those without all shards, do not count.
        knob: what the user sets to name a store, for messages.

    Raises:
        ValueError: when the set was never indexed, or has no such store, or more than one; the sentence names them.
    """
    index = read(set_name)
    known, damaged = stores_in(set_name, "percepts")
    found = [name for name in known if name.startswith(percepts)]
    unreadable = [name for name in damaged if name.startswith(percepts)]
    if unreadable and not found:
        raise ValueError(damaged[unreadable[0]])
    if not known:
        raise ValueError(
            f"{set_name} has no percepts yet: make them with `harness run percepts --set dataset={set_name} --set "
            "convnet=... --set weights=FILE`"
        )
    if len(found) > 1:
        found = [name for name in found if is_usable(index, name, known[name])] or found
    if len(found) != 1:
        what = "is not among the" if not found else "could be any of these"
        raise ValueError(
            f"{knob}={percepts!r} {what} percepts of {set_name}: {', '.join(found or known)}; set {knob} to the first letters of "
            "one"
        )
    plan = known[found[0]]
    wrong = misplaced(index, found[0], plan)
    if wrong:
        raise ValueError(wrong)
    lacking = shards_missing(_folder(set_name, found[0]), plan)
    if lacking:
        raise ValueError(
            f"{found[0]} of {set_name} lacks {len(lacking)} of {len(plan.shards)} shards: run {maker(plan)} again, it "
            "makes what is missing"
        )
    return VideoPercepts(
        set_name=set_name,
        stream=str(plan.made_of.get("stream", "rgb")),
        index=index.identity,
        percepts=plan.identity,
        frame_size=plan.frame_size,
        place=found[0],
    )


def check_alike(labelled: VideoPercepts, unlabelled: VideoPercepts) -> None:
    """See that two sets' percepts are made in one way, so that what is learned on one fits the other.

    Raises:
        ValueError: naming what differs.
    """
    if labelled.percepts == unlabelled.percepts:
        return
    first, second = (
        {
            name: value
            for name, value in read_plan(_folder(each.set_name, each.place)).made_of.items()
            if name not in ("set_name", "videos", "shard_frames")
        }
        | {"frame_size": each.frame_size}
        for each in (labelled, unlabelled)
    )
    if "imported" in first and "imported" in second:
        # Of imported features only their maker's word is known; files of two sets always differ.
        first, second = (
            {
                name: _net_alone(value)
                for name, value in each.items()
                if not name.endswith("_sha256") and name != "dataset"
            }
            for each in (first, second)
        )
        if not first.get("made_by"):
            raise ValueError(
                f"what made the features of {labelled.set_name} is not known: import both sets' with one --made-by TEXT"
            )
    differing = [name for name in first.keys() | second.keys() if first.get(name) != second.get(name)]  # fmt: skip
    if differing:
        raise ValueError(
            f"the percepts of {unlabelled.set_name} are not made like those of {labelled.set_name}: {', '.join(sorted(differing))} "
            "differ; extract both in one way, or name other stores"
        )


def check_same_flow(first: VideoPercepts, other: VideoPercepts) -> None:
    """See that two stores of a set, one for each split, differ in nothing but whose labels their net has seen.

    Raises:
        ValueError: naming what differs.
    """

    def made_of(each: VideoPercepts) -> Mapping[str, JSON]:
        found = dict(read_plan(_folder(each.set_name, each.place)).made_of)
        found.pop("shard_frames", None)
        match found.get("convnet"):
            case dict(convnet):
                apart = ("weights_sha256", "trained_on")
                found["convnet"] = {n: each for n, each in convnet.items() if n not in apart}
        return found

    one, two = made_of(first), made_of(other)
    differing = sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))
    if differing:
        raise ValueError(
            f"{first.place} and {other.place} of {first.set_name} are not made alike ({', '.join(differing)} differ): one row of a table "
            "needs one kind of flow in all splits"
        )


def _net_alone(made: JSON) -> JSON:
    """What is said of a net, without the videos' identity, in whose place an import may have put that of its own."""
    seen = made.get("trained_on") if isinstance(made, Mapping) else None
    if isinstance(made, Mapping) and isinstance(seen, Mapping):
        return {**made, "trained_on": {name: seen[name] for name in seen if name != "videos"}}
    return made


def _check_unseen(data: VideoPercepts, split: int) -> None:
    """See that the labels of a split's test list were kept from the net that made the percepts.

    Raises:
        ValueError: when it was trained on labels of these videos by another split, or by an index that has changed.
    """
    seen = _labels_seen(data.set_name, data.place)
    same = seen.get("set_name") == data.set_name
    if not same and seen.get("videos") != index_of(data.set_name, data.index).content_identity:
        return
    if (seen.get("index"), seen.get("split")) != (data.index, split):
        lists = (
            "" if seen.get("index") == data.index else ", by an index that is not the one of now"
        )
        raise ValueError(
            f"split {split} of {data.set_name} cannot be tested on {data.place}: the net that made these percepts was trained on "
            f"labels of split {seen.get('split')} of {seen.get('set_name')}{lists}, so it may have been told answers of this test "
            f"list; train one with `harness run temporal --set dataset={data.set_name} --set splits={split}` and name its "
            "percepts with --set percepts=..."
        )


@lru_cache(maxsize=64)
def _labels_seen(set_name: str, place: str) -> Mapping[str, JSON]:
    """Whose labels the net of a store was trained on, as `tasks.weights_told.LabelsSeen` has it; empty if none are known."""
    match read_plan(_folder(set_name, place)).made_of:
        case {"convnet": {"trained_on": dict(seen)}}:
            return seen
    return {}


@lru_cache(maxsize=16)
def _store(folder: Path, identity: str) -> FeatureStore:
    return FeatureStore.open(folder, expect=identity)


@lru_cache(maxsize=16)
def _scale(folder: Path, identity: str) -> np.float32:
    import numpy as np

    return np.float32(root_mean_square(_store(folder, identity)))


@lru_cache(maxsize=16)
def _windows(folder: Path, identity: str, num_frames: int) -> tuple[list[str], list[int]]:
    """Ids of all videos, and the running number of places where a window fits."""
    videos = _store(folder, identity).videos
    ids = sorted(videos)
    return ids, list(accumulate(max(1, videos[each] - num_frames + 1) for each in ids))


def _folder(set_name: str, place: str) -> Path:
    # Whole, as open stores are remembered by it: the same name may lie under another root, or another current folder.
    return folder_of(set_name).absolute() / "percepts" / place
