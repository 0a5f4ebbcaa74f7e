"""A store of features: all videos of a set in a few large files, read as windows of frames by many processes.

A store is a folder of store.json (what it holds and what it was made of: `tasks.data.feature_plan`) and
shard-00000.safetensors and so on (`tasks.data.feature_shards`). To make one: `StorePlan.cut`, then for each number of
`shards_missing` a `write_shard`, in any order and on any machine that sees the folder.

Shapes: T frames of a window, B windows, D numbers of a frame's feature.
"""

import operator
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Self

import numpy as np

from tasks.data.feature_pieces import Features
from tasks.data.feature_plan import (
    NAME,
    StoreDamaged,
    StoreError,
    StoreIncomplete,
    StoreMismatch,
    StorePlan,
    read_plan,
)
from tasks.data.feature_shards import (
    ShardLayout,
    ShardWritten,
    damaged_clips,
    fill,
    fill_rows,
    is_as_written,
    layout_of,
    shards_missing,
    write_shard,
)
from tasks.data.spreading import spreading

__all__ = [
    "FeatureStore",
    "ShardWritten",
    "StoreDamaged",
    "StoreError",
    "StoreIncomplete",
    "StoreMismatch",
    "StorePlan",
    "plan_problem",
    "shards_missing",
    "write_shard",
]


def plan_problem(folder: Path, plan: StorePlan) -> str:
    """Why a folder's store.json does not state a plan, as one sentence; empty if it does. Quick when asked again."""
    try:
        state = (folder / NAME).stat()
    except FileNotFoundError:
        return f"there is no {NAME} in {folder}"
    return _plan_problem(folder, plan, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=16)
def _plan_problem(folder: Path, plan: StorePlan, mtime_ns: int, size: int) -> str:
    del mtime_ns, size  # with another of these it is another file
    try:
        plan.check(folder)
    except StoreError as error:
        return str(error)
    return ""


class FeatureStore:
    """A whole store, open for reading.

    Threads may share one, forked processes may go on with their parent's, and a pickled one opens itself again, for which
    the folder has to be there. Each process holds at most one file descriptor a shard. The first time that anything of a
    video is read, all of it is held against its checksum, so no process computes on bytes that are not those that were
    written.
    """

    def __init__(self, folder: Path, plan: StorePlan, layouts: Sequence[ShardLayout]) -> None:
        """Use `open`, which checks what it is given."""
        self.folder = folder
        self.plan = plan
        self.videos: Mapping[str, int] = MappingProxyType(
            {video: frames for shard in plan.shards for video, frames in shard}
        )
        """Frames of each video by its id, in the store's order."""
        self._layouts = tuple(layouts)
        self._places = {
            video: (layout.number, index)
            for layout in layouts
            for index, (video, _) in enumerate(layout.clips)
        }
        self._vouched: set[str] = set()
        self._handles: dict[int, int] = {}
        self._closing = weakref.finalize(self, _close_all, self._handles)

    @classmethod
    def open(cls, folder: Path, *, expect: str | None = None) -> Self:
        """Open a store after a quick look at every shard: its size, and its header up to the checksums.

        Args:
            folder: the store's.
            expect: the identity that its plan has to have.

        Raises:
            StoreIncomplete: when there is no store, or shards are missing.
            StoreDamaged: when store.json or a shard is not what was written.
            StoreMismatch: when the identity is another one than expected.
        """
        plan = read_plan(folder)
        if expect is not None and plan.identity != expect:
            raise StoreMismatch(
                f"{folder} holds features of identity {plan.identity[:12]}, but {expect[:12]} is expected: they were "
                "made of something else (store.json says of what); extract into another folder, or name that one"
            )
        layouts = [layout_of(folder, plan, number) for number in range(len(plan.shards))]
        missing = [layout for layout in layouts if not layout.path.exists()]
        if missing:
            raise StoreIncomplete(
                f"{folder} lacks {len(missing)} of {len(layouts)} shards, the first is {missing[0].path.name}: "
                "extract them; those that are there are kept"
            )
        for layout in layouts:
            os.close(layout.open())
        return cls(folder, plan, layouts)

    def __reduce__(self) -> tuple[Callable[[Path, str], "FeatureStore"], tuple[Path, str]]:
        return _reopen, (self.folder, self.plan.identity)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its files; to be called when no thread reads any more."""
        _close_all(self._handles)

    @property
    def identity(self) -> str:
        """The plan's: sha256 over all that can alter a feature."""
        return self.plan.identity

    def num_frames(self, video: str) -> int:
        """Frames of a video.

        Raises:
            LookupError: when the store has no such video.
        """
        self._place(video)
        return self.videos[video]

    def frames(self, video: str) -> Features:
        """All features of a video, (T, D) as stored.

        Raises:
            LookupError: when the store has no such video.
            StoreDamaged: when the file ends too early, or the video is not what was written.
        """
        return self.window(video, 0, self.num_frames(video))

    def window(self, video: str, start: int, count: int, out: Features | None = None) -> Features:
        """Features of `count` frames from frame `start` on, (count, D).

        Args:
            video: its id.
            start: from 0.
            count: at least 1.
            out: where to put them, in the store's type or float32 (count, D); else as stored, in a new array.

        Raises:
            LookupError: when the store has no such video.
            IndexError: when the window is not within the video.
            ValueError: when `count` is below 1, or `out` has another shape or type.
            StoreDamaged: when the file ends too early, or the video is not what was written.
        """
        batch_T1D = None if out is None else out[:, None]
        return self.windows([(video, start)], count, batch_T1D)[:, 0]

    def windows(
        self,
        windows: Sequence[tuple[str, int]],
        count: int,
        out: Features | None = None,
        *,
        hold: bool = False,
    ) -> Features:
        """Features of several windows of one length, time first: (T, B, D) with T = `count`.

        Args:
            windows: of each its video's id and its first frame.
            count: frames of every window, at least 1.
            out: where to put them, in the store's type or float32 (T, B, D), rows in one piece, such as a pinned tensor's
                .numpy(); else as stored, in a new array. What is stored is widened, never the other way round.
            hold: whether a window may go beyond the end of its video, whose last frame is then held.

        Raises:
            LookupError: when the store has no such video.
            IndexError: when a window is not within its video; with `hold`, when it does not begin within it.
            ValueError: when `count` is below 1, or `out` has another shape or type.
            StoreDamaged: when a file ends too early, or a video is not what was written.
        """
        if count < 1:
            raise ValueError(f"count is {count}, but a window has frames: pass at least 1")
        places = [self._find(video, start, count, hold=hold) for video, start in windows]
        stored = np.dtype(self.plan.numpy_dtype)
        shape = (count, len(windows), self.plan.frame_size)
        if out is None:
            out = np.empty(shape, stored)
        elif out.shape != shape or out.dtype not in {stored, np.dtype(np.float32)}:
            raise ValueError(
                f"out is {out.dtype} {out.shape}, but these windows are {self.plan.dtype} {shape}: "
                "pass an array of that shape, in that type or in float32"
            )
        elif not out.flags.writeable:
            raise ValueError("out is read-only, but features are to be put there: pass a copy")
        if out.dtype == stored and out[:1, :1].flags.c_contiguous:
            self._read_straight(places, out)
        else:
            self._read_and_spread(places, out)
        for index, (_, _, there) in enumerate(places):
            if there < count:
                out[there:, index] = out[there - 1, index]
        return out

    def verify(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Read everything, and check every header and every video's checksum.

        Args:
            progress: told after each shard how many shards of how many are read.

        Raises:
            StoreDamaged: naming the damaged videos' number, the first one, and the shards to extract again.
        """
        damaged: dict[int, list[str]] = {}
        for done, layout in enumerate(self._layouts, start=1):
            try:
                names = [f"video {video}" for video in damaged_clips(layout)]
            except StoreError:
                names = ["its header, size or existence"]
            except EOFError:
                names = ["its end"]
            if names:
                damaged[layout.number] = names
            if progress is not None:
                progress(done, len(self._layouts))
        if damaged:
            number, names = next(iter(damaged.items()))
            raise StoreDamaged(
                f"{sum(map(len, damaged.values()))} parts of {self.folder} are not what was written, the first is "
                f"{names[0]} in {self._layouts[number].path.name}: delete shard {', '.join(map(str, damaged))} "
                "and extract again",
                tuple(damaged),
            )

    def _place(self, video: str) -> tuple[int, int]:
        try:
            return self._places[video]
        except KeyError:
            near = get_close_matches(video, self._places, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "its .videos lists those it has"
            raise LookupError(f"{self.folder} has no video {video!r}: {hint}") from None

    def _find(self, video: str, start: int, count: int, *, hold: bool) -> tuple[int, int, int]:
        """A window's shard, its offset there, and how many of its frames are there."""
        number, index = self._place(video)
        start, frames = operator.index(start), self.videos[video]
        if not 0 <= start <= (frames - 1 if hold else frames - count):
            raise IndexError(
                f"a window from frame {start} of video {video} was asked for, which has {frames}: windows start at 0 to {frames - 1}"
                if hold
                else f"frames {start} to {start + count - 1} of video {video} were asked for, which has {frames}: "
                f"windows of {count} start at 0 to {frames - count}"
                if count <= frames
                else f"{count} frames of video {video} were asked for, which has {frames}: take a longer video or fewer frames"
            )
        if video not in self._vouched:
            self._vouch(video, number, index)
        offset = self._layouts[number].starts[index] + start * self.plan.frame_bytes
        return number, offset, min(count, frames - start)

    def _read_straight(self, places: Sequence[tuple[int, int, int]], out_TBD: Features) -> None:
        """Have the system call put every row into its place, where nothing is to be widened and rows are in one piece."""
        bytes_TBN = out_TBD.view(np.uint8)
        for index, (number, offset, there) in enumerate(places):
            try:
                fill_rows(self._handle(number), bytes_TBN[:there, index], offset)
            except EOFError:
                raise self._cut_short(number) from None

    def _read_and_spread(self, places: Sequence[tuple[int, int, int]], out_TBD: Features) -> None:
        """Read every window in one piece and copy its rows from there, while they are in the processor's cache."""
        read_TD = np.empty((len(out_TBD), self.plan.frame_size), self.plan.numpy_dtype)
        read_N = read_TD.view(np.uint8).reshape(-1)
        spread = spreading(read_TD, out_TBD)
        for index, (number, offset, there) in enumerate(places):
            try:
                fill(self._handle(number), read_N[: there * self.plan.frame_bytes], offset)
            except EOFError:
                raise self._cut_short(number) from None
            spread(index, there)

    def _vouch(self, video: str, number: int, index: int) -> None:
        """Hold a video against its checksum."""
        path = self._layouts[number].path
        try:
            if not is_as_written(self._layouts[number], self._handle(number), index):
                raise StoreDamaged(
                    f"video {video} in {path} is not what was written (its checksum differs): delete the file and "
                    f"{self._layouts[number].again}",
                    (number,),
                )
        except EOFError:
            raise self._cut_short(number) from None
        self._vouched.add(video)

    def _cut_short(self, number: int) -> StoreDamaged:
        return StoreDamaged(
            f"{self._layouts[number].path} was cut short while it was read: {self._layouts[number].again}",
            (number,),
        )

    def _handle(self, number: int) -> int:
        handle = self._handles.get(number)
        if handle is None:
            # No lock, which a fork could leave locked for ever: the first to get here stays, others close theirs.
            opened = self._layouts[number].open()
            handle = self._handles.setdefault(number, opened)
            if handle != opened:
                os.close(opened)
        return handle


def _reopen(folder: Path, identity: str) -> FeatureStore:
    return FeatureStore.open(folder, expect=identity)


def _close_all(handles: dict[int, int]) -> None:
    while handles:
        os.close(handles.popitem()[1])
