"""The tasks, small: what they feed, what they refuse, and that they learn."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from harness.loop import build_optimizer
from tasks.cell import Cell
from tasks.data.digits import Digits
from tasks.encoders import LSTM
from tasks.fewshot import FewShot, draw_blocks
from tasks.pretrain import Pretrain
from tasks.registry import DATASETS, MODELS, TASKS, load
from tasks.schedule import Schedule
from tasks.single_frame import SingleFrame
from tasks.subset import Subset
from tasks.task import Needed, Predictions, Shard, Task

SCHEDULE = Schedule(steps=5, batch_size=6, learning_rate=1e-2)
ENCODER = LSTM(units=8, layers=2)
SUBSET = Subset(dataset=Digits(), split=1, shots=2, resample=0)
PRETRAIN = Pretrain(
    dataset=Digits(),
    encoder=ENCODER,
    input_frames=5,
    future_frames=3,
    test_sequences=10,
    chunk=4,
    schedule=SCHEDULE,
)
FEWSHOT = FewShot(subset=SUBSET, encoder=ENCODER, dropout=0.5, schedule=SCHEDULE)
SINGLE = SingleFrame(subset=SUBSET, schedule=SCHEDULE)
TASKS_MADE: list[Task] = [PRETRAIN, FEWSHOT, SINGLE]


def predict(task: Task, model: torch.nn.Module) -> Predictions:
    with torch.no_grad():
        chunks = [task.predict(model.eval(), chunk) for chunk in range(task.num_chunks())]
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


@pytest.mark.parametrize("table", [TASKS, DATASETS, MODELS])
def test_everything_registered_can_be_loaded(table: dict[str, str]) -> None:
    assert all(callable(load(place)) for place in table.values())


@pytest.mark.parametrize("name", TASKS)
def test_every_task_declares_metrics_with_units_and_directions(name: str) -> None:
    kind = load(TASKS[name])
    assert kind.metrics
    assert all(
        metric.unit and metric.meaning and metric.higher_is_better in (True, False)
        for metric in kind.metrics
    )
    assert kind.version >= 1


@pytest.mark.parametrize("task", TASKS_MADE, ids=lambda task: type(task).__name__)
def test_a_batch_is_a_function_of_seed_and_step_and_ranks_take_its_rows(task: Task) -> None:
    whole = task.batch(1, 7, Shard())
    again, other_step, other_seed = (
        task.batch(1, 7, Shard()),
        task.batch(1, 8, Shard()),
        task.batch(2, 7, Shard()),
    )
    frames, batch_axis = whole[0], whole[0].ndim - 2
    assert torch.equal(frames, again[0])
    assert not torch.equal(frames, other_step[0])
    assert not torch.equal(frames, other_seed[0])
    for num_ranks in (2, 3, 4):
        parts = [
            task.batch(1, 7, Shard(rank=rank, num_ranks=num_ranks))[0] for rank in range(num_ranks)
        ]
        merged = torch.empty_like(frames).movedim(batch_axis, 0)
        for rank, part in enumerate(parts):
            merged[rank::num_ranks] = part.movedim(batch_axis, 0)
        assert torch.equal(merged.movedim(0, batch_axis), frames)


@pytest.mark.parametrize("task", TASKS_MADE, ids=lambda task: type(task).__name__)
def test_losses_and_gradients_of_all_ranks_add_up_to_those_of_one(task: Task) -> None:
    model = task.build(0, ()).double()

    def double(batch: object) -> object:
        moved = [
            each.double() if torch.is_tensor(each) and each.is_floating_point() else each
            for each in batch
        ]  # type: ignore[attr-defined]
        return type(batch)(*moved)

    def grads(shards: list[Shard]) -> tuple[float, torch.Tensor]:
        model.zero_grad()
        losses = [task.loss(model, double(task.batch(0, 0, shard))) for shard in shards]
        sum(losses).backward()  # type: ignore[union-attr]
        flat = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return sum(loss.item() for loss in losses), torch.cat(flat)

    loss, gradient = grads([Shard()])
    for num_ranks in (2, 4):
        split_loss, split_gradient = grads(
            [Shard(rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
        )
        assert split_loss == pytest.approx(loss, rel=1e-12)
        torch.testing.assert_close(split_gradient, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("task", TASKS_MADE, ids=lambda task: type(task).__name__)
def test_the_model_at_step_zero_is_a_function_of_the_seed(task: Task) -> None:
    first, again, other = (list(task.build(seed, ()).parameters()) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    if not isinstance(task, SingleFrame):  # which starts at zero
        assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("task", TASKS_MADE, ids=lambda task: type(task).__name__)
def test_a_few_steps_lower_the_loss(task: Task) -> None:
    model = task.build(0, ())
    optimizer = build_optimizer(task.schedule, model)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = task.loss(model, task.batch(0, 0, Shard()))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("task", TASKS_MADE, ids=lambda task: type(task).__name__)
def test_every_declared_metric_is_scored_once(task: Task) -> None:
    scores = list(task.score(predict(task, task.build(0, ()))))
    assert [score.metric for score in scores] == list(task.metrics)
    assert all(score.count > 0 for score in scores)


def test_pretraining_streams_never_meet() -> None:
    train = [PRETRAIN.batch(seed, 0, Shard()).frames_TBD[:, :1] for seed in (0, 1, 0x5EED)]
    tested = PRETRAIN.evaluation(range(1)).frames_TBD
    assert not any(torch.equal(each, tested) for each in train)


def test_pretraining_scores_only_what_its_decoders_do() -> None:
    autoencoder = replace(PRETRAIN, predict_future="none")
    scores = {
        s.metric.name for s in autoencoder.score(predict(autoencoder, autoencoder.build(0, ())))
    }
    assert scores == {"reconstruction_loss"}


def test_a_constant_half_scores_ln_2_per_pixel() -> None:
    model = PRETRAIN.build(0, ())
    for decoder in (model.reconstructor, model.predictor):
        torch.nn.init.zeros_(decoder.readout.weight)  # type: ignore[union-attr]
        torch.nn.init.zeros_(decoder.readout.bias)  # type: ignore[union-attr]
    scores = {score.metric.name: score.value for score in PRETRAIN.score(predict(PRETRAIN, model))}
    assert scores.pop("target_entropy") < 100
    assert len(scores) == 3
    assert all(value == pytest.approx(400 * np.log(2), rel=1e-6) for value in scores.values())


@pytest.mark.parametrize(
    ("reconstruct", "predict_future", "title"),
    [
        ("none", "unconditioned", "future predictor"),
        ("none", "conditional", "conditional future predictor"),
        ("unconditioned", "none", "autoencoder"),
        ("unconditioned", "unconditioned", "Composite"),
        ("unconditioned", "conditional", "Composite (conditional future)"),
    ],
)
def test_models_are_called_as_in_the_paper(
    reconstruct: str, predict_future: str, title: str
) -> None:
    task = replace(PRETRAIN, reconstruct=reconstruct, predict_future=predict_future)  # type: ignore[arg-type]
    assert task.title == title
    assert task.gflop() > 0


def test_missing_or_repeated_sequences_are_refused() -> None:
    table = {"sequence": np.array([0, 1, 1]), "future_loss": np.ones(3)}
    with pytest.raises(ValueError, match="each of 10 sequences exactly once"):
        list(PRETRAIN.score(table))


def test_training_blocks_come_from_the_subset_alone_with_their_labels() -> None:
    frames_TBD, labels_B = draw_blocks(SUBSET, seed=0, step=0, count=200, block=16, shard=Shard())
    known = {}
    for video in SUBSET.videos:
        frames_TD = SUBSET.dataset.frames(video)
        for start in range(len(frames_TD) - 15):
            known[frames_TD[start : start + 16].tobytes()] = video
    drawn = [known[np.ascontiguousarray(frames_TBD[:, b]).tobytes()] for b in range(200)]
    assert [video.label for video in drawn] == labels_B.tolist()
    assert {video.id for video in drawn} == {video.id for video in SUBSET.videos}


def pretrained_cell(folder: Path, task: Pretrain = PRETRAIN, seed: int = 5) -> tuple[Cell, Needed]:
    model = task.build(seed, ())
    for name, tensors in task.products(model).items():
        save_file(dict(tensors), folder / f"{name}.safetensors")
    cell = Cell(task=task, seed=seed)
    return cell, Needed(cell=cell, folder=folder)


def test_a_pretrained_classifier_starts_from_the_pretrained_encoder(tmp_path: Path) -> None:
    _, needed = pretrained_cell(tmp_path)
    model, fresh = FEWSHOT.build(0, (needed,)), FEWSHOT.build(0, ())
    encoder = PRETRAIN.build(5, ()).encoder.state_dict()  # type: ignore[union-attr]
    assert all(
        torch.equal(value, encoder[name]) for name, value in model.encoder.state_dict().items()
    )  # type: ignore[union-attr]
    # The output weights are those of the baseline with the same seed, so that nothing else differs.
    own = {
        name: value for name, value in model.state_dict().items() if not name.startswith("encoder.")
    }
    assert own
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in own.items())


def test_an_encoder_of_another_size_is_refused_on_the_login_node() -> None:
    other = replace(FEWSHOT, encoder=LSTM(units=9, layers=2))
    with pytest.raises(ValueError, match="is not the classifier's"):
        Cell(task=other, needs=(Cell(task=PRETRAIN),))


def test_needs_that_make_no_sense_are_refused() -> None:
    for task in (PRETRAIN, SINGLE):
        with pytest.raises(ValueError, match="needs no other cell"):
            Cell(task=task, needs=(Cell(task=PRETRAIN),))
    with pytest.raises(ValueError, match="needs nothing, or one pretraining cell"):
        Cell(task=FEWSHOT, needs=(Cell(task=SINGLE),))


def test_the_single_frame_classifier_agrees_with_scikit_learn() -> None:
    subset = Subset(dataset=Digits(), split=1, shots=4, resample=0)
    weight_decay = 0.05
    task = SingleFrame(
        subset=subset,
        schedule=Schedule(
            steps=3000,
            batch_size=512,
            learning_rate=2e-2,
            optimizer="sgd",
            weight_decay=weight_decay,
        ),
    )
    model = task.build(0, ())
    optimizer = build_optimizer(task.schedule, model)
    for step in range(task.schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = task.schedule.learning_rate_at(step)
        optimizer.zero_grad()
        task.loss(model, task.batch(0, step, Shard())).backward()
        optimizer.step()

    # The loop draws a video, then a frame: every video weighs the same.
    frames = [subset.dataset.frames(video) for video in subset.videos]
    weights = np.concatenate([np.full(len(each), 1 / len(each) / len(frames)) for each in frames])
    labels = np.concatenate(
        [np.full(len(f), v.label) for f, v in zip(frames, subset.videos, strict=True)]
    )
    # sgd adds weight_decay * w to the gradient of the mean loss: C = 1 / weight_decay for weights that sum to 1.
    oracle = LogisticRegression(C=1 / weight_decay, max_iter=2000).fit(
        np.concatenate(frames), labels, sample_weight=weights
    )
    tested = np.concatenate([subset.dataset.frames(video) for video in subset.test_videos[:60]])
    with torch.no_grad():
        ours = model(torch.from_numpy(tested)).softmax(dim=-1).numpy()
    assert np.abs(ours - oracle.predict_proba(tested)).max() < 0.05


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": -1}, "steps=-1: a schedule has 0 steps or more"),
        ({"batch_size": 0}, "batch_size=0: a batch holds at least 1 sequence"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: it must be above 0"),
        ({"weight_decay": -1.0}, "weight_decay=-1.0: it must be 0 or more"),
        ({"warmup_steps": 6}, "warmup_steps=6: it must lie between 0 and steps=5"),
        ({"clip_norm": 0.0}, "clip_norm=0.0: it must be above 0"),
    ],
)
def test_schedules_out_of_range_are_refused(change: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(SCHEDULE, **change)  # type: ignore[arg-type]


def test_the_learning_rate_warms_up_and_decays() -> None:
    schedule = Schedule(steps=100, batch_size=1, learning_rate=1.0, warmup_steps=10)
    rates = [schedule.learning_rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert all(after < before for before, after in pairwise(rates[10:]))
    assert rates[99] < 0.001
    assert replace(schedule, decay="constant").learning_rate_at(99) == 1.0


@pytest.mark.parametrize(
    ("task", "change", "sentence"),
    [
        (PRETRAIN, {"reconstruct": "none", "predict_future": "none"}, "a model needs a decoder"),
        (PRETRAIN, {"future_frames": 0}, "future_frames=0: it must be at least 1"),
        (FEWSHOT, {"dropout": 1.0}, r"dropout=1.0: the ratio lies in \[0, 1\)"),
        (FEWSHOT, {"stride": 0}, "stride=0: it must be at least 1"),
    ],
)
def test_tasks_out_of_range_are_refused(
    task: Pretrain, change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(task, **change)  # type: ignore[arg-type]


def test_an_encoder_needs_units_and_layers() -> None:
    with pytest.raises(ValueError, match="units=0: an LSTM layer has at least 1 unit"):
        LSTM(units=0, layers=1)
    with pytest.raises(ValueError, match="layers=0: a stack has at least 1 layer"):
        LSTM(units=1, layers=0)


def test_dropout_masks_depend_on_the_seed_and_on_the_step() -> None:
    ones_TBD = torch.ones(3, 6, 8)
    masks = []
    for seed, step in ((0, 7), (1, 7), (0, 8), (0, 7)):
        dropout = FEWSHOT.batch(seed, step, Shard()).dropout
        assert dropout is not None
        masks.append(dropout(ones_TBD))
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert torch.equal(masks[0], masks[3])
