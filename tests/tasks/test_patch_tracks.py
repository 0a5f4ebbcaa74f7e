"""Tracks of patches against a plain decoding: the same pixels, the same bytes when made again, and what is refused."""

import json
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tasks.cell import Cell
from tasks.data.feature_plan import MAX_VIDEOS_PER_SHARD, StoreDamaged
from tasks.data.feature_shards import shard_path
from tasks.data.features import FeatureStore
from tasks.data.index import read
from tasks.data.root import folder_of
from tasks.patch_tracks import PatchRecipe, PatchTracks, cut, place_of
from tests.tasks.patch_sets import CLIPS, SIZE, index_clips, recipe_of


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PatchRecipe:
    """A set of four clips, and how their patches are to be kept."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    return recipe_of(index_clips(tmp_path / "clips", CLIPS))


def make(recipe: PatchRecipe) -> list[float]:
    """Make all shards; the frames that each is scored."""
    told = []
    for shard in range(len(recipe.plan.shards)):
        task = PatchTracks(recipe=recipe, shard=shard)
        (score,) = task.score(task.predict(task.build(0, ()), 0))
        told.append(score.value)
    return told


def shard_with(recipe: PatchRecipe, track: str) -> PatchTracks:
    (shard,) = [k for k, each in enumerate(recipe.plan.shards) if track in dict(each)]
    return PatchTracks(recipe=recipe, shard=shard)


def plainly(recipe: PatchRecipe, video: str) -> NDArray[np.uint8]:
    """All frames of a video (T, Y, X, 3), without the code that is tested."""
    rows, columns = recipe.size
    with av.open(str(Path(read("mine").videos_dir) / f"{video}.mkv")) as container:
        return np.stack([
            frame.reformat(columns, rows, "rgb24", interpolation="BILINEAR").to_ndarray()
            for frame in container.decode(video=0)
        ])  # fmt: skip


def corner(recipe: PatchRecipe, video: str, track: int) -> tuple[int, int]:
    """The place of a track, by fractions and a hash written out."""
    digest = sha256(f"{recipe.seed}\n{track}\n{video}".encode()).digest()
    drawn = [
        Fraction(sum(byte << 8 * at for at, byte in enumerate(digest[first : first + 8])), 2**64)
        for first in (0, 8)
    ]
    row, column = (
        int(each * (size - recipe.side + 1)) for each, size in zip(drawn, recipe.size, strict=True)
    )
    return row, column


@pytest.mark.parametrize("colour", ["gray", "rgb"])
def test_a_track_is_what_a_plain_decoding_shows_at_its_place(
    recipe: PatchRecipe, colour: str
) -> None:
    recipe = replace(recipe, colour=colour)  # type: ignore[arg-type]
    assert sum(make(recipe)) == sum(CLIPS.values())
    store = FeatureStore.open(recipe.folder)
    store.verify()
    for video, length in CLIPS.items():
        frames_TYX3 = plainly(recipe, video)
        assert len(frames_TYX3) == length
        seen = set()
        for track in range(3):
            row, column = corner(recipe, video, track)
            expected = frames_TYX3[:, row : row + 8, column : column + 8].astype(int)
            if colour == "gray":
                red, green, blue = np.moveaxis(expected, -1, 0)
                # To the nearest level, a half upwards.
                expected = (2 * (299 * red + 587 * green + 114 * blue) + 1000) // 2000
            kept = store.frames(f"{video}#{track}")
            assert kept.dtype == np.uint8
            assert np.array_equal(kept, expected.reshape(length, -1))
            seen.add(kept.tobytes())
        assert len(seen) == 3
    # The shards are plain safetensors files.
    task = shard_with(recipe, "d#2")
    plain = load_file(shard_path(recipe.folder, task.shard))
    assert np.array_equal(plain["d#2"], store.frames("d#2"))


def test_luma_is_that_of_bt_601_to_the_nearest_level() -> None:
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (5, 9, 9, 3), dtype=np.uint8)
    frames[0, :2, :2] = [[[255, 255, 255], [0, 0, 0]], [[255, 0, 0], [0, 0, 255]]]
    kept = cut(frames, (0, 0), 9, "gray").astype(float).reshape(5, 9, 9)
    assert kept[0, :2, :2].tolist() == [[255, 0], [76, 29]]
    assert np.abs(kept - frames @ [0.299, 0.587, 0.114]).max() <= 0.5 + 1e-9


def test_places_are_drawn_alike_from_all_there_are() -> None:
    room = (2, 3)
    drawn = [place_of(0, f"v{k}", k % 5, room) for k in range(12_000)]
    counts = Counter(drawn)
    assert set(counts) == {(row, column) for row in range(3) for column in range(4)}
    assert all(abs(count - 1000) < 150 for count in counts.values())  # 5 sd
    assert {place_of(0, f"v{k}", 0, (0, 0)) for k in range(9)} == {(0, 0)}


def test_a_place_is_a_function_of_seed_video_and_track_that_stays_as_it_is() -> None:
    assert [place_of(0, "v_Run_g01_c01", k, (208, 288)) for k in range(3)] == GOLDEN
    several = {
        place_of(seed, video, track, (10**9, 10**9))
        for seed in (0, 1)
        for video in ("a", "b")
        for track in (0, 1)
    }
    assert len(several) == 8


GOLDEN = [(91, 82), (150, 54), (175, 193)]


def test_more_tracks_keep_those_there_were(recipe: PatchRecipe) -> None:
    more = replace(recipe, per_video=5)
    make(recipe)
    make(more)
    few, many = FeatureStore.open(recipe.folder), FeatureStore.open(more.folder)
    assert set(few.videos) < set(many.videos)
    assert all(np.array_equal(few.frames(each), many.frames(each)) for each in few.videos)


def test_all_tracks_of_a_video_lie_in_one_shard(recipe: PatchRecipe) -> None:
    shards = recipe.plan.shards
    assert [len(shard) for shard in shards] == [6, 6]
    for shard in shards:
        videos = [track.rpartition("#")[0] for track, _ in shard]
        assert all(videos.count(each) == 3 for each in videos)


def test_names_in_a_shard_are_not_more_than_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    index = index_clips(tmp_path / "clips", {"a": 1})
    (video,) = index.videos
    many = tuple(
        replace(video, id=f"v{number:05d}", path=f"v{number:05d}.mkv") for number in range(45)
    )
    index = replace(index, videos=many)
    index.write(folder_of("mine"))
    recipe = replace(recipe_of(index), per_video=999, shard_frames=10**6)
    assert [len(shard) // 999 for shard in recipe.plan.shards] == [20, 20, 5]
    assert all(len(shard) <= MAX_VIDEOS_PER_SHARD for shard in recipe.plan.shards)


def test_a_shard_is_made_to_the_same_bytes_and_missed_when_it_is_lost(recipe: PatchRecipe) -> None:
    make(recipe)
    task = PatchTracks(recipe=recipe, shard=0)
    path = shard_path(recipe.folder, 0)
    before = path.read_bytes()
    assert task.lost() == ""
    path.write_bytes(before[:-1])
    assert "not there any more, or not whole" in task.lost()
    with pytest.raises(StoreDamaged, match=r"make shard 0 with `harness run patches --set dataset=mine` again"):  # fmt: skip
        FeatureStore.open(recipe.folder)
    task.predict(task.build(0, ()), 0)
    assert path.read_bytes() == before


def test_whatever_alters_a_byte_alters_the_store_its_name_and_the_key(recipe: PatchRecipe) -> None:
    others = [
        recipe,
        replace(recipe, colour="rgb"),
        replace(recipe, per_video=4),
        replace(recipe, size=(24, 41)),
        replace(recipe, side=9),
        replace(recipe, seed=1),
        replace(recipe, shard_frames=41),
    ]
    assert len({each.plan.identity for each in others}) == len(others)
    assert len({each.title for each in others}) == len(others)
    cells = {Cell(task=PatchTracks(recipe=each, shard=0)).key for each in others}
    assert len(cells) == len(others)
    assert recipe.plan.made_of["size"] == list(SIZE)
    assert recipe.plan.made_of["stream"] == "patches"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"colour": "grey"}, "colour=grey: choose from gray, rgb"),
        ({"per_video": 0}, "per_video=0: cut 1 to 1,000 tracks of a video"),
        ({"per_video": 1001}, "per_video=1001: cut 1 to 1,000"),
        ({"side": 25}, "side=25: a patch has 1 row and column or more, and fits in frames of 24 x 40"),
        ({"side": 0}, "side=0: a patch has 1 row"),
        ({"shard_frames": 0}, "shard_frames=0: a shard holds at least 1 frame"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_refused(
    recipe: PatchRecipe, values: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(recipe, **values)  # type: ignore[arg-type]


def test_a_video_that_is_gone_or_was_replaced_is_named(recipe: PatchRecipe) -> None:
    path = Path(read("mine").videos_dir) / "b.mkv"
    task = shard_with(recipe, "b#0")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"b\.mkv has another checksum than when it was indexed"):
        task.predict(task.build(0, ()), 0)
    path.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        task.predict(task.build(0, ()), 0)
    assert not shard_path(recipe.folder, task.shard).exists()


@pytest.mark.parametrize("claimed", [36, 38, 1])
def test_a_video_of_another_number_of_frames_than_indexed_is_refused(
    recipe: PatchRecipe, claimed: int
) -> None:
    index = read("mine")
    videos = tuple(replace(v, num_frames=claimed if v.id == "a#1" else v.num_frames) for v in index.videos)  # fmt: skip
    other = replace(index, videos=videos)
    with pytest.raises(ValueError, match="were indexed again since this was asked for"):
        _ = replace(recipe, videos=other.content_identity).plan
    other.write(folder_of("mine"))
    changed = replace(recipe, videos=other.content_identity)
    task = shard_with(changed, "a#1#0")
    with pytest.raises(ValueError, match=f"has 37 frames, and {claimed} when it was indexed"):
        task.predict(task.build(0, ()), 0)
    assert not list(changed.folder.glob("*.safetensors"))


def test_a_shard_counts_each_of_its_videos_once_and_says_its_values(recipe: PatchRecipe) -> None:
    task = shard_with(recipe, "b#0")
    with pytest.raises(ValueError, match="each of its videos exactly once"):
        list(task.score({"video_id": np.array(["b", "b"]), "frames": np.array([3, 3])}))
    told = json.loads(json.dumps(task.values()))
    assert told["bytes"] == (CLIPS["a#1"] + CLIPS["b"]) * 3 * 64
    assert told["store"] == recipe.title
    with pytest.raises(ValueError, match="needs no other cell"):
        Cell(task=task, needs=(Cell(task=task),))
