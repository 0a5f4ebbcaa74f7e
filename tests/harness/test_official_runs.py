"""Percepts and Fig. 12 of the official sets, over all their names: what is learned from, what is tested, what is drawn.

Each set goes through `harness run` once; its videos are tiny and synthetic (`tests.official_sets`), so that no accuracy
here means more than that a classifier sees what it should. The lists are read a second time, by `read_plainly`.
"""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from tasks.data.features import FeatureStore
from tests.harness.faked import invoke
from tests.harness.official import COUNTS, NUM_CLASSES, SPLITS, Official
from tests.harness.running import rows, sets

PERCEPTS = {"convnet": "raw_pixels", "rows": 24, "columns": 32, "side": 4}
FIG12 = {
    "shots": "1,all", "splits": "1,2,3", "resamples": 2, "units": 16, "layers": 1, "dropout": 0, "pretrain_steps": 20,
    "finetune_steps": 60, "finetune_steps_few": 60, "finetune_batch": 32, "finetune_rate": 0.05, "single_frame_steps": 60,
}  # fmt: skip


@pytest.fixture
def extracted(official: Official) -> Official:
    """A set with percepts: 16 numbers a frame."""
    official.run_once("percepts", **PERCEPTS)
    return official


@pytest.fixture
def drawn(extracted: Official) -> Official:
    """The same with Fig. 12: three splits, one label a class and all, two resamples, three methods."""
    extracted.run_once("fig12", **FIG12)
    return extracted


# ---- percepts


def test_every_video_has_the_percepts_of_its_own_file(extracted: Official) -> None:
    (folder,) = (extracted.root / extracted.name / "percepts").iterdir()
    store = FeatureStore.open(folder)
    assert len(store.plan.shards) > 1
    videos = {video["id"]: video for video in extracted.index["videos"]}
    assert dict(store.videos) == {video: each["num_frames"] for video, each in videos.items()}
    plain_TD: dict[str, np.ndarray] = {}  # by checksum: clips are shared by a class's names
    for video, each in videos.items():
        if each["sha256"] not in plain_TD:
            plain_TD[each["sha256"]] = decoded_plainly(extracted.videos / each["path"])
        assert np.abs(store.frames(video) - plain_TD[each["sha256"]]).max() < 2e-3
    assert len(plain_TD) > 3 * NUM_CLASSES[extracted.name]


def decoded_plainly(path: Path) -> np.ndarray:
    """Brightness of the middle 24 x 24 pixels in 4 x 4 means, float64 (T, 16)."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    grey_TYX = np.stack(frames)[:, :, 4:28] @ [0.299, 0.587, 0.114] / 255
    return grey_TYX.reshape(-1, 4, 6, 4, 6).mean((2, 4)).reshape(-1, 16)


# ---- the figure


def test_every_split_is_tested_on_its_own_list_each_video_once(drawn: Official) -> None:
    frames = {video["id"]: video["num_frames"] for video in drawn.index["videos"]}
    classes = drawn.index["classes"]
    chance = 100 / len(classes)
    seen: Counter[tuple[str, int, str]] = Counter()
    for body, folder in drawn.results:
        split, values = body["values"]["split"], body["values"]
        seen[body["task"], split, values["shots"]] += 1
        table = pq.read_table(folder / "predictions.parquet").to_pandas()
        assert sorted(set(table["video_id"])) == drawn.ids(split, "test")
        assert not table.duplicated(["video_id", "block"]).any()
        blocks = table.groupby("video_id").size()
        if body["task"] == "SingleFrame":
            expected = {video: frames[video] for video in blocks.index}
        else:
            expected = {video: 1 + (frames[video] - 16) // 8 for video in blocks.index}
            assert set(blocks) == {1, 2}
        assert blocks.to_dict() == expected
        # A video's answer is where the mean over its blocks is largest.
        columns = [f"p{label}" for label in range(len(classes))]
        mean = table.groupby("video_id")[columns].mean()
        answers = [classes[label] for label in mean.to_numpy().argmax(axis=1)]
        truth = [video.partition("/")[0] for video in mean.index]
        accuracy = 100 * np.mean([a == b for a, b in zip(answers, truth, strict=True)])
        (score,) = (each for each in body["scores"] if each["metric"] == "video_accuracy")
        assert score["value"] == pytest.approx(accuracy, abs=0.05)  # ties in float32
        assert score["count"] == COUNTS[drawn.name][split][1]
        assert accuracy > 4 * chance, (body["task"], values)
    assert set(seen.values()) == {
        2,
        4,
    }  # resamples; and the LSTM classifier with and without pretraining
    assert len(seen) == 2 * 3 * 2


def test_one_label_a_class_is_one_video_of_the_training_list(drawn: Official) -> None:
    chosen: dict[tuple[int, str, int], set[tuple[str, ...]]] = {}
    for body, folder in drawn.results:
        manifest = json.loads((folder / "subset.json").read_bytes())
        split, shots = manifest["split"], str(manifest["shots"])
        assert (split, shots) == (body["values"]["split"], body["values"]["shots"])
        videos = manifest["videos"]
        train, test = drawn.ids(split, "train"), drawn.ids(split, "test")
        assert not set(videos) & set(test)
        if shots == "all":
            assert videos == train
        else:
            assert set(videos) <= set(train)
            per_class = Counter(video.partition("/")[0] for video in videos)
            assert per_class == dict.fromkeys(drawn.index["classes"], 1)
        chosen.setdefault((split, shots, manifest["resample"]), set()).add(tuple(videos))
    assert {len(each) for each in chosen.values()} == {1}  # the same for every method
    ones = [next(iter(chosen[split, "1", resample])) for split in SPLITS for resample in (0, 1)]
    assert len(set(ones)) == 6
    assert all(len(set(one) & set(other)) < len(one) // 4 for one, other in pairwise(ones))


def test_the_report_has_every_split_and_their_mean(drawn: Official) -> None:
    runs = pd.DataFrame(
        [
            {
                "method": {("SingleFrame", 0): "single frame", ("FewShot", 0): "LSTM classifier"}.get(
                    (body["task"], len(body["rests_on"])), "LSTM classifier + Composite pretraining"
                ),
                **{name: body["values"][name] for name in ("shots", "split", "resample")},
                "value": next(s["value"] for s in body["scores"] if s["metric"] == "video_accuracy"),
            }
            for body, _ in drawn.results
        ]
    )  # fmt: skip
    of_splits = runs.groupby(["method", "shots", "resample"])["value"].mean()
    of_points = of_splits.groupby(["method", "shots"]).agg(["mean", "std"])
    drawn_rows = rows(drawn.work.csv())
    assert len(drawn_rows) == len(of_points) == 6
    for row in drawn_rows:
        mean, sd = of_points.loc[(row["method"], row["shots"])]
        assert float(row["mean"]) == pytest.approx(mean, abs=1e-3)
        assert float(row["sd"]) == pytest.approx(sd, abs=1e-3)
        assert (row["dataset"], row["n"], row["expected"]) == (drawn.name, "2", "2")
    report = (drawn.work.work / "reports/fig12/fig12.md").read_text()
    assert "36 of 36 expected results are in" in report
    assert "each first averaged over splits 1, 2, 3" in report
    each_split = report.partition("Each split by itself.")[2]
    title = {"ucf101": "UCF-101", "hmdb51": "HMDB-51"}[drawn.name]
    for (method, shots, split), one in runs.groupby(["method", "shots", "split"])["value"]:
        train = COUNTS[drawn.name][split][0] / NUM_CLASSES[drawn.name]
        videos = f"all ({train:.0f})" if shots == "all" else "1"
        shown = (
            f"| {title} | {method} | {videos} | {split} | 2 | {one.mean():.1f} ± {one.std():.1f} |"
        )
        assert shown in each_split


def test_splits_and_shots_that_the_lists_do_not_have_are_refused(
    extracted: Official, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(extracted.root))
    trained = Counter(video.partition("/")[0] for video in extracted.ids(1, "train"))
    size = min(trained.values())
    smallest = min(name for name, number in trained.items() if number == size)
    for knobs, sentence in (
        ({"splits": 4}, "split"),
        ({"shots": size + 1}, f"class {smallest} of {extracted.name}, split 1, has only {size} training videos"),
    ):  # fmt: skip
        words = sets({"dataset": extracted.name, **knobs})
        refused = invoke("run", "fig12", *words, "--dry-run", "--workdir", str(tmp_path / "work"))
        assert refused.exit_code == 2
        assert sentence in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
