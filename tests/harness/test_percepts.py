"""From a folder of clips to fig12: percepts extracted a shard a cell, found by identity, never those of something else."""

import json
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import Result

from configs.fig12 import fig12
from tasks.data.features import FeatureStore
from tasks.data.percept_scale import root_mean_square
from tasks.data.videos import VideoPercepts, video_percepts
from tasks.fusion import fused
from tests.harness.faked import invoke
from tests.harness.running import Harness, rows, sets
from tests.tasks.clips import write_clip

LENGTHS = (20, 17, 9, 31, 24, 18, 40, 16)
EXTRACTION = {"dataset": "mine", "convnet": "raw_pixels", "side": 3, "rows": 24, "columns": 32, "shard_frames": 45}  # fmt: skip
FIG12 = {
    "dataset": "mine", "shots": 1, "resamples": 2, "units": 4, "layers": 1, "pretrain_steps": 2, "pretrain_batch": 3,
    "finetune_steps_few": 2, "finetune_batch": 2, "single_frame_steps": 2,
}  # fmt: skip


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of eight clips of two classes, indexed as `mine`."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    for number, length in enumerate(LENGTHS):
        name = f"videos/{'ab'[number % 2]}/{'ab'[number % 2]}_g{number // 2:02d}.avi"
        write_clip(tmp_path / name, length, seed=number)
    indexed = invoke(
        "data", "index", "mine", "--videos", str(tmp_path / "videos"), "--labels", "by-folder",
        "--groups", r"(g\d+)", "--splits", "2", "--test-share", "0.5", "--jobs", "1",
    )  # fmt: skip
    assert indexed.exit_code == 0, indexed.output
    return tmp_path


def extract(folder: Path, work: str = "work", **changes: object) -> Result:
    words = sets({**EXTRACTION, **changes})
    return invoke("run", "percepts", *words, "--cluster", "inline", "--workdir", str(folder / work))


def stores(folder: Path) -> list[Path]:
    return sorted((folder / "data" / "mine" / "percepts").iterdir())


def test_percepts_are_what_a_plain_decoding_gives(mine: Path) -> None:
    done = extract(mine)
    assert done.exit_code == 0, done.output
    (folder,) = stores(mine)
    assert folder.name.startswith("rgb-raw_pixels-pixels-")
    store = FeatureStore.open(folder)
    assert len(store.plan.shards) == 6
    assert sum(store.videos.values()) == sum(LENGTHS)
    with av.open(str(mine / "videos/a/a_g01.avi")) as container:
        frames = [
            frame.reformat(32, 24, "rgb24", interpolation="BILINEAR").to_ndarray()
            for frame in container.decode(video=0)
        ]
    kept_TYX = np.stack(frames).astype(np.float64)[:, :, 4:28] @ [0.299, 0.587, 0.114] / 255
    expected_TD = kept_TYX.reshape(-1, 3, 8, 3, 8).mean((2, 4)).reshape(-1, 9)
    assert (
        np.abs(store.frames("a/a_g01") - expected_TD).max() < 2e-3
    )  # float16, and the decoder's rounding
    numbers = rows((mine / "work/reports/percepts/percepts.csv").read_bytes())
    assert sum(float(row["frames"]) for row in numbers) == sum(LENGTHS)


def test_a_lost_shard_is_made_again_and_no_other_to_the_same_bytes(mine: Path) -> None:
    extract(mine)
    (folder,) = stores(mine)
    before = {path.name: path.read_bytes() for path in folder.glob("shard-*")}
    (folder / "shard-00002.safetensors").unlink()
    planned = invoke("run", "percepts", *sets(EXTRACTION), "--workdir", str(mine / "work"), "--dry-run")  # fmt: skip
    assert "5 done, 1 to run, 1 of them stale" in planned.stdout
    assert "shard-00002.safetensors is not there any more" in planned.stdout
    assert extract(mine).exit_code == 0
    assert {path.name: path.read_bytes() for path in folder.glob("shard-*")} == before


def test_an_extraction_that_is_killed_goes_on_to_the_same_bytes(mine: Path) -> None:
    harness = Harness(mine / "killed")
    words = ("run", "percepts", *sets({**EXTRACTION, "shard_frames": 1}), "--jobs", "1")
    run = harness.start(*words)
    deadline = time.monotonic() + 90
    while not list((mine / "data/mine").glob("percepts/*/shard-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    (folder,) = stores(mine)
    harness(*words)
    killed = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        path.unlink()
    undisturbed = Harness(mine / "undisturbed")
    undisturbed(*words)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == killed
    assert len(killed) == 9  # a shard a video, and store.json


def test_a_convnet_of_ones_own_as_the_docs_have_it(mine: Path) -> None:
    example = Path(__file__).parents[2] / "docs/examples/my_percepts.py"
    for width in (4, 5):
        words = sets({"dataset": "mine", "width": width})
        made = invoke("run", f"{example}:my_percepts", *words, "--cluster", "inline", "--workdir", str(mine / "work"))  # fmt: skip
        assert made.exit_code == 0, made.output
    sizes = {FeatureStore.open(folder).plan.frame_size for folder in stores(mine)}
    assert sizes == {16, 20}
    chosen = {**FIG12, "percepts": "rgb-Small"}
    both = invoke("run", "fig12", *sets(chosen), "--workdir", str(mine / "f"), "--dry-run")
    assert "could be any of" in both.stderr


def test_another_precision_is_another_store(mine: Path) -> None:
    assert extract(mine).exit_code == 0
    assert extract(mine, precision="bfloat16").exit_code == 0
    made_of = [FeatureStore.open(folder).plan.made_of for folder in stores(mine)]
    assert {str(each.get("precision", "float32")) for each in made_of} == {"float32", "bfloat16"}
    refused = extract(mine, precision="float8")
    assert refused.exit_code == 2
    assert "float32, float16, bfloat16" in refused.stderr


def test_fig12_runs_on_a_set_and_its_cells_name_the_percepts(mine: Path) -> None:
    extract(mine)
    work = mine / "figure"
    done = invoke("run", "fig12", *sets(FIG12), "--cluster", "inline", "--workdir", str(work))
    assert done.exit_code == 0, done.output
    results = [json.loads(path.read_bytes()) for path in work.glob("runs/*/result.json")]
    assert len(results) == 7
    (folder,) = stores(mine)
    identity = FeatureStore.open(folder).identity
    for body in results:
        task = body["description"]["task"]
        data = task["dataset"] if "dataset" in task else task["subset"]["dataset"]
        assert data["percepts"] == identity
    table = (work / "reports/fig12/fig12.md").read_text()
    assert "mine" in table
    # Percepts of another kind are other cells, and are asked for by name.
    extract(mine, side=4)
    ambiguous = invoke("run", "fig12", *sets(FIG12), "--workdir", str(work), "--dry-run")
    assert ambiguous.exit_code == 2
    assert "could be any of" in ambiguous.stderr
    other = next(path.name for path in stores(mine) if path != folder)
    chosen = {**FIG12, "percepts": other}
    planned = invoke("run", "fig12", *sets(chosen), "--workdir", str(work), "--dry-run", "--json")
    assert json.loads(planned.stdout)["done"] == 0


def test_pretraining_on_another_set_must_see_the_same_kind_of_percepts(mine: Path) -> None:
    extract(mine)
    invoke("data", "index", "more", "--videos", str(mine / "videos/a"), "--unlabelled", "--jobs", "1")  # fmt: skip
    more = {"dataset": "more", "side": 4}
    assert extract(mine, **more).exit_code == 0
    words = sets({**FIG12, "pretrain_on": "more"})
    refused = invoke("run", "fig12", *words, "--workdir", str(mine / "f"), "--dry-run")
    assert refused.exit_code == 2
    assert "percepts of more are not made like those of mine" in refused.stderr
    assert extract(mine, dataset="more").exit_code == 0
    same = next(path.name for path in (mine / "data/more/percepts").iterdir() if (json.loads((path / "store.json").read_bytes())["frame_size"] == 9))  # fmt: skip
    words = sets({**FIG12, "pretrain_on": "more", "pretrain_percepts": same})
    planned = invoke("run", "fig12", *words, "--workdir", str(mine / "f"), "--cluster", "inline")
    assert planned.exit_code == 0, planned.output


def test_flow_percepts_have_a_step_for_every_frame_and_fuse_with_those_of_rgb(mine: Path) -> None:
    extract(mine)
    flow = {"stream": "flow", "flow_method": "dis", "flow_fields": 2}
    assert extract(mine, **flow).exit_code == 0
    names = [path.name for path in stores(mine)]
    assert [name.partition("-")[0] for name in names] == ["flow2", "rgb"]
    rgb, two = video_percepts("mine", "rgb"), video_percepts("mine", "flow2")
    assert (rgb.frame_size, two.frame_size) == (9, 9 * 4)
    assert rgb.train(1) == two.train(1)
    refused = extract(mine, convnet="squeezenet", weights=__file__, **flow)
    assert "squeezenet fire9 takes RGB frames: choose the other stream" in refused.stderr
    streams = {}
    for name in ("rgb", "flow2"):
        made = fig12(
            dataset="mine", percepts=name, methods=("lstm",), shots=(1,), resamples=1, units=4, layers=1,
            finetune_steps_few=2, finetune_batch=2,
        )  # fmt: skip
        streams[name] = made.cells[0]
    together = fused(streams["rgb"], streams["flow2"])
    assert together.task.values()["dataset"] == "mine"


def test_percepts_of_stored_flow_are_those_of_flow_made_on_the_way_without_a_video(
    mine: Path,
) -> None:
    flow = {"stream": "flow", "flow_method": "dis", "flow_fields": 3}
    extract(mine, **flow)
    (folder,) = stores(mine)
    made_on_the_way = {path.name: path.read_bytes() for path in folder.iterdir()}
    words = sets({"dataset": "mine", "flow_method": "dis", "rows": 24, "columns": 32, "shard_frames": 60})  # fmt: skip
    kept = invoke("run", "flow", *words, "--cluster", "inline", "--workdir", str(mine / "f"))
    assert kept.exit_code == 0, kept.output
    for path in folder.iterdir():
        path.unlink()
    (mine / "videos").rename(mine / "elsewhere")
    assert extract(mine, **flow).exit_code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == made_on_the_way
    # Of another bound nothing is stored, and the videos are gone.
    other = extract(mine, **flow, flow_bound=3)
    assert other.exit_code == 1
    assert "cannot be read" in other.stderr


TWO_STREAM = {
    "dataset": "mine", "splits": "1,2", "units": 4, "flow_units": 3, "layers": 1, "pretrain_steps": 2, "pretrain_batch": 3,
    "finetune_steps": 2, "finetune_batch": 2,
}  # fmt: skip


def test_two_streams_and_their_fusion_split_by_split(mine: Path) -> None:
    """Every number of the table is computed again from the predictions that were kept, by plain loops."""
    extract(mine)
    assert extract(mine, stream="flow", flow_method="dis").exit_code == 0
    work = mine / "two"
    words = sets(TWO_STREAM)
    done = invoke("run", "two_stream", *words, "--cluster", "inline", "--workdir", str(work))
    assert done.exit_code == 0, done.output
    results = [json.loads(path.read_bytes()) for path in work.glob("runs/*/result.json")]
    kinds = Counter(body["task"] for body in results)
    assert kinds == {"FewShot": 8, "Fusion": 4, "Pretrain": 2}
    blocks = {
        body["description"]["task"]["block"] for body in results
        if body["task"] == "FewShot" and body["values"]["stream"] == "flow1"
    }  # fmt: skip
    assert blocks == {4}  # sec. 3.3: sequences of 4 frames on flow
    by_key = {body["cell"]: _by_video(work, body) for body in results if body["task"] != "Pretrain"}
    labels = {}
    for body in results:
        if body["task"] != "Fusion":
            continue
        rgb, flow = (by_key[need] for need in body["description"]["needs"])
        fused_by_hand = {video: (rgb[video] + 2 * flow[video]) / 3 for video in rgb}
        found = by_key[body["cell"]]
        assert found.keys() == rgb.keys() == flow.keys()
        for video, mean in fused_by_hand.items():
            np.testing.assert_allclose(found[video], mean, atol=1e-6)
        right = [mean.argmax() == "ab".index(video[0]) for video, mean in fused_by_hand.items()]
        labels[body["values"]["split"], len(labels)] = 100 * sum(right) / len(right)
    numbers = rows((work / "reports/two_stream/two_stream_splits.csv").read_bytes())
    both = [row for row in numbers if row["method"].endswith(", RGB + flow")]
    assert sorted((int(row["split"]), round(float(row["mean"]), 6)) for row in both) == sorted(
        (split, round(value, 6)) for (split, _), value in labels.items()
    )
    means = rows((work / "reports/two_stream/two_stream.csv").read_bytes())
    assert [row["stream"] for row in means] == [
        "rgb",
        "rgb",
        "flow1",
        "flow1",
        "rgb+flow",
        "rgb+flow",
    ]
    for row in means[-2:]:
        mine_ = [
            float(each["mean"]) for each in both if each["method"].startswith(row["method"] + ",")
        ]
        assert float(row["mean"]) == pytest.approx(np.mean(mine_))
        assert float(row["sd"]) == pytest.approx(np.std(mine_, ddof=1))


def _by_video(work: Path, body: dict[str, Any]) -> dict[str, np.ndarray]:
    """Mean probabilities of each video's blocks, by plain loops."""
    (path,) = work.glob(f"runs/{body['cell'][:16]}/attempt-*/predictions.parquet")
    found: dict[str, list[np.ndarray]] = {}
    for row in pq.read_table(path).to_pylist():
        found.setdefault(row["video_id"], []).append(np.array([row["p0"], row["p1"]]))
    return {video: np.mean(each, axis=0) for video, each in found.items()}


def test_two_streams_refuse_a_store_of_the_other_stream_and_no_weight(mine: Path) -> None:
    extract(mine)
    assert extract(mine, stream="flow", flow_method="dis").exit_code == 0
    for changes, sentence in (
        ({"rgb": "flow"}, "rgb=flow: these percepts of mine are of the flow1 stream"),
        ({"flow": "rgb"}, "flow=rgb: these percepts of mine are of the rgb stream"),
        ({"rgb_weight": 1.5}, "rgb_weight=1.5: it lies between 0 and 1"),
        ({"flow": "flow10"}, "flow='flow10' is not among the percepts of mine"),
        (
            {"flow": "flow,flow,flow"},
            "name one store for all splits, or one for each of splits=1,2",
        ),
        ({"splits": "1,1"}, "splits=1,1: name at least one, and each once"),
    ):
        words = sets({**TWO_STREAM, **changes})
        refused = invoke("run", "two_stream", *words, "--workdir", str(mine / "w"), "--dry-run")
        assert refused.exit_code == 2
        assert sentence in refused.stderr


def test_splits_on_unlike_flow_are_no_row_of_a_table(mine: Path) -> None:
    extract(mine)
    for fields in (1, 2):
        extract(mine, stream="flow", flow_method="dis", flow_fields=fields)
    words = sets({**TWO_STREAM, "flow": "flow1,flow2"})
    refused = invoke("run", "two_stream", *words, "--workdir", str(mine / "w"), "--dry-run")
    assert refused.exit_code == 2
    assert "are not made alike (convnet, flow, stream differ)" in refused.stderr


def test_what_cannot_be_tested_on_is_told_with_the_way_out(mine: Path) -> None:
    extract(mine)
    invoke("data", "index", "more", "--videos", str(mine / "videos/a"), "--unlabelled", "--jobs", "1")  # fmt: skip
    extract(mine, dataset="more")
    knobs = {name: value for name, value in FIG12.items() if name != "dataset"}
    for changes, sentence in (
        ({"dataset": "more"}, "more has no labels and no splits: it can be pretrained on (pretrain_on=more)"),
        ({"dataset": "mine", "scale": "paper"}, "scale=paper takes splits 1,2,3, and mine has 1,2: add --set splits=1,2"),
        ({"dataset": "mine", "splits": 3}, "split 3 of mine does not exist: choose from 1, 2"),
        ({"dataset": "mine", "pretrain_on": "more", "pretrain_percepts": "flow"}, "pretrain_percepts='flow' is not among"),
    ):  # fmt: skip
        words = sets({**knobs, **changes})
        refused = invoke("run", "fig12", *words, "--workdir", str(mine / "w"), "--dry-run")
        assert refused.exit_code == 2
        assert sentence in refused.stderr


def test_a_store_of_other_videos_or_without_its_shards_is_no_candidate(mine: Path) -> None:
    extract(mine)
    (whole,) = stores(mine)
    extract(mine, side=4)
    other = next(folder for folder in stores(mine) if folder != whole)
    assert "could be any of" in invoke("run", "fig12", *sets(FIG12), "--dry-run").stderr
    next(other.glob("shard-*")).unlink()
    assert video_percepts("mine").place == whole.name


def test_a_report_says_when_the_tested_videos_were_pretrained_on(mine: Path) -> None:
    extract(mine)
    said = "Pretraining saw all videos of mine, those of the test lists too, without their labels."
    assert said in fig12(dataset="mine", shots=(1,), splits=(1,)).notes
    assert said not in fig12(dataset="mine", shots=(1,), methods=("lstm",)).notes
    assert not any("saw all videos" in note for note in fig12().notes)


def test_a_figure_of_two_sets_has_a_panel_each_and_shots_that_fit(mine: Path) -> None:
    extract(mine)
    invoke(
        "data", "index", "more", "--videos", str(mine / "videos"), "--labels", "by-folder", "--groups", r"(g\d+)",
        "--splits", "2", "--test-share", "0.25", "--jobs", "1",
    )  # fmt: skip
    assert extract(mine, dataset="more").exit_code == 0
    knobs = {name: value for name, value in FIG12.items() if name != "shots"}
    words = sets({**knobs, "dataset": "mine,more", "pretrain_on": "mine", "finetune_steps": 2})
    work = mine / "panels"
    done = invoke("run", "fig12", *words, "--cluster", "inline", "--workdir", str(work))
    assert done.exit_code == 0, done.output
    points = rows((work / "reports/fig12/fig12.csv").read_bytes())
    found = {(row["dataset"], row["shots"]) for row in points}
    # Two and three training videos a class: one or two of them can be drawn, or all taken.
    assert found == {("mine", "1"), ("mine", "all"), ("more", "1"), ("more", "2"), ("more", "all")}
    results = [json.loads(path.read_bytes()) for path in work.glob("runs/*/result.json")]
    assert sum(body["task"] == "Pretrain" for body in results) == 1
    refused = invoke("run", "fig12", *words, "--set", "percepts=rgb,rgb,rgb", "--workdir", str(work), "--dry-run")  # fmt: skip
    assert refused.exit_code == 2
    assert "name one store for all, or one for each of dataset=mine,more" in refused.stderr


def test_windows_of_a_set_are_those_of_its_store(mine: Path) -> None:
    extract(mine)
    data = video_percepts("mine")
    assert isinstance(data, VideoPercepts)
    (folder,) = stores(mine)
    store = FeatureStore.open(folder)
    video = next(each for each in data.train(1) if each.num_frames == 9)
    assert data.window(video, 2, 16).shape == (7, 9)
    # Whatever a convnet's numbers are, a model sees numbers of root mean square 1.
    everything = np.concatenate([store.frames(each) for each in store.videos]).astype(np.float64)
    size = np.float32(root_mean_square(store))
    # Long clips count less in the sample than they are long, and these are the brighter ones.
    assert size == pytest.approx(np.sqrt(np.square(everything).mean()), rel=0.1)
    shown = {each: store.frames(each).astype(np.float32) / size for each in store.videos}
    np.testing.assert_allclose(data.frames(video), shown[video.id], rtol=1e-6)
    windows_TBD = data.unlabelled(7, range(400), 16)
    assert windows_TBD.shape == (16, 400, 9)
    assert np.array_equal(windows_TBD[:, 31:33], data.unlabelled(7, [31, 32], 16))
    everywhere = [
        frames_TD[start : start + 16]
        for frames_TD in shown.values()
        for start in range(len(frames_TD) - 15)
    ]
    short_TD = shown[video.id]
    everywhere.append(np.concatenate([short_TD, np.repeat(short_TD[-1:], 7, axis=0)]))
    places = np.stack(everywhere, axis=1).astype(np.float64)
    distance_RP = np.abs(windows_TBD[:, :, None] - places[:, None]).max(axis=(0, 3))
    assert distance_RP.min(axis=1).max() < 1e-6
    seen = set(distance_RP.argmin(axis=1).tolist())
    assert len(seen) > 0.9 * len(everywhere)  # 67 places, 400 draws: each is seen


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dataset": "mime"}, "dataset='mime' is no indexed set of videos; did you mean 'mine'? (there are: mine)"),
        ({"convnet": "vgg16"}, "vgg16 needs its weights: name the file with --set weights=FILE"),
        ({"convnet": "vgg16", "weights": "/nowhere.pth"}, "the weights /nowhere.pth cannot be read"),
        ({"rows": 2}, "side=3: it must lie between 1 and crop=2"),
        ({"shard_frames": 0}, "shard_frames=0: a shard holds at least 1 frame"),
    ],
)  # fmt: skip
def test_what_cannot_be_extracted_is_a_sentence_before_anything_runs(
    mine: Path, changes: dict[str, object], sentence: str
) -> None:
    refused = extract(mine, **changes)
    assert refused.exit_code == 2
    assert sentence in refused.stderr
    assert not (mine / "data/mine/percepts").exists()


def test_a_video_that_was_replaced_since_fails_its_shard_with_that_sentence(mine: Path) -> None:
    write_clip(mine / "videos/a/a_g00.avi", 21, seed=99)
    failed = extract(mine)
    assert failed.exit_code == 1
    assert "when it was indexed: index mine again" in failed.stderr
    assert len(list(stores(mine)[0].glob("shard-*"))) == 5
    unusable = invoke("run", "fig12", *sets(FIG12), "--workdir", str(mine / "f"), "--cluster", "inline")  # fmt: skip
    assert unusable.exit_code == 2
    assert "lacks 1 of 6 shards" in unusable.stderr


def test_a_set_without_percepts_says_how_to_make_them(mine: Path) -> None:
    refused = invoke("run", "fig12", *sets(FIG12), "--workdir", str(mine / "f"), "--dry-run")
    assert refused.exit_code == 2
    assert "mine has no percepts yet: make them with `harness run percepts --set dataset=mine" in refused.stderr  # fmt: skip
    unknown = invoke("run", "fig12", "--set", "dataset=nine", "--workdir", str(mine / "f"))
    assert "there is no dataset 'nine'; did you mean 'mine'? (there are: digits, mine;" in unknown.stderr  # fmt: skip


def test_an_experiment_that_must_be_told_its_dataset_says_so() -> None:
    shown = invoke("describe", "percepts")
    assert shown.exit_code == 0
    assert "its cells and their cost depend on --set dataset=..." in shown.stdout
    assert json.loads(invoke("describe", "percepts", "--json").stdout)["lacking"] == ["dataset"]
    refused = invoke("run", "percepts", "--dry-run")
    assert refused.exit_code == 2
    assert "percepts needs to be told its dataset: add --set dataset=..." in refused.stderr
