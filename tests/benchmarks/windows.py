"""Windows from the feature store against plain copies of the same bytes to the same places, all files in the page cache."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import torch

from tasks.data.features import FeatureStore, StorePlan, write_shard
from tasks.data.on_device import Kept, float32_windows
from tests.benchmarks.ratios import Ratio, compare

VIDEOS, FRAMES, D, T, B, BATCHES = 200, 60, 4096, 16, 32, 20
Pair = tuple[str, Callable[[], object], str, Callable[[], object], str]
"""What it is called, the thing, what its peer is called, the peer, what their ratio should be."""


def ratios(folder: Path) -> list[Ratio]:
    """Batches of random windows from a store, and each of its peers.

    A plain copy is np.copyto from a warm np.memmap of the same rows to the same (T, B, D) array, window by window; where
    that is float32, torch's copy beside it, as NumPy widens halves one by one.
    """
    return [compare(*pair) for pair in _pairs(folder)]


def _pairs(folder: Path) -> Iterator[Pair]:
    plan = StorePlan.cut(
        {}, [(f"v{index}", FRAMES) for index in range(VIDEOS)], D, shard_bytes=2**25
    )
    rows_RD = (
        np.random.default_rng(0).standard_normal((VIDEOS * FRAMES, D), np.float32).astype("<f2")
    )
    first_row = {f"v{index}": FRAMES * index for index in range(VIDEOS)}
    for number, shard in enumerate(plan.shards):
        write_shard(folder, plan, number, ((v, rows_RD[first_row[v] :][:FRAMES]) for v, _ in shard))
    rows_RD.tofile(folder / "rows.bin")
    draw = np.random.default_rng(1)
    batches = [
        [
            (f"v{video}", int(start))
            for video, start in draw.integers(0, (VIDEOS, FRAMES - T + 1), (B, 2))
        ]
        for _ in range(BATCHES)
    ]
    rows = [[first_row[video] + start for video, start in batch] for batch in batches]
    halves_TBD, wide_TBD = np.empty((T, B, D), "<f2"), np.empty((T, B, D), np.float32)
    mapped_RD = np.memmap(folder / "rows.bin", "<f2", "r", shape=rows_RD.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is read-only: nobody writes
        tensor_RD = torch.from_numpy(mapped_RD)

    def copied(source_RD: "np.memmap | h5py.Dataset", out_TBD: np.ndarray) -> Callable[[], None]:
        def run() -> None:
            for batch in rows:
                for index, row in enumerate(batch):
                    out_TBD[:, index] = source_RD[row : row + T]

        return run

    def by_torch() -> None:
        out_TBD = torch.from_numpy(wide_TBD)
        for batch in rows:
            for index, row in enumerate(batch):
                out_TBD[:, index].copy_(tensor_RD[row : row + T])

    what = f"{B * BATCHES} random windows of {T} x {D}, halves"
    with (
        FeatureStore.open(folder) as store,
        h5py.File(folder / "rows.h5", "w") as file,
        closing(_Rows(folder / "rows.bin")) as bare,
    ):
        stored_RD = file.create_dataset("hidden6", data=rows_RD)
        kept = Kept(store, "cpu")

        def from_store(out_TBD: np.ndarray) -> Callable[[], None]:
            def run() -> None:
                for batch in batches:
                    store.windows(batch, T, out_TBD)

            return run

        def system_calls() -> None:
            for batch in rows:
                bare.read(batch, halves_TBD)

        def as_trained_on() -> None:
            for batch in batches:
                float32_windows(store, "cpu", batch, T, np.float32(3.1))

        def copied_and_divided() -> None:
            for batch in rows:
                for index, row in enumerate(batch):
                    wide_TBD[:, index] = mapped_RD[row : row + T]
                np.divide(wide_TBD, np.float32(3.1), out=wide_TBD)

        def gathered() -> None:
            for batch in batches:
                kept.windows(batch, T)

        half = from_store(halves_TBD)
        yield what, half, "one bare preadv a window", system_calls, "at most 1.25"
        copying = copied(mapped_RD, halves_TBD)
        yield what, half, "np.copyto from a memmap, same places", copying, "at most 1.25"
        yield what, half, "h5py, contiguous", copied(stored_RD, halves_TBD), ""
        wide = from_store(wide_TBD)
        yield (
            f"{what} to float32",
            wide,
            "np.copyto from a memmap",
            copied(mapped_RD, wide_TBD),
            "at most 1.25",
        )
        yield f"{what} to float32", wide, "torch's copy from a memmap", by_torch, ""
        yield f"{what} to float32, divided", as_trained_on, "np.copyto, np.divide", copied_and_divided, ""  # fmt: skip
        yield f"{what}, kept in memory as on a GPU", gathered, "np.copyto from a memmap, same places", copied(mapped_RD, halves_TBD), ""  # fmt: skip


class _Rows:
    """A file of rows, read without anything around it."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDONLY)

    def read(self, rows: list[int], out_TBD: np.ndarray) -> None:
        bytes_TBN = out_TBD.view(np.uint8)
        for index, row in enumerate(rows):
            os.preadv(self._handle, list(bytes_TBN[:, index]), row * 2 * D)

    def close(self) -> None:
        os.close(self._handle)
