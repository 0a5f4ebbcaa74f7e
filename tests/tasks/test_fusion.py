"""Fusion of two streams: joined by video id, refused when they do not match, and run as any other cell."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness import result
from harness.order import Order
from harness.work import Worker
from harness.workdir import Workdir
from slurm.ddp import Ranks, joined
from slurm.meeting import torchrun_environment
from tasks.cell import Cell
from tasks.data.dataset import Video
from tasks.data.digits import Digits
from tasks.encoders import LSTM
from tasks.fewshot import FewShot
from tasks.fusion import Fusion, by_video, fused
from tasks.schedule import Schedule
from tasks.subset import Subset
from tasks.task import Needed, Shard

SUBSET = Subset(dataset=Digits(), split=1, shots=2, resample=0)
STREAM = FewShot(
    subset=SUBSET,
    encoder=LSTM(units=8, layers=1),
    dropout=0.0,
    schedule=Schedule(steps=3, batch_size=8, learning_rate=1e-2),
)
RGB, FLOW = Cell(task=STREAM, seed=1), Cell(task=STREAM, seed=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tiny:
    """Three classes, two training and two test videos each; `drop` and `swap` spoil the test list."""

    version: ClassVar[int] = 1
    classes: ClassVar[tuple[str, ...]] = ("a", "b", "c")
    splits: ClassVar[tuple[int, ...]] = (1, 2)
    frame_size: ClassVar[int] = 4
    output: ClassVar[str] = "linear"
    name: str = "tiny"
    stream: str = "rgb"
    drop: str = ""
    swap: str = ""

    def _videos(self, kind: str) -> tuple[Video, ...]:
        return tuple(
            Video(
                id=f"{kind}{label}{index}",
                label=(label + 1) % 3 if f"{kind}{label}{index}" == self.swap else label,
                group=f"{kind}{index}",
                num_frames=40,
            )
            for label in range(3)
            for index in range(2)
            if f"{kind}{label}{index}" != self.drop
        )

    def train(self, split: int) -> tuple[Video, ...]:
        return self._videos("train")

    def test(self, split: int) -> tuple[Video, ...]:
        return self._videos("test")


@dataclass(frozen=True, kw_only=True, slots=True)
class Renamed(Tiny):
    """The same videos with their classes in another order."""

    classes: ClassVar[tuple[str, ...]] = ("b", "a", "c")


def stream(dataset: Any = Tiny(), seed: int = 0, **subset: Any) -> Cell:
    taken = {"split": 1, "shots": 1, "resample": 0, **subset}
    return Cell(task=replace(STREAM, subset=Subset(dataset=dataset, **taken)), seed=seed)


TINY_RGB = stream(Tiny())
TINY_FLOW = stream(Tiny(stream="flow"))


def written(folder: Path, cell: Cell, rows: list[tuple[str, int, int, list[float]]]) -> Needed:
    """A run of `cell` that predicted these (video, block, label, probabilities)."""
    ids, blocks, labels, p = zip(*rows, strict=True)
    columns: dict[str, Any] = {"video_id": ids, "block": blocks, "label": labels}
    columns |= {f"p{k}": column for k, column in enumerate(zip(*p, strict=True))}
    folder.mkdir()
    pq.write_table(pa.table(columns), folder / "predictions.parquet")
    return Needed(cell=cell, folder=folder)


ROWS = [
    (video.id, block, video.label, [0.2 * block + 0.1 * video.label, 0.3, 0.7 - 0.1 * video.label])
    for video in Tiny().test(1)
    for block in range(2)
]


def test_the_mean_is_weighted_and_joined_by_id_not_by_place(tmp_path: Path) -> None:
    flow_rows = [
        (video, block, label, p[::-1]) for video, block, label, p in reversed(ROWS) if block == 0
    ]
    task = fused(TINY_RGB, TINY_FLOW, weights=(0.25, 0.75)).task
    model = task.build(
        0,
        (written(tmp_path / "a", TINY_RGB, ROWS), written(tmp_path / "b", TINY_FLOW, flow_rows)),
    )
    found = task.predict(model, 0)
    assert found["video_id"].tolist() == [video.id for video in Tiny().test(1)]
    assert found["label"].tolist() == [0, 0, 1, 1, 2, 2]
    for row, video in enumerate(found["video_id"].tolist()):
        # By hand: the mean over the RGB stream's two blocks, and the flow stream's only one.
        rgb = np.mean([p for name, _, _, p in ROWS if name == video], axis=0)
        (flow,) = [p for name, _, _, p in flow_rows if name == video]
        wanted = 0.25 * rgb + 0.75 * np.array(flow)
        np.testing.assert_allclose([found[f"p{k}"][row] for k in range(3)], wanted, rtol=1e-12)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda rows: rows[2:], r"do not fit the test list: 1 missing \(test00\)$"),
        (lambda rows: rows[8:], r"4 missing \(test00, test01, test10, and 1 more\)"),
        (
            lambda rows: [*rows, ("other", 0, 1, [1.0, 0.0, 0.0])],
            r"1 not expected \(other\)",
        ),
        (
            lambda rows: [(v, b, 2 if v == "test10" else y, p) for v, b, y, p in rows],
            r"1 of another label \(test10\)",
        ),
        (lambda rows: [(v, b, y, p[:2]) for v, b, y, p in rows], "of 2 classes instead of 3"),
        (lambda rows: [*rows, rows[0]], "a block of a video was predicted twice"),
    ],
)
def test_predictions_that_are_not_of_the_test_list_are_refused(
    spoil: Any, sentence: str, tmp_path: Path
) -> None:
    needed = written(tmp_path / "a", TINY_RGB, spoil(ROWS))
    with pytest.raises(ValueError, match=sentence):
        by_video(needed, Tiny().test(1), 3)


@pytest.mark.parametrize(
    ("flow", "sentence"),
    [
        (stream(split=2), "the streams have split 1 and 2: fuse cells of the same split"),
        (stream(shots=2), "the streams have shots 1 and 2"),
        (stream(shots=None), "the streams have shots 1 and all"),
        (stream(resample=3), "the streams have resample 0 and 3"),
        (stream(Tiny(drop="test11")), r"not tested on the same videos.*: 1 missing \(test11\)"),
        (stream(Tiny(swap="test20")), r"1 of another label \(test20\)"),
        # A subset is drawn by its dataset's name, too: another name, other labelled videos.
        (stream(Tiny(name="other")), "not trained on the same videos"),
        (stream(Renamed()), "do not have the same classes in the same order"),
        (TINY_RGB, "is given as both streams"),
    ],
)
def test_streams_that_do_not_belong_together_are_refused_before_anything_runs(
    flow: Cell, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        fused(TINY_RGB, flow)


def test_only_two_few_shot_cells_can_be_fused() -> None:
    task = Fusion(subset=SUBSET)
    fusion = fused(RGB, FLOW)
    for needs in ((), (RGB,), (RGB, FLOW, Cell(task=STREAM, seed=3)), (RGB, fusion)):
        with pytest.raises(ValueError, match="needs exactly two few-shot cells"):
            Cell(task=task, needs=needs)
    with pytest.raises(ValueError, match="is of Fusion: a fusion needs exactly two"):
        fused(fusion, RGB)
    with pytest.raises(ValueError, match=r"make the cell with tasks.fusion.fused"):
        Cell(task=replace(task, subset=replace(SUBSET, resample=1)), needs=(RGB, FLOW))


@pytest.mark.parametrize(
    ("weights", "normalised", "sentence"),
    [
        ((1.0, 2.0), False, r"sum to 3: they must sum to 1, or be normalised"),
        ((0.0, 0.0), True, "one of them must be above 0"),
        ((-0.5, 1.5), False, "give two numbers of 0 or more"),
        ((float("nan"), 1.0), True, "give two numbers of 0 or more"),
        ((float("inf"), 1.0), True, "give two numbers of 0 or more"),
        ((1.0,), False, "give two numbers of 0 or more"),
    ],
)
def test_weights_that_are_no_weights_of_a_mean_are_refused(
    weights: Any, normalised: bool, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Fusion(subset=SUBSET, weights=weights, normalised=normalised)


def test_weights_and_streams_are_in_the_key_and_the_shares_in_reports() -> None:
    default = fused(RGB, FLOW)
    others = [
        fused(RGB, FLOW, weights=(0.5, 0.5)),
        fused(FLOW, RGB),
        fused(RGB, Cell(task=STREAM, seed=3)),
    ]
    assert len({each.key for each in (default, *others)}) == 4
    shares = fused(RGB, FLOW, weights=(1, 2), normalised=True).task.values()
    for values in (default.task.values(), shares):
        assert values["rgb_weight"] == pytest.approx(1 / 3)
        assert values["flow_weight"] == pytest.approx(2 / 3)
    assert default.task.values()["shots"] == "2"


def test_nothing_is_trained() -> None:
    task = Fusion(subset=SUBSET)
    assert task.schedule.steps == 0
    with pytest.raises(NotImplementedError, match="a fusion is not trained"):
        task.batch(0, 0, Shard())


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ranks]:
    for name, value in torchrun_environment(0, 1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    with joined() as found:
        yield found


def table(found: result.Result) -> pd.DataFrame:
    return pd.read_parquet(found.folder / "predictions.parquet")


def test_a_fusion_runs_through_the_harness_as_any_other_cell(ranks: Ranks, tmp_path: Path) -> None:
    fusion = fused(RGB, FLOW, label="both")
    workdir = Workdir(tmp_path)
    worker = Worker(
        Order(workdir=str(tmp_path), source="test", settings=()),
        ranks,
        stop=lambda: False,
        cells={cell.key: cell for cell in (RGB, FLOW, fusion)},
    )
    with pytest.raises(ValueError, match="which has no accepted result"):
        worker.carry_out(fusion.key, lambda event: None)
    for cell in (RGB, FLOW, fusion):
        worker.carry_out(cell.key, lambda event: None)

    found = {cell: result.read(workdir, cell, verify=True) for cell in (RGB, FLOW, fusion)}
    rgb, flow, both = (each for each in found.values() if each is not None)
    # The same by pandas: blocks to videos, streams by id, one third and two thirds.
    columns = [f"p{k}" for k in range(10)]
    rgb_p, flow_p = (table(each).groupby("video_id")[columns].mean() for each in (rgb, flow))
    wanted = rgb_p / 3 + flow_p.loc[rgb_p.index] * 2 / 3
    ours = table(both).set_index("video_id")
    assert len(ours) == len(SUBSET.test_videos) == len(wanted)
    np.testing.assert_allclose(ours.loc[wanted.index, columns], wanted, rtol=1e-9)
    labels = ours.loc[wanted.index, "label"].to_numpy()
    scores = {each["metric"]: each for each in both.scores}
    assert list(scores) == ["video_accuracy", "video_nll"]
    assert scores["video_accuracy"]["value"] == pytest.approx(
        100 * (wanted.to_numpy().argmax(axis=1) == labels).mean()
    )
    right = wanted.to_numpy()[np.arange(len(labels)), labels]
    assert scores["video_nll"]["value"] == pytest.approx(-np.log(right).mean())
    assert scores["video_nll"]["count"] == len(wanted)
    # It rests on what it read, so that streams done again with another outcome make it stale.
    assert both.body["rests_on"] == {
        need.key: {"predictions.parquet": run.body["files"]["predictions.parquet"]["sha256"]}
        for need, run in ((RGB, rgb), (FLOW, flow))
    }
    assert json.loads((both.folder / "subset.json").read_text())["shots"] == 2
