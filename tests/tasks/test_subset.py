"""Subsets: pure functions of their coordinates, byte for byte."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import pytest

from tasks.data import dataset as datasets
from tasks.data.dataset import Video
from tasks.data.digits import Digits
from tasks.subset import Subset


def subset(shots: int | None, resample: int = 0, split: int = 1) -> Subset:
    return Subset(dataset=Digits(), split=split, shots=shots, resample=resample)


def test_manifests_are_byte_stable() -> None:
    manifests = b"".join(
        subset(k, r, s).manifest() for k in (1, 2, 16, None) for r in (0, 7) for s in (1, 3)
    )
    assert (
        hashlib.sha256(manifests).hexdigest()
        == "b393191d166397aa1bfe949b3c3ae9bf614a91a96ddcfd40b7ca614c5d3aa01c"
    )


def test_a_manifest_states_its_coordinates_ids_and_their_hash() -> None:
    content = json.loads(subset(2, 7).manifest())
    ids = [video.id for video in subset(2, 7).videos]
    assert content["videos"] == ids
    assert content["sha256"] == hashlib.sha256("\n".join(ids).encode()).hexdigest()
    assert (content["dataset"], content["split"], content["shots"], content["resample"]) == (
        "digits",
        1,
        2,
        7,
    )


@pytest.mark.parametrize("shots", [1, 2, 16])
def test_a_subset_takes_so_many_training_videos_of_every_class(shots: int) -> None:
    chosen = subset(shots, 4).videos
    assert Counter(video.label for video in chosen) == dict.fromkeys(range(10), shots)
    assert set(chosen) <= set(Digits().train(1))
    assert not set(chosen) & set(Digits().test(1))


def test_subsets_nest_in_shots() -> None:
    sizes = [set(subset(k, 5).videos) for k in (1, 2, 4, 8, 16, None)]
    assert all(small < large for small, large in pairwise(sizes))


def test_resamples_and_splits_differ() -> None:
    assert len({subset(2, resample).videos for resample in range(10)}) == 10
    assert set(subset(60, 0, 1).videos) != set(subset(60, 0, 2).videos)


def test_resample_seven_needs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import subset as module

    expected = subset(3, 7).videos
    module._chosen.cache_clear()
    for resample in (9, 0, 3):
        assert subset(3, resample).videos
    assert subset(3, 7).videos == expected


def test_all_labels_are_the_whole_training_list_whatever_the_resample() -> None:
    assert set(subset(None, 0).videos) == set(Digits().train(1)) == set(subset(None, 9).videos)


@pytest.mark.parametrize(
    ("shots", "resample", "split", "sentence"),
    [
        (0, 0, 1, "shots=0: a subset takes at least 1 video"),
        (61, 0, 1, "has only 60 training videos; ask for fewer shots"),
        (1, -1, 1, "resample=-1: resamples count from 0"),
        (1, 0, 4, "split 4 of digits does not exist: choose from 1, 2, 3"),
    ],
)
def test_impossible_subsets_are_refused_in_a_sentence(
    shots: int, resample: int, split: int, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        subset(shots, resample, split)


@dataclass(frozen=True)
class Leaky(Digits):
    name: ClassVar[str] = "leaky"
    trained: tuple[Video, ...]
    tested: tuple[Video, ...]

    def train(self, split: int) -> tuple[Video, ...]:
        return self.trained

    def test(self, split: int) -> tuple[Video, ...]:
        return self.tested


def test_a_group_on_both_sides_of_a_split_is_a_hard_error() -> None:
    first, second = (Video(id=name, label=0, group="g01", num_frames=20) for name in ("a", "b"))
    with pytest.raises(ValueError, match="group g01 is on both sides of split 1"):
        datasets.check_split(Leaky((first,), (second,)), 1)


def test_a_video_on_both_sides_of_a_split_is_a_hard_error() -> None:
    video = Video(id="a", label=0, group="g01", num_frames=20)
    with pytest.raises(ValueError, match="video a is on both sides of split 1"):
        datasets.check_split(Leaky((video,), (video,)), 1)
