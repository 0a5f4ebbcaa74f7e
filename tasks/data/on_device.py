"""Windows of a store of features where they are trained on: gathered there if the store fits, else read and sent.

A GPU that has room for all of a store keeps it, as it is stored: a video is read the first time that anything of it
is asked for, whole, as it is held against its checksum then anyway, and windows are rows picked on the device. Numbers are widened
and divided on the device, too, so that half as many bytes travel. All of it gives the bits that reading on the CPU gives.

Shapes: R frames of all videos, T frames of a window, B windows, D numbers of a frame.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

    from tasks.data.features import FeatureStore

LOG = logging.getLogger(__name__)
SHARE = 0.4
"""A store is kept on a GPU if it takes at most this share of what is free when it is first asked for. The rest is the model's."""


def float32_windows(
    store: FeatureStore,
    device: str,
    windows: Sequence[tuple[str, int]],
    count: int,
    divisor: np.float32,
    offset: np.float32 | None = None,
) -> torch.Tensor:
    """(feature - offset) / divisor of several windows, float32 (T, B, D) on a device, the same bits on every one.

    Args:
        store: where they come from.
        device: in torch's words.
        windows: of each its video's id and its first frame; beyond a video's end its last frame is held.
        count: frames of a window, T.
        divisor: above 0.
        offset: nothing is taken off, if None.

    Raises:
        LookupError: when the store has no such video.
        IndexError: when a window does not begin within its video.
        StoreDamaged: when a file ends too early, or a video is not what was written.
    """
    import numpy as np
    import torch

    shape = (count, len(windows), store.plan.frame_size)
    if device.startswith("cpu"):
        # Widened window by window as it is read. NumPy asks for large pages where torch does not: fewer faults in fresh memory.
        read_TBD = store.windows(windows, count, np.empty(shape, np.float32), hold=True)
        wide_TBD = torch.from_numpy(read_TBD)
    else:
        kept = kept_on(store, device)
        if kept is not None:
            stored_TBD = kept.windows(windows, count)
        else:
            dtype = torch.from_numpy(_none_of(store)).dtype
            pinned_TBD = torch.empty(shape, dtype=dtype, pin_memory=device.startswith("cuda"))
            store.windows(windows, count, pinned_TBD.numpy(), hold=True)
            stored_TBD = pinned_TBD.to(device, non_blocking=True)
        wide_TBD = stored_TBD.float()
    if offset is not None:
        wide_TBD.sub_(float(offset))
    # A tensor of the device's own: a GPU multiplies by the reciprocal of a plain number, which may differ in the last bit.
    return wide_TBD.div_(
        torch.full((), float(divisor), dtype=torch.float32, device=wide_TBD.device)
    )


class Kept:
    """All features of a store in a device's memory, as they are stored; videos come when they are first asked for."""

    def __init__(self, store: FeatureStore, device: str) -> None:
        """Take the memory for all of a store; nothing is read yet."""
        import torch

        self._store = store
        self._first_row: dict[str, int] = {}
        total = 0
        for video, frames in store.videos.items():
            self._first_row[video] = total
            total += frames
        dtype = torch.from_numpy(_none_of(store)).dtype
        self._rows_RD = torch.empty((total, store.plan.frame_size), dtype=dtype, device=device)
        self._there: set[str] = set()
        self._reading = threading.Lock()

    def windows(self, windows: Sequence[tuple[str, int]], count: int) -> torch.Tensor:
        """Several windows as stored, (T, B, D), the last frame held; raises what `float32_windows` does."""
        import numpy as np
        import torch

        first_B, last_B = [], []
        for video, start in windows:
            frames = self._store.num_frames(video)
            if not 0 <= start < frames:
                raise IndexError(
                    f"a window from frame {start} of video {video} was asked for, which has {frames}: windows start at 0 to "
                    f"{frames - 1}"
                )
            self._bring(video)
            first_B.append(self._first_row[video] + start)
            last_B.append(self._first_row[video] + frames - 1)
        row_TB = np.minimum(
            np.arange(count)[:, None] + np.array(first_B, np.int64), np.array(last_B, np.int64)
        )
        places = torch.from_numpy(row_TB)
        if self._rows_RD.is_cuda:
            places = places.pin_memory()
        places = places.to(self._rows_RD.device, non_blocking=True)
        return self._rows_RD.index_select(0, places.flatten()).view(*places.shape, -1)

    def _bring(self, video: str) -> None:
        import torch

        if video in self._there:
            return
        with self._reading:
            first = self._first_row[video]
            features_TD = torch.from_numpy(self._store.frames(video))
            self._rows_RD[first : first + len(features_TD)].copy_(features_TD)
            self._there.add(video)


_kept: dict[str, tuple[FeatureStore, Kept | None]] = {}
"""By device, the store that was asked for last: one at a time, as each takes its share of what is free."""


def kept_on(store: FeatureStore, device: str) -> Kept | None:
    """A store in a GPU's memory; None where it does not fit, or there is no GPU."""
    import torch

    if not device.startswith("cuda"):
        return None
    found = _kept.get(device)
    if found is not None and found[0] is store:
        return found[1]
    if found is not None:
        torch.cuda.synchronize(device)  # until nothing on the device reads the old store
        found = None  # this name would keep it alive: it has to be gone when room for the next one is measured
        _kept.pop(device, None)
        torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    kept = Kept(store, device) if fits(store, free) else None
    LOG.info(
        "%s, %.2f GB: %s (%.0f %% of the %.2f GB that are free on %s may be taken)",
        store.folder.name, num_bytes(store) / 1e9, "kept on the device" if kept else "read from its files as it does not fit",
        100 * SHARE, free / 1e9, device,
    )  # fmt: skip
    _kept[device] = (store, kept)
    return kept


def num_bytes(store: FeatureStore) -> int:
    """Bytes of all features of a store."""
    return sum(store.videos.values()) * store.plan.frame_bytes


def fits(store: FeatureStore, free: int) -> bool:
    """Whether a store is small enough for a device of which so many bytes are free."""
    return num_bytes(store) <= SHARE * free


def _none_of(store: FeatureStore) -> np.ndarray:
    import numpy as np

    return np.empty(0, store.plan.numpy_dtype)
