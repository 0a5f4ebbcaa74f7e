"""Percepts reach the models at one size, whatever a convnet's numbers are."""

import math
from pathlib import Path

import numpy as np
import pytest

from tasks.data.feature_plan import StorePlan
from tasks.data.feature_shards import write_shard
from tasks.data.features import FeatureStore
from tasks.data.percept_scale import FRAMES, VIDEOS, root_mean_square


def store_of(folder: Path, features: dict[str, np.ndarray], shards: int = 1) -> FeatureStore:
    clips = [(video, len(each)) for video, each in features.items()]
    size = next(iter(features.values())).shape[1]
    plan = StorePlan.cut({"what": folder.name}, clips, size, shards=shards)
    for number, shard in enumerate(plan.shards):
        write_shard(folder, plan, number, ((video, features[video]) for video, _ in shard))
    return FeatureStore.open(folder)


def features_of(lengths: list[int], size: int = 5, scale: float = 3.0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        f"v{number:03d}": scale * random.normal(size=(length, size)).astype(np.float16)
        for number, length in enumerate(lengths)
    }


def test_of_a_small_store_it_is_that_of_all_numbers(tmp_path: Path) -> None:
    features = features_of([3, 1, FRAMES, 7])
    everything = np.concatenate(list(features.values())).astype(np.float64)
    expected = math.sqrt(np.square(everything).mean())
    assert root_mean_square(store_of(tmp_path / "a", features)) == pytest.approx(
        expected, rel=1e-12
    )
    turned = dict(reversed(features.items()))
    other = root_mean_square(store_of(tmp_path / "b", turned, shards=3))
    assert other == root_mean_square(FeatureStore.open(tmp_path / "a"))


def test_of_a_large_store_it_is_near_that_of_all_numbers(tmp_path: Path) -> None:
    features = features_of([40] * (VIDEOS + 50), size=4)
    found = root_mean_square(store_of(tmp_path / "a", features))
    everything = np.concatenate(list(features.values())).astype(np.float64)
    assert found == pytest.approx(math.sqrt(np.square(everything).mean()), rel=0.02)


def test_zeros_stay_zeros(tmp_path: Path) -> None:
    assert root_mean_square(store_of(tmp_path / "a", {"v": np.zeros((3, 2), np.float16)})) == 1.0
