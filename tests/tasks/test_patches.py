"""Windows of patches: whose they are, how they are drawn and scaled, and which store is meant."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tasks.cell import canonical
from tasks.data import on_device
from tasks.data.dataset import DrawnOnDevice
from tasks.data.feature_plan import NAME
from tasks.data.feature_shards import shard_path, write_shard
from tasks.data.features import FeatureStore
from tasks.data.held_out import sides
from tasks.data.index import Index, read
from tasks.data.patches import FRAMES, Patches, find_patches, level, track_id
from tasks.data.root import folder_of
from tasks.data.sheet import Split
from tasks.patch_tracks import PatchRecipe
from tests.tasks.patch_sets import listed_index

VIDEOS, TRACKS, SIDE = 12, 3, 4
LENGTHS = {f"v{number:02d}": (30 if number % 4 else 2) for number in range(VIDEOS)}
T = 5


def pixels(video: str, track: int, frame: int) -> list[int]:
    """What stands at a place: any window says of which video, track and frames it is."""
    rest = [40 * ((7 * frame + at) % 5) for at in range(SIDE**2 - 3)]
    return [int(video[1:]), 100 + track, frame, *rest]


def keep(index: Index, **changes: object) -> PatchRecipe:
    """Write a store of made-up patches."""
    recipe = PatchRecipe(
        set_name=index.name, videos=index.content_identity, per_video=TRACKS, side=SIDE, shard_frames=60
    )  # fmt: skip
    recipe = replace(recipe, **changes)  # type: ignore[arg-type]
    for number, shard in enumerate(recipe.plan.shards):
        written = (
            (track, np.array([pixels(track[:3], int(track[4:]), t)[: recipe.patch_bytes] for t in range(frames)], np.uint8))
            for track, frames in shard
        )  # fmt: skip
        write_shard(recipe.folder, recipe.plan, number, written)
    return recipe


def a_set(split: bool = True) -> Index:
    groups = {video: f"g{int(video[1:]) // 2}" for video in LENGTHS}
    test = ("v00", "v01", "v06", "v07")
    train = tuple(video for video in LENGTHS if video not in test)
    index = listed_index(groups, {1: Split(train=train, test=test)} if split else {})
    videos = tuple(replace(video, num_frames=LENGTHS[video.id]) for video in index.videos)
    index = replace(index, videos=videos)
    folder_of(index.name).mkdir(parents=True, exist_ok=True)
    index.write(folder_of(index.name))
    return index


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Patches:
    """Twelve videos of six groups, two of which are tested; every fourth has but two frames."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    keep(a_set())
    return find_patches("listed")


def told(data: Patches, frames_TBD: NDArray[np.float32]) -> NDArray[np.int64]:
    """The bytes that frames were made of."""
    levels = (frames_TBD.astype(np.float64) * data.scale + data.offset) * 255
    assert np.abs(levels - np.rint(levels)).max() < 1e-3
    return np.rint(levels).astype(np.int64)


def test_patches_kept_on_a_device_are_those_of_the_files_bit_by_bit(
    data: Patches, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_TBD = data.unlabelled(4, range(50), T)
    kept = on_device.Kept(data._store, "cpu")  # the CPU in the place of a GPU that has room
    monkeypatch.setattr(on_device, "kept_on", lambda store, device: kept)
    assert isinstance(data, DrawnOnDevice)
    gathered_TBD = data.unlabelled_on("cuda", 4, range(50), T).numpy()
    np.testing.assert_array_equal(gathered_TBD.view(np.uint32), read_TBD.view(np.uint32))


def test_windows_come_from_their_own_side_alone(data: Patches) -> None:
    held_out = {0, 1, 6, 7}
    trained = told(data, data.unlabelled(0, range(600), T))
    tested = told(data, data.evaluation(range(300), T))
    assert set(trained[..., 0].ravel()) == set(range(VIDEOS)) - held_out
    assert set(tested[..., 0].ravel()) == held_out
    for seed in (1, 2**40):
        assert not set(told(data, data.unlabelled(seed, range(200), T))[..., 0].ravel()) & held_out


def test_a_window_is_a_run_of_frames_of_one_track_and_short_videos_hold_their_last(
    data: Patches,
) -> None:
    frames_TBD = data.unlabelled(3, range(400), T)
    assert frames_TBD.shape == (T, 400, SIDE**2)
    assert frames_TBD.dtype == np.float32
    levels_TBD = told(data, frames_TBD)
    short = 0
    for row in range(400):
        video, track, first = levels_TBD[0, row, :3].tolist()
        length = LENGTHS[f"v{video:02d}"]
        short += length < T
        expected = [
            pixels(f"v{video:02d}", track - 100, min(first + t, length - 1)) for t in range(T)
        ]
        assert levels_TBD[:, row].tolist() == expected
        assert first <= max(0, length - T)
    assert short > 0


def test_a_sequence_depends_on_seed_and_index_alone(data: Patches) -> None:
    many = data.unlabelled(5, range(100), T)
    chosen = [97, 3, 3, 40]
    assert np.array_equal(data.unlabelled(5, chosen, T), many[:, chosen])
    assert np.array_equal(data.unlabelled(5, [41], T)[:, 0], many[:, 41])
    assert not np.array_equal(data.unlabelled(6, range(100), T), many)
    tests = data.evaluation(range(50), T)
    assert np.array_equal(data.evaluation([49, 7], T), tests[:, [49, 7]])
    assert data.unlabelled(5, [], T).shape == (T, 0, SIDE**2)


def test_every_place_where_a_window_fits_is_as_likely_as_any_other(data: Patches) -> None:
    draws = 24_000
    levels_BD = told(data, data.unlabelled(0, range(draws), T)[:1])[0]
    found = Counter(map(tuple, levels_BD[:, :3].tolist()))
    places = {
        (int(video[1:]), 100 + track, start)
        for video in sides(read("listed")).train
        for track in range(TRACKS)
        for start in range(max(1, LENGTHS[video] - T + 1))
    }
    assert set(found) == places
    expected = draws / len(places)
    squares = sum((found[place] - expected) ** 2 / expected for place in places)
    assert abs(squares - len(places)) < 5 * math.sqrt(2 * len(places))  # chi squared, 5 sd


def test_the_scale_is_that_of_all_training_pixels(data: Patches) -> None:
    everything = np.array(
        [
            pixels(video, track, t)
            for video in sides(read("listed")).train
            for track in range(TRACKS)
            for t in range(LENGTHS[video])
        ],
        np.float64,
    )
    assert max(LENGTHS.values()) <= FRAMES
    assert data.offset == pytest.approx(everything.mean() / 255, rel=1e-12)
    assert data.scale == pytest.approx(everything.std() / 255, rel=1e-12)
    # Of the held-out pixels nothing is seen: other ones, and both are as they were.
    other = replace(read("listed"), splits={})
    other.write(folder_of("listed"))
    assert find_patches("listed").offset != data.offset


def test_pixels_that_are_all_equal_are_not_divided_by_zero(data: Patches, tmp_path: Path) -> None:
    plan = replace(FeatureStore.open(keep(a_set()).folder).plan, shards=((("a", 3),),))
    write_shard(tmp_path / "flat", plan, 0, [("a", np.full((3, SIDE**2), 51, np.uint8))])
    assert level(FeatureStore.open(tmp_path / "flat"), ["a"]) == (0.2, 1.0)


def test_what_it_is_made_of_is_in_its_key_and_where_it_lies_is_not(data: Patches) -> None:
    elsewhere = replace(data, place="elsewhere")
    assert canonical(elsewhere) == canonical(data)
    assert hash(elsewhere) == hash(data)
    described = canonical(data)
    assert (described["class"], described["version"]) == ("Patches", 1)
    keep(read("listed"), colour="rgb", side=2)
    colours = find_patches("listed", "rgb")
    assert (colours.frame_size, data.frame_size) == (12, SIDE**2)
    assert canonical(colours) != described
    relisted = replace(read("listed"), splits={})
    relisted.write(folder_of("listed"))
    assert canonical(find_patches("listed", "gray")) != described
    with pytest.raises(ValueError, match="listed was indexed again since this was asked for"):
        replace(data, index="0" * 64).unlabelled(1, [0], T)


def test_notes_say_what_is_held_out_and_in_which_units_losses_are(data: Patches) -> None:
    said = " ".join(data.notes)
    assert all(note.startswith("listed: ") for note in data.notes)
    assert f"patches are {data.place}: 3 places a video" in said
    assert "4 videos are held out, those of the test list of split 1; 8 are trained on" in said
    assert "squared errors are in units of that variance" in said


def test_a_sequence_has_frames(data: Patches) -> None:
    with pytest.raises(ValueError, match="num_frames=0: a sequence has at least 1"):
        data.unlabelled(0, [0], 0)


def test_the_store_that_is_meant_is_found_or_the_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    index = a_set()
    with pytest.raises(ValueError, match=r"listed has no stored patches yet: make them with `harness run patches --set dataset=listed`"):  # fmt: skip
        find_patches("listed")
    gray = keep(index)
    other = keep(index, seed=1)
    with pytest.raises(ValueError, match=r"patches='' could be any of those of listed: name one with --set patches=\.\.\. \(gray"):  # fmt: skip
        find_patches("listed")
    with pytest.raises(ValueError, match=r"test_on='rgb' is not among those of listed: name one with --set test_on="):  # fmt: skip
        find_patches("listed", "rgb", "test_on")
    assert find_patches("listed", other.title).patches == other.plan.identity
    # One that lacks a shard does not count beside a whole one, and is refused alone.
    shard_path(other.folder, 1).unlink()
    assert find_patches("listed").patches == gray.plan.identity
    with pytest.raises(ValueError, match=rf"{other.title} of listed lacks 1 of {len(other.plan.shards)} shards: run `harness run patches`"):  # fmt: skip
        find_patches("listed", other.title)
    (other.folder / NAME).write_bytes(b"{")
    with pytest.raises(ValueError, match=r"was cut short or altered.*\(`harness run patches --set dataset=listed`\)"):  # fmt: skip
        find_patches("listed", other.title)
    renamed = gray.folder.with_name("rgb-0123456789ab")
    gray.folder.rename(renamed)
    with pytest.raises(ValueError, match=r"holds patches of identity .* it was renamed"):
        find_patches("listed")
    renamed.rename(gray.folder)
    one_group = tuple(replace(video, group="g") for video in a_set(split=False).videos)
    replace(index, videos=one_group, splits={}, classes=()).write(folder_of("listed"))
    with pytest.raises(ValueError, match="of one group, so none can be held out"):
        find_patches("listed")


def test_patches_of_videos_that_changed_since_are_refused(data: Patches) -> None:
    index = read("listed")
    fewer = tuple(video for video in index.videos if video.id != "v02")
    lists = index.splits[1]
    train = tuple(video for video in lists.train if video != "v02")
    replace(index, videos=fewer, splits={1: replace(lists, train=train)}).write(folder_of("listed"))
    with pytest.raises(ValueError, match="was made of other videos than those that listed holds now: run `harness run patches`"):  # fmt: skip
        find_patches("listed")


def test_track_names_are_told_apart() -> None:
    names = {track_id(video, track) for video in ("a", "a#1", "a#1#1", "a1") for track in (0, 1, 11)}  # fmt: skip
    assert len(names) == 12
