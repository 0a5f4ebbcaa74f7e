"""Stored flow: what is kept is what frames give, to the last byte, and what is read from it is the flow stream."""

import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tasks import flow_fields
from tasks.data import decode
from tasks.data.feature_plan import StoreDamaged, StorePlan
from tasks.data.feature_shards import shard_path, write_shard
from tasks.data.features import FeatureStore
from tasks.data.flow import Quantised, flow_of
from tasks.data.flow_videos import video_flow
from tasks.data.index import Index, IndexedVideo, read
from tasks.data.root import folder_of
from tasks.flow_fields import FlowFields, FlowRecipe
from tasks.flow_stream import FlowSpec, size_of, stacks, stored_stacks
from tests.tasks.flow_sets import moving_thing, write_frames

LENGTHS = {"long": 37, "short": 3, "still": 1, "two": 2}
SIZE = (40, 48)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FlowRecipe:
    """A set of four clips, and how its flow is to be kept, in two shards."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    videos = []
    for number, (name, length) in enumerate(sorted(LENGTHS.items())):
        frames = moving_thing(length, down=1, seed=number, size=(60, 64))
        path = write_frames(tmp_path / f"{name}.avi", frames)
        videos.append(
            IndexedVideo(
                id=name, path=path.name, label=None, group="", num_frames=length, fps=25, height=60, width=64,
                bytes=path.stat().st_size, sha256=sha256(path.read_bytes()).hexdigest(),
            )
        )  # fmt: skip
    index = Index(
        name="mine", videos_dir=str(tmp_path), classes=(), videos=tuple(videos), splits={}
    )
    folder_of("mine").mkdir(parents=True)
    index.write(folder_of("mine"))
    return FlowRecipe(
        set_name="mine",
        videos=index.content_identity,
        method="dis",
        bound=3.0,
        size=SIZE,
        shard_frames=37,
    )


def make(recipe: FlowRecipe) -> list[dict[str, float]]:
    """Make all shards; what each is scored."""
    torch.set_num_threads(1)
    told = []
    for shard in range(len(recipe.plan.shards)):
        task = FlowFields(recipe=recipe, shard=shard)
        predictions = task.predict(task.build(0, ()), 0)
        told.append({score.metric.name: score.value for score in task.score(predictions)})
    return told


def frames_of(recipe: FlowRecipe, video: str) -> np.ndarray:
    path = Path(read("mine").videos_dir) / f"{video}.avi"
    return np.stack(list(decode.read_frames(path, size=recipe.size)))


def test_the_store_holds_u_then_v_of_every_frame_as_bytes(recipe: FlowRecipe) -> None:
    scores = make(recipe)
    assert len(scores) == 2
    assert sum(each["frames"] for each in scores) == sum(LENGTHS.values())
    store = FeatureStore.open(recipe.folder)
    store.verify()
    assert store.plan.dtype == "uint8"
    assert size_of(store.plan) == SIZE
    quantised, at_bound = Quantised(bound=3.0), 0
    for video, length in LENGTHS.items():
        kept_TD = store.frames(video)
        assert kept_TD.dtype == np.uint8
        kept_T2YX = kept_TD.reshape(length, 2, *SIZE)
        if length == 1:
            assert (kept_T2YX == 128).all()
            continue
        expected_T2YX = quantised.quantise(flow_of(frames_of(recipe, video), "dis"))
        assert np.array_equal(kept_T2YX[:-1], expected_T2YX)
        assert np.array_equal(kept_T2YX[-1], expected_T2YX[-1])
        at_bound += int((np.abs(kept_T2YX.astype(int) - 128) == 127).sum())
    total = sum(LENGTHS.values()) * 2 * SIZE[0] * SIZE[1]
    first, second = (sum(f for _, f in shard) for shard in recipe.plan.shards)
    told = (scores[0]["at_bound"] * first + scores[1]["at_bound"] * second) / (first + second)
    assert told == pytest.approx(100 * at_bound / total)
    # The shards are plain safetensors files.
    (number,) = [k for k, shard in enumerate(recipe.plan.shards) if ("long", 37) in shard]
    plain = load_file(shard_path(recipe.folder, number))
    assert np.array_equal(plain["long"], store.frames("long"))


@pytest.mark.parametrize("length", [1, 2, 10, 40])
@pytest.mark.parametrize("subtract_mean", [False, True])
def test_stacks_from_the_store_are_those_from_frames_bit_for_bit(
    recipe: FlowRecipe, length: int, subtract_mean: bool
) -> None:
    make(recipe)
    spec = FlowSpec(method="dis", bound=3.0, length=length, subtract_mean=subtract_mean)
    with FeatureStore.open(recipe.folder) as store:
        for video, frames in LENGTHS.items():
            shown = frames_of(recipe, video)
            # Pieces as decoding gives them, and others: where a video is cut must not show.
            direct = np.concatenate(list(stacks(np.array_split(shown, range(5, frames, 7)), spec)))
            for at_once in (4, 32):
                kept = list(stored_stacks(store, video, spec, at_once=at_once))
                assert all(piece.dtype == np.float32 for piece in kept)
                assert np.concatenate(kept).tobytes() == direct.tobytes()
            assert direct.shape == (frames, *SIZE, 2 * length)


def test_flow_of_the_papers_method_is_kept_too(recipe: FlowRecipe) -> None:
    brox = replace(recipe, method="brox", size=(24, 28))
    make(brox)
    spec = FlowSpec(method="brox", bound=3.0, length=2)
    store = FeatureStore.open(brox.folder)
    kept = np.concatenate(list(stored_stacks(store, "short", spec)))
    direct = np.concatenate(list(stacks([frames_of(brox, "short")], spec)))
    assert kept.tobytes() == direct.tobytes()
    assert direct.any()


def test_a_shard_is_made_to_the_same_bytes_and_missed_when_it_is_lost(recipe: FlowRecipe) -> None:
    make(recipe)
    task = FlowFields(recipe=recipe, shard=0)
    path = shard_path(recipe.folder, 0)
    before = path.read_bytes()
    assert task.lost() == ""
    path.write_bytes(before[:-1])
    assert "not there any more, or not whole" in task.lost()
    with pytest.raises(StoreDamaged, match=r"make shard 0 with `harness run flow --set dataset=mine` again"):  # fmt: skip
        FeatureStore.open(recipe.folder)
    task.predict(task.build(0, ()), 0)
    assert path.read_bytes() == before


def test_a_store_without_its_description_is_lost_and_a_damaged_one_is_refused(
    recipe: FlowRecipe,
) -> None:
    task = FlowFields(recipe=recipe, shard=0)
    task.ready()  # nothing is there yet
    make(recipe)
    task.ready()
    told = recipe.folder / "store.json"
    content = told.read_bytes()
    told.unlink()
    assert "there is no store.json" in task.lost()
    task.ready()
    told.write_bytes(content[:-9])
    assert "was cut short or altered" in task.lost()
    with pytest.raises(ValueError, match="delete this file and make the store again"):
        task.ready()
    with pytest.raises(ValueError, match=r"was cut short or altered.*`harness run flow --set dataset=mine`"):  # fmt: skip
        video_flow("mine")
    other = replace(recipe, bound=4.0)
    make(other)
    assert video_flow("mine").bound == 4.0  # one that can be read is enough
    with pytest.raises(ValueError, match="was cut short or altered"):
        video_flow("mine", "dis-3px")


def test_memory_does_not_grow_with_the_length_of_a_video(
    recipe: FlowRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = replace(recipe, size=(240, 320), shard_frames=37)
    frame_bytes = 2 * 240 * 320

    def piecewise(*_: object, **__: object) -> Iterator[np.ndarray]:
        for number in range(37):
            yield np.full((1, 2, 240, 320), 128 if number % 2 else 255, np.uint8)

    monkeypatch.setattr(flow_fields, "fields", piecewise)
    (shard,) = [k for k, each in enumerate(large.plan.shards) if each == (("long", 37),)]
    task = FlowFields(recipe=large, shard=shard)
    model = task.build(0, ())
    tracemalloc.start()
    try:
        predictions = task.predict(model, 0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 15 * frame_bytes
    assert predictions["at_bound"].tolist() == [19 * frame_bytes]


def test_whatever_alters_a_byte_alters_the_store_and_its_name(recipe: FlowRecipe) -> None:
    others = [
        recipe,
        replace(recipe, method="tvl1"),
        replace(recipe, bound=4.0),
        replace(recipe, size=(40, 47)),
        replace(recipe, shard_frames=38),
    ]
    assert len({each.plan.identity for each in others}) == 5
    assert len({each.title for each in others}) == 5
    assert replace(recipe, bound=3).plan.identity == recipe.plan.identity
    made_of = recipe.plan.made_of
    assert made_of["method"] == "dis"
    assert made_of["bound"] == 3.0
    assert made_of["size"] == list(SIZE)
    assert made_of["videos"] == recipe.videos


def test_identities_of_stores_of_numbers_are_what_they_were() -> None:
    plan = StorePlan.cut({"layer": "fc6"}, [("a", 3), ("b", 2)], 4, shards=1)
    assert plan.identity == GOLDEN


GOLDEN = "62c507b7388355d0936e94287fe8f56b2e8c279f2e9b14ce20293cd54fd7f103"


def test_a_store_of_other_flow_is_refused(recipe: FlowRecipe, tmp_path: Path) -> None:
    make(recipe)
    store = FeatureStore.open(recipe.folder)
    with pytest.raises(ValueError, match=r"method=dis, and brox was asked for: name another"):
        stored_stacks(store, "two", FlowSpec(method="brox", bound=3.0))
    with pytest.raises(ValueError, match=r"bound=3.0, and 20.0 was asked for"):
        stored_stacks(store, "two", FlowSpec(method="dis"))
    plan = StorePlan.cut({"method": "dis", "bound": 20.0}, [("a", 1)], 4, shards=1)
    write_shard(tmp_path / "rgb", plan, 0, [("a", np.zeros((1, 4), np.float32))])
    with pytest.raises(ValueError, match="holds no fields of flow"):
        stored_stacks(FeatureStore.open(tmp_path / "rgb"), "a", FlowSpec(method="dis"))


def test_bytes_and_numbers_are_not_taken_for_each_other(tmp_path: Path) -> None:
    levels = StorePlan.cut({}, [("a", 2)], 3, shards=1, dtype="uint8")
    with pytest.raises(ValueError, match=r"are float32, and the plan says uint8"):
        write_shard(tmp_path, levels, 0, [("a", np.zeros((2, 3), np.float32))])
    numbers = StorePlan.cut({}, [("a", 2)], 3, shards=1)
    with pytest.raises(ValueError, match=r"are uint8: pass float16"):
        write_shard(tmp_path / "other", numbers, 0, [("a", np.zeros((2, 3), np.uint8))])
    write_shard(tmp_path, levels, 0, [("a", np.array([[0, 1, 2], [253, 254, 255]], np.uint8))])
    store = FeatureStore.open(tmp_path)
    widened = store.window("a", 0, 2, np.empty((2, 3), np.float32))
    assert widened.tolist() == [[0, 1, 2], [253, 254, 255]]
    with pytest.raises(ValueError, match=r"out is float16"):
        store.window("a", 0, 2, np.empty((2, 3), np.float16))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"method": "disk"}, "flow method 'disk': choose from brox"),
        ({"bound": 0.0}, "bound 0.0 must be a number of pixels above 0"),
        ({"size": (0, 4)}, "size=0 x 4: a field has at least 1 row and column"),
        ({"shard_frames": 0}, "shard_frames=0: a shard holds at least 1 frame"),
    ],
)
def test_what_cannot_be_made_is_refused(
    recipe: FlowRecipe, values: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(recipe, **values)  # type: ignore[arg-type]


def test_a_video_that_is_gone_or_was_replaced_is_named(recipe: FlowRecipe) -> None:
    path = Path(read("mine").videos_dir) / "two.avi"
    (shard,) = [k for k, each in enumerate(recipe.plan.shards) if ("two", 2) in each]
    task = FlowFields(recipe=recipe, shard=shard)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"two\.avi has another checksum than when it was indexed"):
        task.predict(task.build(0, ()), 0)
    path.write_bytes(content + b"\0")
    with pytest.raises(ValueError, match="when it was indexed: index mine again"):
        task.predict(task.build(0, ()), 0)
    path.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        task.predict(task.build(0, ()), 0)
    assert not shard_path(recipe.folder, shard).exists()


@pytest.mark.parametrize("claimed", [36, 38])
def test_a_video_of_another_number_of_frames_than_indexed_is_refused(
    recipe: FlowRecipe, claimed: int
) -> None:
    index = read("mine")
    videos = tuple(replace(v, num_frames=claimed if v.id == "long" else v.num_frames) for v in index.videos)  # fmt: skip
    other = replace(index, videos=videos)
    other.write(folder_of("mine"))
    changed = replace(recipe, videos=other.content_identity)
    (shard,) = [k for k, each in enumerate(changed.plan.shards) if ("long", claimed) in each]
    task = FlowFields(recipe=changed, shard=shard)
    with pytest.raises(ValueError, match=f"has 37 frames, and {claimed} when it was indexed"):
        task.predict(task.build(0, ()), 0)
    assert not shard_path(changed.folder, shard).exists()


def test_a_shard_counts_each_of_its_videos_once(recipe: FlowRecipe) -> None:
    task = FlowFields(recipe=recipe, shard=0)
    twice = {"video_id": np.array(["long", "long"])}
    with pytest.raises(ValueError, match="each of its videos exactly once"):
        list(task.score(twice))
    assert json.dumps(task.values())
    assert task.gflop() > 0
