"""From clips to percepts of the temporal stream: flow kept, a net trained on it, its weights used as they are."""

import json
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from configs.flow import flow
from configs.percepts import percepts as percepts_of
from harness import plan as planning
from harness.workdir import Workdir
from models.convnets import CNNM2048
from reports.evidence import Evidence
from reports.tables import MISSING
from reports.temporal_stream import draw
from tasks.convnets import own_convnet
from tasks.data.features import FeatureStore
from tasks.data.flow_videos import video_flow
from tasks.data.index import read
from tasks.data.root import folder_of
from tasks.data.videos import video_percepts
from tasks.flow_fields import _plan_of
from tests.harness.faked import invoke
from tests.harness.running import Harness, rows, sets
from tests.tasks.flow_sets import SIZE, moving_thing, write_frames

LENGTHS = (4, 3, 5, 2)
FLOW = {
    "dataset": "moves", "flow_method": "dis", "rows": SIZE[0], "columns": SIZE[1], "shard_frames": 12,
}  # fmt: skip
TEMPORAL = {
    "dataset": "moves", "flow_fields": 2, "steps": 2, "batch": 4, "rate": 0.001, "dropout": 0.5, "divisor": 16,
    "test_stacks": 2, "test_crops": 1,
}  # fmt: skip


@pytest.fixture
def moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of eight clips in which something moves up or down, indexed as `moves`."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    for number, length in enumerate(LENGTHS):
        for label, down in (("up", -4), ("down", 4)):
            frames = moving_thing(length, down=down, seed=10 * number + down + 4)
            write_frames(tmp_path / f"videos/{label}/{label}_g{number}.avi", frames)
    indexed = invoke(
        "data", "index", "moves", "--videos", str(tmp_path / "videos"), "--labels", "by-folder",
        "--groups", r"(g\d+)", "--splits", "2", "--test-share", "0.5", "--jobs", "1",
    )  # fmt: skip
    assert indexed.exit_code == 0, indexed.output
    return tmp_path


def run(name: str, folder: Path, settings: dict[str, object], *more: str) -> Result:
    words = sets(settings)
    workdir = str(folder / "work")
    return invoke("run", name, *words, "--cluster", "inline", "--workdir", workdir, *more)


def flow_stores(folder: Path) -> list[Path]:
    return sorted((folder / "data/moves/flow").iterdir())


def test_clips_become_flow_a_trained_net_and_percepts(moves: Path) -> None:
    made = run("flow", moves, FLOW)
    assert made.exit_code == 0, made.output
    (place,) = flow_stores(moves)
    assert place.name.startswith(f"dis-20px-{SIZE[0]}x{SIZE[1]}-")
    store = FeatureStore.open(place)
    assert sum(store.videos.values()) == 2 * sum(LENGTHS)
    assert len(store.plan.shards) > 1
    report = (moves / "work/reports/flow/flow.md").read_text()
    size = 2 * sum(LENGTHS) * 2 * SIZE[0] * SIZE[1]
    assert f"takes {size / 1e9:.3f} GB: {2 * sum(LENGTHS)} frames of" in report
    assert "one level is 0.1575 pixels" in report
    told = rows((moves / "work/reports/flow/flow.csv").read_bytes())
    assert sum(float(row["frames"]) for row in told) == 2 * sum(LENGTHS)
    assert all(0 <= float(row["at_bound"]) <= 100 for row in told)
    listed = json.loads(invoke("data", "list", "--json").stdout)
    assert listed["sets"][0]["features"] == [f"flow/{place.name}"]

    trained = run("temporal", moves, {**TEMPORAL, "splits": "1,2"})
    assert trained.exit_code == 0, trained.output
    lines = rows((moves / "work/reports/temporal/temporal.csv").read_bytes())
    assert [line["split"] for line in lines] == ["1", "2"]
    assert all(0 <= float(line["video_accuracy"]) <= 100 for line in lines)
    written = (moves / "work/reports/temporal/temporal.md").read_text()
    assert "mean of 2" in written
    assert "every width is divided by 16" in written
    # The report's command, typed as it stands, but for where the work folder is.
    command = next(each for each in written.splitlines() if each.startswith("harness run percepts"))
    assert lines[0]["next"] == command
    words = command.replace("weights=work/", f"weights={moves}/work/").split()[1:]
    extracted = invoke(*words, "--cluster", "inline", "--workdir", str(moves / "work"))
    assert extracted.exit_code == 0, extracted.output

    data = video_percepts("moves")
    assert data.stream == "flow2"
    assert data.frame_size == 4096 // 16
    video = data.test(1)[0]
    assert np.isfinite(data.frames(video)).all()
    assert data.frames(video).any()
    (percepts,) = (moves / "data/moves/percepts").iterdir()
    made_of = json.loads((percepts / "store.json").read_bytes())["made_of"]
    assert made_of["flow"]["subtract_mean"]  # as in training, without being told
    assert made_of["convnet"]["trained_on"]["split"] == 1
    # A classifier on them may be tested on split 1, and on no other.
    fig12 = {"dataset": "moves", "methods": "single_frame", "shots": "all", "resamples": 1, "single_frame_steps": 2}  # fmt: skip
    allowed = run("fig12", moves, fig12)
    assert allowed.exit_code == 0, allowed.output
    assert "trained on the labels of all training videos of split 1" in (
        moves / "work/reports/fig12/fig12.md"
    ).read_text().replace("\n", " ")
    refused = run("fig12", moves, {**fig12, "splits": 2})
    assert refused.exit_code == 2
    assert "trained on labels of split 1 of moves" in refused.stderr

    # What the weights were not trained on is refused before anything is computed.
    weights = moves / "work" / lines[0]["weights"]
    settings = {**FLOW, "stream": "flow", "flow_fields": 2, "convnet": "cnn_m_2048", "weights": weights}  # fmt: skip
    for changes, sentence in (
        ({"flow_method": "brox"}, "add --set flow_method=dis\n"),
        ({"flow_bound": 10}, "add --set flow_bound=20.0\n"),
        ({"flow_fields": 1, "rows": 240}, f"add --set flow_fields=2 --set rows={SIZE[0]}\n"),
        ({"subtract_mean": False}, "add --set subtract_mean=True\n"),
    ):
        refused = run("percepts", moves, {**settings, **changes})
        assert refused.exit_code == 2
        assert sentence in refused.stderr
    # Whoever builds the net himself from the same file is told the same.
    own = own_convnet(CNNM2048, feature_size=4096, preprocessing="flow", weights=weights)
    assert own.trained_on is not None
    assert own.trained_on.split == 1
    with pytest.raises(
        ValueError, match="trained on other flow than is asked for: add --set flow_fields=2"
    ):
        percepts_of(
            dataset="moves",
            stream="flow",
            flow_method="dis",
            rows=SIZE[0],
            columns=SIZE[1],
            net=own,
        )
    refused = run("percepts", moves, {"dataset": "moves", "convnet": "cnn_m_2048", "weights": weights})  # fmt: skip
    assert "take 4 channels (2 fields of flow), and 3 channels (RGB) were asked for" in refused.stderr  # fmt: skip


def test_two_ranks_give_the_answers_of_one(moves: Path) -> None:
    assert run("flow", moves, FLOW).exit_code == 0
    assert run("temporal", moves, TEMPORAL).exit_code == 0
    two = Harness(moves / "two")
    done = two("run", "temporal", *sets(TEMPORAL), "--ranks", "2")
    assert "could not be written" not in done.stdout + done.stderr  # MLflow's figures, too
    results = [
        next(b for b in each.values() if b["task"] == "TemporalStream")
        for each in (Harness(moves / "work").results(), two.results())
    ]
    assert [each["usage"]["ranks"] for each in results] == [1, 2]
    scores = [{s["metric"]: (s["value"], s["count"]) for s in each["scores"]} for each in results]
    assert scores[0].keys() == scores[1].keys()
    for metric, (value, count) in scores[0].items():
        assert scores[1][metric] == (pytest.approx(value, rel=1e-4), count)
    losses = [each["history"]["loss"] for each in results]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_making_flow_that_is_killed_goes_on_to_the_same_bytes(moves: Path) -> None:
    settings: dict[str, object] = {**FLOW, "shard_frames": 1}
    killed = Harness(moves / "work").start("run", "flow", *sets(settings), "--jobs", "1")
    deadline = time.monotonic() + 90
    while not list((moves / "data/moves").glob("flow/*/shard-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    (place,) = flow_stores(moves)
    assert run("flow", moves, settings).exit_code == 0
    resumed = {path.name: path.read_bytes() for path in place.iterdir()}
    assert len(resumed) == 9  # a shard a video, and store.json
    for path in place.iterdir():
        path.unlink()
    assert run("flow", moves, settings).exit_code == 0
    assert {path.name: path.read_bytes() for path in place.iterdir()} == resumed


def test_a_lost_shard_is_made_again_and_training_waits_for_it(moves: Path) -> None:
    none = run("temporal", moves, TEMPORAL)
    assert none.exit_code == 2
    assert "moves has no stored flow yet: make it with `harness run flow --set dataset=moves`" in none.stderr  # fmt: skip
    assert run("flow", moves, FLOW).exit_code == 0
    (place,) = flow_stores(moves)
    before = {path.name: path.read_bytes() for path in place.glob("shard-*")}
    (place / "shard-00001.safetensors").unlink()
    refused = run("temporal", moves, TEMPORAL)
    assert refused.exit_code == 2
    assert "lacks 1 of" in refused.stderr
    planned = run("flow", moves, FLOW, "--dry-run")
    assert "1 to run, 1 of them stale" in planned.stdout
    assert run("flow", moves, FLOW).exit_code == 0
    assert {path.name: path.read_bytes() for path in place.glob("shard-*")} == before
    assert run("flow", moves, {**FLOW, "flow_bound": 10}).exit_code == 0
    ambiguous = run("temporal", moves, TEMPORAL)
    assert "could be any of that of moves: name one with --set flow=..." in ambiguous.stderr
    chosen = run("temporal", moves, {**TEMPORAL, "flow": "dis-10px"}, "--dry-run")
    assert "1 to run" in chosen.stdout


def test_flow_whose_description_is_lost_or_damaged_is_named_and_made_again(moves: Path) -> None:
    assert run("flow", moves, FLOW).exit_code == 0
    (place,) = flow_stores(moves)
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    told = place / "store.json"
    told.unlink()
    planned = run("flow", moves, FLOW, "--dry-run")
    assert "0 done, 3 to run, 3 of them stale" in planned.stdout
    assert "there is no store.json in" in planned.stdout
    assert run("flow", moves, FLOW).exit_code == 0
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    told.write_bytes(before[told.name][:-20])
    for name, settings in (("temporal", TEMPORAL), ("flow", FLOW)):
        refused = run(name, moves, settings)
        assert refused.exit_code == 2
        assert f"{told} was cut short or altered" in refused.stderr
        assert "delete this file and make the store again" in refused.stderr
    told.unlink()
    assert run("flow", moves, FLOW).exit_code == 0
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    assert run("temporal", moves, TEMPORAL, "--dry-run").exit_code == 0


def test_results_on_videos_that_were_indexed_again_since_are_stale_and_no_error(
    moves: Path,
) -> None:
    assert run("flow", moves, FLOW).exit_code == 0
    asked = flow(dataset="moves", flow_method="dis", rows=SIZE[0], columns=SIZE[1], shard_frames=12)
    workdir = Workdir(moves / "work")
    assert not planning.make(asked, workdir).todo
    index = read("moves")
    first, *others = index.videos
    replace(index, videos=(replace(first, num_frames=9), *others)).write(folder_of("moves"))
    _plan_of.cache_clear()  # as another process, which never saw the index as it was
    plan = planning.make(asked, workdir)
    assert plan.damaged.keys() == {cell.key for cell in asked.cells}
    assert not plan.done
    for why in planning.stale(plan, workdir).values():
        assert "has lost what it made: the videos of moves were indexed again since" in why


def test_a_set_without_labels_or_of_small_frames_is_refused(moves: Path) -> None:
    invoke("data", "index", "plain", "--videos", str(moves / "videos"), "--unlabelled", "--jobs", "1")  # fmt: skip
    assert run("flow", moves, {**FLOW, "dataset": "plain"}).exit_code == 0
    refused = run("temporal", moves, {**TEMPORAL, "dataset": "plain"})
    assert refused.exit_code == 2
    assert "plain has no labels" in refused.stderr
    assert run("flow", moves, {**FLOW, "rows": 100, "columns": 120}).exit_code == 0
    refused = run("temporal", moves, TEMPORAL)
    assert "are 100 x 120, smaller than the crop of 224 x 224" in refused.stderr
    unknown = run("flow", moves, {"dataset": "mover"})
    assert "dataset='mover' is no indexed set of videos; did you mean 'moves'?" in unknown.stderr
    assert video_flow("moves").rows == 100


@pytest.mark.parametrize("name", ["flow", "temporal"])
def test_what_can_be_set_is_described_before_there_is_a_set(name: str) -> None:
    shown = invoke("describe", name)
    assert shown.exit_code == 0, shown.output
    assert "its cells and their cost depend on --set dataset=..." in shown.stdout


def test_the_report_has_the_papers_number_beside_ours_and_says_what_is_missing() -> None:
    cell = {
        "dataset": "ucf101", "flow": "brox-20px", "flow_fields": 10, "flow_method": "brox", "flow_bound": 20.0,
        "rows": 240, "columns": 320, "divisor": 1, "steps": 80000, "batch_size": 256, "learning_rate": 0.01, "dropout": 0.9,
    }  # fmt: skip
    cells = tuple({**cell, "cell": str(split) * 64, "split": split} for split in (1, 2))
    scores = {"video_accuracy": 76.54, "stack_accuracy": 70.0, "video_nll": 0.9}
    evidence = Evidence(
        experiment="temporal",
        title="Temporal stream",
        expected=cells,
        rows=tuple({**cells[0], "run": "attempt-1", "metric": m, "value": v} for m, v in scores.items()),
        failed={},
        provenance={},
    )  # fmt: skip
    files = draw(evidence, ("md", "tex", "html", "csv", "json", "png"))
    assert sorted(files) == [f"temporal.{form}" for form in ("csv", "html", "json", "md", "tex")]
    written = files["temporal.md"].decode()
    assert "| 1 | 76.5 | 70.0 | 0.900 | 77.5 | runs/1111111111111111/attempt-1/cnn_m_2048.safetensors |" in written  # fmt: skip
    assert f"| 2 | {MISSING} | {MISSING} | {MISSING} | 77.5 | missing |" in written
    assert f"| 1 of 2 † | {MISSING} |" in written  # no mean over some of the splits
    assert "section 3.3" in written
    # The paper's sizes are the defaults of percepts, so the command need not name them.
    assert (
        "\nharness run percepts --set dataset=ucf101 --set stream=flow --set flow_fields=10 --set convnet=cnn_m_2048 --set "
        "weights=work/runs/1111111111111111/attempt-1/cnn_m_2048.safetensors\n"
    ) in written
    single = replace(evidence, expected=({**cells[0], "flow_fields": 1},))
    assert "| 72.2 |" in draw(single, ("md",))["temporal.md"].decode()
    other = replace(evidence, expected=({**cells[0], "dataset": "ut"},))
    assert "Published:" not in draw(other, ("md",))["temporal.md"].decode()
