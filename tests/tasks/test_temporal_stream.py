"""The temporal stream: what it is shown, that ranks share a batch, that it learns motion, whose labels it may meet."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from harness.loop import build_optimizer
from models.convnets import CNNM2048
from tasks.cell import Cell, canonical
from tasks.convnets import convnet, raw_pixels
from tasks.data.feature_plan import StorePlan
from tasks.data.feature_shards import shard_path, write_shard
from tasks.data.features import FeatureStore
from tasks.data.flow import Quantised, flow_of
from tasks.data.flow_videos import VideoFlow, video_flow
from tasks.data.index import Index, read
from tasks.data.root import folder_of
from tasks.data.videos import video_percepts
from tasks.flow_crops import (
    corners_and_centre,
    cut,
    draw_crops,
    even_starts,
    in_pixels,
    means,
    num_starts,
)
from tasks.flow_stream import FlowSpec, stored_stacks
from tasks.schedule import Schedule
from tasks.subset import Subset
from tasks.task import Predictions, Shard
from tasks.temporal_stream import TemporalStream
from tasks.weights_told import told_by
from tests.tasks.flow_sets import BOUND, SIZE, keep_flow, make_set, moving_thing

SCHEDULE = Schedule(steps=12, batch_size=8, learning_rate=0.02, optimizer="sgd")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    torch.set_num_threads(1)


@pytest.fixture
def moves() -> VideoFlow:
    keep_flow(make_set())
    return video_flow("moves")


def task_on(data: VideoFlow, **changes: object) -> TemporalStream:
    small = TemporalStream(
        dataset=data,
        split=1,
        length=2,
        divisor=32,
        dropout=0.5,
        test_stacks=2,
        test_crops=1,
        test_flips=False,
        schedule=SCHEDULE,
        chunk=3,
    )
    return replace(small, **changes)  # type: ignore[arg-type]


def predict(task: TemporalStream, model: torch.nn.Module) -> Predictions:
    with torch.no_grad():
        chunks = [task.predict(model.eval(), chunk) for chunk in range(task.num_chunks())]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def test_a_set_with_flow_has_its_lists_and_its_fields(moves: VideoFlow) -> None:
    assert moves.classes == ("up", "down")
    assert moves.splits == (1, 2)
    assert {v.id for v in moves.train(1)} == {v.id for v in moves.test(2)}
    assert (moves.method, moves.bound, moves.rows, moves.columns) == ("dis", BOUND, *SIZE)
    video = next(each for each in moves.train(1) if each.num_frames == 6)
    recipe = keep_flow(read("moves"))
    kept = FeatureStore.open(recipe.folder).frames(video.id).reshape(6, 2, *SIZE)
    assert np.array_equal(moves.fields(video, 1, 3), kept[1:4])
    # Beyond the end the last field is held.
    assert np.array_equal(moves.fields(video, 4, 4), kept[[4, 5, 5, 5]])


def test_a_batch_is_a_function_of_seed_and_step_and_ranks_take_its_rows(moves: VideoFlow) -> None:
    task = task_on(moves)
    whole, again = task.batch(1, 7, Shard()), task.batch(1, 7, Shard())
    assert whole.levels_BCYX.shape == (8, 4, 224, 224)
    assert whole.levels_BCYX.dtype == torch.uint8
    for one, other in zip(whole[:3], again[:3], strict=True):
        assert torch.equal(one, other)
    for seed, step in ((1, 8), (2, 7)):
        assert not torch.equal(whole.levels_BCYX, task.batch(seed, step, Shard()).levels_BCYX)
    for num_ranks in (2, 3):
        for rank in range(num_ranks):
            part = task.batch(1, 7, Shard(rank=rank, num_ranks=num_ranks))
            for one, rows in zip(whole[:3], part[:3], strict=True):
                assert torch.equal(one[rank::num_ranks], rows)


def test_losses_and_gradients_of_all_ranks_add_up_to_those_of_one(moves: VideoFlow) -> None:
    task = task_on(moves, length=1, schedule=replace(SCHEDULE, batch_size=4))
    model = task.build(0, ()).double().train()
    torch.nn.init.normal_(model.fc8.weight)  # type: ignore[arg-type, union-attr]

    def taken(shards: list[Shard]) -> tuple[float, torch.Tensor]:
        model.zero_grad()
        losses = [task.loss(model, task.batch(0, 0, shard)) for shard in shards]
        torch.stack(losses).sum().backward()
        gradients = [each.grad.flatten() for each in model.parameters() if each.grad is not None]
        return sum(loss.item() for loss in losses), torch.cat(gradients)

    loss, gradient = taken([Shard()])
    assert gradient.abs().max() > 0
    for num_ranks in (2, 3):
        shards = [Shard(rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
        split_loss, split_gradient = taken(shards)
        assert split_loss == pytest.approx(loss, rel=1e-12)
        torch.testing.assert_close(split_gradient, gradient, rtol=1e-9, atol=1e-12)


def test_classes_are_drawn_equally_often_from_the_training_list_alone(moves: VideoFlow) -> None:
    crops = draw_crops(
        moves, 1, seed=0, step=0, count=400, rows=slice(None), length=1, crop=8, subtract_mean=False
    )  # fmt: skip
    counts = Counter(crops.labels_B.tolist())
    assert abs(counts[0] - 200) < 60  # 6 sd
    # Each crop is, unflipped or flipped, a piece of a field of a training video of its class.
    everything = {
        label: b"".join(
            moves.fields(video, 0, video.num_frames).tobytes()
            for video in moves.train(1)
            if video.label == label
        )
        for label in (0, 1)
    }
    flipped = 0
    for levels_CYX, label in zip(crops.levels_BCYX[:40], crops.labels_B[:40], strict=True):
        row_v, mirrored = levels_CYX[1, 3].tobytes(), levels_CYX[1, 3, ::-1].tobytes()
        is_flipped = mirrored in everything[int(label)]
        assert is_flipped or row_v in everything[int(label)]
        flipped += is_flipped
    assert 8 < flipped < 32


def test_a_flipped_crop_is_the_flow_of_the_flipped_video() -> None:
    frames = moving_thing(3, down=1, seed=1, size=(64, 72))
    moved = np.stack([np.roll(frame, 2 * t, axis=1) for t, frame in enumerate(frames)])
    quantised = Quantised(bound=BOUND)
    own, mirrored = (
        quantised.quantise(flow_of(np.ascontiguousarray(each), "brox")).reshape(4, 64, 72)
        for each in (moved, moved[:, :, ::-1])
    )
    flipped = cut(own, (0, 0), 64, flipped=True)
    expected = mirrored[:, :, 8:72]
    # The solver sweeps from one side, so both agree to its accuracy, which is far below what flipping alters.
    assert np.abs(flipped.astype(int) - expected.astype(int)).mean() < 0.3
    unnegated = cut(own, (0, 0), 64, flipped=False)[:, :, ::-1]
    assert np.abs(unnegated[0::2].astype(int) - expected[0::2].astype(int)).mean() > 5
    assert np.array_equal(unnegated[1::2], flipped[1::2])
    pixels = quantised.dequantise(own[:, :, :64])[:, :, ::-1].copy()
    pixels[0::2] *= -1
    assert np.array_equal(quantised.dequantise(flipped), pixels)


def test_what_the_net_reads_is_what_percepts_read(moves: VideoFlow) -> None:
    recipe = keep_flow(read("moves"))
    video = next(each for each in moves.test(1) if each.num_frames == 5)
    spec = FlowSpec(method="dis", bound=BOUND, length=2, subtract_mean=True)
    shown_TYXC = np.concatenate(
        list(stored_stacks(FeatureStore.open(recipe.folder), video.id, spec))
    )
    expected_TCYX = convnet_flow_preparation(shown_TYXC)
    stack_CYX = moves.fields(video, 1, 2).reshape(4, *SIZE)
    (corner,) = corners_and_centre(SIZE, 224, 1)
    pixels = in_pixels(
        torch.from_numpy(cut(stack_CYX, corner, 224, flipped=False)[None]),
        torch.from_numpy(means(stack_CYX, BOUND, flipped=False)[None]),
        BOUND,
        torch.float32,
    )
    assert np.abs(pixels[0].numpy() - expected_TCYX[1]).max() < 1e-5
    flipped = in_pixels(
        torch.from_numpy(cut(stack_CYX, corner, 224, flipped=True)[None]),
        torch.from_numpy(means(stack_CYX, BOUND, flipped=True)[None]),
        BOUND,
        torch.float32,
    )[0].numpy()
    assert np.abs(flipped[1::2] - expected_TCYX[1, 1::2, :, ::-1]).max() < 1e-5
    assert np.abs(flipped[0::2] + expected_TCYX[1, 0::2, :, ::-1]).max() < 1e-5


def convnet_flow_preparation(shown_TYXC: np.ndarray) -> np.ndarray:
    return raw_pixels(flow_channels=shown_TYXC.shape[3]).prepare(shown_TYXC)


def test_stacks_and_crops_of_a_test_are_laid_out_evenly() -> None:
    assert even_starts(261, 11, 25)[:3] == [0, 10, 21]
    assert even_starts(261, 10, 26) == list(range(0, 251, 10))
    assert even_starts(4, 10, 25) == [0]
    assert even_starts(12, 10, 25) == [0, 1]
    assert even_starts(111, 10, 1) == [50]
    assert num_starts(1, 1) == num_starts(2, 1) == 1
    assert corners_and_centre((240, 320), 224, 5) == [(8, 48), (0, 0), (0, 96), (16, 0), (16, 96)]
    assert corners_and_centre((224, 224), 224, 1) == [(0, 0)]


def test_a_video_is_scored_once_by_the_mean_over_its_views(moves: VideoFlow) -> None:
    task = task_on(moves, test_crops=5, test_flips=True, at_once=7)
    model = task.build(3, ())
    torch.nn.init.normal_(model.fc8.weight, std=3.0)  # type: ignore[arg-type, union-attr]
    told = predict(task, model)
    assert sorted(set(told["video_id"].tolist())) == sorted(v.id for v in moves.test(1))
    video = next(each for each in moves.test(1) if each.num_frames == 6)
    rows = told["video_id"] == video.id
    assert told["start"][rows].tolist() == [0, 3]
    views = []
    for corner in corners_and_centre(SIZE, 224, 5):
        for flipped in (False, True):
            stack_CYX = moves.fields(video, 3, 2).reshape(4, *SIZE)
            image = in_pixels(
                torch.from_numpy(cut(stack_CYX, corner, 224, flipped=flipped)[None].copy()),
                torch.from_numpy(means(stack_CYX, BOUND, flipped=flipped)[None]),
                BOUND,
                torch.float32,
            )
            with torch.no_grad():
                views.append(model.eval()(image).softmax(1)[0].numpy())
    assert len({float(view[0]) for view in views}) == 10
    expected = np.mean(views, axis=0)
    assert told["p0"][rows][1] == pytest.approx(expected[0], abs=1e-6)
    assert told["p1"][rows][1] == pytest.approx(expected[1], abs=1e-6)
    scores = {score.metric.name: score for score in task.score(told)}
    assert list(scores) == [metric.name for metric in task.metrics]
    assert scores["video_accuracy"].count == len(moves.test(1))
    missing = {name: column[~rows] for name, column in told.items()}
    with pytest.raises(ValueError, match="1 videos of the test list were not predicted"):
        list(task.score(missing))
    twice = {name: np.concatenate([column, column[rows]]) for name, column in told.items()}
    with pytest.raises(ValueError, match="predicted twice"):
        list(task.score(twice))


def test_predictions_do_not_depend_on_how_videos_are_cut_into_chunks(moves: VideoFlow) -> None:
    model = task_on(moves).build(0, ())
    first, second = (predict(task_on(moves, chunk=chunk), model) for chunk in (1, 5))
    assert first.keys() == second.keys()
    for name in first:
        assert np.array_equal(first[name], second[name])


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_any_number_of_ranks_scores_what_one_does(moves: VideoFlow, num_ranks: int) -> None:
    task = task_on(moves)
    model = task.build(0, ())
    torch.nn.init.normal_(model.fc8.weight)  # type: ignore[arg-type, union-attr]
    whole = predict(task, model)
    assert task.num_chunks() == 3
    with torch.no_grad():
        parts = [
            task.predict(model, chunk)
            for rank in range(num_ranks)
            for chunk in range(rank, task.num_chunks(), num_ranks)
        ]
    merged = {name: np.concatenate([part[name] for part in parts]) for name in whole}
    assert list(task.score(merged)) == list(task.score(whole))


def test_a_narrow_net_learns_which_way_things_move(moves: VideoFlow) -> None:
    schedule = replace(SCHEDULE, steps=20, learning_rate=0.003)
    task = task_on(moves, length=1, divisor=16, dropout=0.2, schedule=schedule)
    model = task.build(0, ())
    optimizer = build_optimizer(task.schedule, model)
    model.train()
    for step in range(task.schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = task.schedule.learning_rate_at(step)
        optimizer.zero_grad()
        task.loss(model, task.batch(0, step, Shard())).backward()
        optimizer.step()
    scores = {score.metric.name: score.value for score in task.score(predict(task, model))}
    assert scores["video_accuracy"] >= 87.5  # 7 of 8; chance is 50


def test_step_zero_is_a_function_of_the_seed(moves: VideoFlow) -> None:
    first, again, other = (list(task_on(moves).build(s, ()).parameters()) for s in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_dropout_of_nothing_drops_nothing(moves: VideoFlow) -> None:
    task = task_on(moves, dropout=0.0)
    model = task.build(0, ()).train()
    batch = task.batch(0, 0, Shard())
    assert task.loss(model, batch).item() == pytest.approx(np.log(2))  # it knows nothing yet
    torch.nn.init.normal_(model.fc8.weight)  # type: ignore[arg-type, union-attr]
    assert task.loss(model, batch).item() == task.loss(model, batch).item()
    half = task_on(moves)
    losses = [half.loss(model, half.batch(0, 0, Shard())).item() for _ in range(2)]
    assert losses[0] == losses[1] != task.loss(model, batch).item()


def test_in_training_the_net_normalises_as_torch_does() -> None:
    model = CNNM2048(4, 2, divisor=32)
    maps = torch.randn(2, 9, 5, 6, dtype=torch.float64) * 30
    trained, kept = model.train()._normalised(maps), model.eval()._normalised(maps)
    torch.testing.assert_close(trained, kept, rtol=1e-12, atol=0)
    assert not torch.equal(kept, maps)


def saved(task: TemporalStream, path: Path) -> Path:
    """The file of weights that a run of a task leaves."""
    ((name, tensors),) = task.products(task.build(0, ())).items()
    assert name == "cnn_m_2048"
    plain = {key: value.detach().contiguous() for key, value in tensors.items()}
    save_file(plain, path, metadata={"task": json.dumps(canonical(task))})
    return path


def test_weights_tell_how_they_were_made_and_fit_as_they_are(
    moves: VideoFlow, tmp_path: Path
) -> None:
    task = task_on(moves, length=3)
    path = saved(task, tmp_path / "w.safetensors")
    told = told_by(path)
    assert told is not None
    assert told.labels is not None
    assert told.flow is not None
    assert (told.labels.set_name, told.labels.split) == ("moves", 1)
    assert told.labels.index == read("moves").identity
    assert (told.flow.method, told.flow.bound, told.flow.length) == ("dis", BOUND, 3)
    assert told.flow.subtract_mean
    assert told.flow.size == SIZE
    spec = convnet("cnn_m_2048", weights=path, input_channels=6)
    assert dict(spec.arguments) == {"input_channels": 6, "num_classes": 2, "divisor": 32}
    assert spec.feature_size == 128
    assert spec.trained_on == told.labels
    module = spec.build()
    for name, value in task.build(0, ()).state_dict().items():
        assert torch.equal(module.state_dict()[name], value)
    with pytest.raises(ValueError, match=r"take 6 channels \(3 fields of flow\), and 20 channels"):
        convnet("cnn_m_2048", weights=path)


def test_other_files_tell_nothing_and_old_identities_stay(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    nested = b"[" * 200_000
    deep = json.dumps({"__metadata__": {"task": nested.decode()}}).encode()
    told_nothing = (b"[]", b"{}", nested, deep)
    headers = [len(each).to_bytes(8, "little") + each for each in told_nothing]
    for content in (b"", b"\xff" * 40, *headers):
        path.write_bytes(content)
        told = told_by(path)
        assert told is None or told.labels is None
    assert told_by(tmp_path / "w.pth") is None
    spec = convnet("cnn_m_2048", weights=path)
    assert dict(spec.arguments) == {"input_channels": 20, "num_classes": 101}
    assert spec == convnet("cnn_m_2048", weights=path, divisor=1)
    assert "trained_on" not in canonical(spec)
    assert dict(convnet("cnn_m_2048", weights=path, divisor=16).arguments)["divisor"] == 16
    with pytest.raises(ValueError, match="divisor=5: it must divide every width"):
        convnet("cnn_m_2048", weights=path, divisor=5)
    with pytest.raises(ValueError, match="vgg16 has no argument divisor: choose from num_classes"):
        convnet("vgg16", weights=path, divisor=16)


def keep_percepts(index: Index, labels: dict[str, object] | None, name: str = "flow2") -> None:
    """A store of percepts whose net has seen these labels."""
    convnet_made = {"name": "cnn_m_2048"} | ({"trained_on": labels} if labels else {})
    plan = StorePlan.cut(
        {"videos": index.content_identity, "stream": "flow2", "convnet": convnet_made},
        [(video.id, video.num_frames) for video in index.videos],
        3,
        shards=1,
    )
    arrays = ((v, np.ones((n, 3), np.float32)) for v, n in plan.shards[0])
    place = f"{name}-{plan.identity[:12]}"
    write_shard(folder_of(index.name) / "percepts" / place, plan, 0, arrays)


def test_percepts_of_a_net_that_saw_labels_serve_its_own_split_alone(moves: VideoFlow) -> None:
    index = read("moves")
    seen = {
        "set_name": "moves", "index": index.identity, "videos": index.content_identity, "split": 1,
        "class": "LabelsSeen",
    }  # fmt: skip
    keep_percepts(index, seen)
    data = video_percepts("moves")
    subset = Subset(dataset=data, split=1, shots=None, resample=0)
    assert len(subset.test_videos) == 8
    assert any("trained on the labels of all training videos of split 1" in n for n in data.notes)
    # A report of two sets has the notes of both under each other, so each says whose it is.
    assert data.notes[0].startswith(f"moves: frames are percepts {data.place},")
    assert any(note.startswith(f"moves, {data.place}: the convnet of these") for note in data.notes)
    for noted in (data.notes, moves.notes):
        assert {f"moves: {note.rstrip('.')}." for note in index.notes} <= set(noted)
        assert all(note.startswith("moves") and note.endswith(".") for note in noted)
    assert moves.notes[0] == f"moves: flow is {moves.place}."
    with pytest.raises(ValueError, match=r"trained on labels of split 1 of moves, so it may"):
        Subset(dataset=data, split=2, shots=None, resample=0)
    # The same split of lists that were drawn otherwise is another split.
    keep_percepts(index, {**seen, "index": "0" * 64}, "drawn")
    with pytest.raises(ValueError, match="by an index that is not the one of now"):
        video_percepts("moves", "drawn").test(1)
    # The same videos under another name.
    keep_percepts(index, {**seen, "set_name": "other", "index": "0" * 64}, "renamed")
    with pytest.raises(ValueError, match="of split 1 of other"):
        video_percepts("moves", "renamed").train(1)
    # Labels of other videos are no answers.
    keep_percepts(index, {**seen, "set_name": "other", "index": "0", "videos": "0"}, "away")
    away = video_percepts("moves", "away")
    assert len(away.test(1)) == len(away.test(2)) == 8
    assert not any("labels" in note for note in away.notes)
    keep_percepts(index, None, "none")
    assert len(video_percepts("moves", "none").test(2)) == 8


def test_every_value_but_how_fast_alters_the_key(moves: VideoFlow) -> None:
    task = task_on(moves)
    key = Cell(task=task).key
    for changes in (
        {"split": 2}, {"length": 3}, {"subtract_mean": False}, {"dropout": 0.4}, {"divisor": 16}, {"test_stacks": 3},
        {"test_crops": 5}, {"test_flips": True}, {"schedule": replace(SCHEDULE, steps=13)},
        {"dataset": replace(moves, flow="0" * 64)}, {"dataset": replace(moves, place="x", index="0" * 64)},
    ):  # fmt: skip
        if "dataset" not in changes:
            assert Cell(task=task_on(moves, **changes)).key != key, changes
        else:
            assert canonical(changes["dataset"]) != canonical(moves)
    assert Cell(task=task_on(moves, chunk=9, at_once=9)).key == key
    with pytest.raises(ValueError, match="starts from nothing"):
        Cell(task=task, needs=(Cell(task=task_on(moves, split=2)),))
    lists = json.loads(task.files()["lists.json"])
    assert lists["train"] != lists["test"]
    assert lists["train"]["videos"] == lists["test"]["videos"] == 8


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"split": 3}, "split 3 of moves does not exist: choose from 1, 2"),
        ({"dropout": 1.0}, r"dropout=1.0: the ratio lies in \[0, 1\)"),
        ({"divisor": 5}, "divisor=5: it must divide every width"),
        ({"test_crops": 4}, "test_crops=4: 1 is the centre, 5 has the corners"),
        ({"length": 0}, "length=0: it must be at least 1"),
        ({"test_stacks": 0}, "test_stacks=0: it must be at least 1"),
    ],
)
def test_values_out_of_range_are_refused(
    moves: VideoFlow, changes: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        task_on(moves, **changes)


def test_fields_that_are_smaller_than_the_crop_are_refused(moves: VideoFlow) -> None:
    with pytest.raises(ValueError, match=r"are 200 x 230, smaller than the crop of 224 x 224"):
        task_on(replace(moves, rows=200))


def test_a_set_without_labels_is_refused() -> None:
    keep_flow(make_set("plain", labelled=False))
    with pytest.raises(ValueError, match="plain has no labels, and the temporal stream"):
        task_on(video_flow("plain"))


def test_flow_that_does_not_fit_the_set_is_refused(moves: VideoFlow) -> None:
    with pytest.raises(
        ValueError, match=r"flow='brox' is not among that of moves: name one .*\(dis-20px"
    ):
        video_flow("moves", "brox")  # fmt: skip
    other = make_set("bare")
    with pytest.raises(
        ValueError, match="bare has no stored flow yet: make it with `harness run flow"
    ):
        video_flow("bare")  # fmt: skip
    # A store of other videos under the set's name: one video more than the set has now.
    recipe = keep_flow(other)
    fewer = replace(other, videos=other.videos[:-1], splits={})
    fewer.write(folder_of("bare"))
    with pytest.raises(ValueError, match="was made of other videos than those that bare holds now"):
        video_flow("bare")
    other.write(folder_of("bare"))
    shard_path(recipe.folder, 0).unlink()
    with pytest.raises(ValueError, match=r"lacks 1 of 1 shards: run `harness run flow` again"):
        video_flow("bare")
