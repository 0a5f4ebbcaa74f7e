"""From a folder of clips to patches to train on: a shard a cell, killed and resumed, verified, found by what reads them."""

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from configs.patches import patches
from tasks.data.patches import find_patches
from tasks.patch_tracks import PatchTracks
from tests.harness.faked import invoke
from tests.harness.running import Harness, rows, sets
from tests.tasks.clips import write_clip

LENGTHS = (20, 17, 9, 31, 24, 18)
PATCHES: dict[str, Any] = {"dataset": "mine", "per_video": 2, "rows": 24, "columns": 32, "side": 8, "shard_frames": 1}  # fmt: skip


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of six clips without labels, indexed as `mine`."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    for number, length in enumerate(LENGTHS):
        write_clip(tmp_path / f"videos/v{number}.avi", length, seed=number)
    videos = str(tmp_path / "videos")
    indexed = invoke("data", "index", "mine", "--videos", videos, "--unlabelled", "--jobs", "1")
    assert indexed.exit_code == 0, indexed.output
    return tmp_path


def run(folder: Path, *more: str, **changes: object) -> Result:
    words = sets({**PATCHES, **changes})
    workdir = str(folder / "work")
    return invoke("run", "patches", *words, "--cluster", "inline", "--workdir", workdir, *more)


def store_of(folder: Path) -> Path:
    (place,) = (folder / "data/mine/patches").iterdir()
    return place


def test_a_cutting_that_is_killed_goes_on_to_the_same_bytes_which_are_listed_and_verified(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = Harness(mine / "work").start("run", "patches", *sets(PATCHES), "--jobs", "1")
    deadline = time.monotonic() + 90
    while not list((mine / "data/mine").glob("patches/*/shard-*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    done = run(mine)
    assert done.exit_code == 0, done.output
    place = store_of(mine)
    resumed = {path.name: path.read_bytes() for path in place.iterdir()}
    assert len(resumed) == 7  # a shard a video, and store.json
    # The same set elsewhere, cut in one go.
    other = mine / "elsewhere/mine"
    other.mkdir(parents=True)
    shutil.copy(mine / "data/mine/index.json", other)
    with monkeypatch.context() as patched:
        patched.setenv("HARNESS_DATA", str(other.parent))
        for cell in patches(**PATCHES).cells:
            cell.task.predict(cell.task.build(0, ()), 0)
    (whole,) = (other / "patches").iterdir()
    assert whole.name == place.name
    assert {path.name: path.read_bytes() for path in whole.iterdir()} == resumed

    assert place.name.startswith("gray-2x8px-24x32-")
    report = (mine / "work/reports/patches/patches.md").read_text()
    assert f"{sum(LENGTHS)} frames, of each 2 patches of 64 bytes" in report
    told = rows((mine / "work/reports/patches/patches.csv").read_bytes())
    assert [float(row["frames"]) for row in told] == list(LENGTHS)
    assert sum(int(row["bytes"]) for row in told) == sum(LENGTHS) * 2 * 64
    listed = json.loads(invoke("data", "list", "--json").stdout)
    assert listed["sets"][0]["features"] == [f"patches/{place.name}"]
    frames_TBD = find_patches("mine").unlabelled(0, range(64), 29)
    assert frames_TBD.shape == (29, 64, 64)
    assert np.isfinite(frames_TBD).all()
    assert frames_TBD.std() > 0.5

    verified = invoke("data", "verify", "mine", "--full")
    assert "mine: 1 of 1 stores of patches are there, with their checksums" in verified.stdout
    shard = place / "shard-00001.safetensors"
    content = resumed[shard.name]
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert invoke("data", "verify", "mine").exit_code == 0  # of the right size
    found = invoke("data", "verify", "mine", "--full")
    assert found.exit_code == 1
    assert "mine: 0 of 1 stores of patches" in found.stdout
    assert shard.name in found.stderr
    shard.unlink()
    assert "1 of 6 shards" in invoke("data", "verify", "mine").stderr
    assert "5 done, 1 to run, 1 of them stale" in run(mine, "--dry-run").stdout


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dataset": "mien"}, "dataset='mien' is no indexed set of videos; did you mean 'mine'?"),
        ({"colour": "grey"}, "knob 'colour' cannot be 'grey': it must be one of gray, rgb"),
        ({"side": 25}, "side=25: a patch has 1 row and column or more, and fits in frames of 24 x 32"),
        ({"per_video": 0}, "per_video=0: cut 1 to 1,000 tracks of a video"),
    ],
)  # fmt: skip
def test_bad_input_gets_a_sentence_and_exit_code_2(
    mine: Path, changes: dict[str, object], sentence: str
) -> None:
    refused = run(mine, **changes)
    assert refused.exit_code == 2
    assert sentence in refused.stderr
    assert not (mine / "data/mine/patches").exists()


def test_a_damaged_store_in_its_place_is_refused_before_anything_is_cut(mine: Path) -> None:
    (first, *_) = patches(**PATCHES).cells
    assert isinstance(first.task, PatchTracks)
    told = first.task.recipe.folder / "store.json"
    told.parent.mkdir(parents=True)
    told.write_text("{}")
    refused = run(mine)
    assert refused.exit_code == 2
    assert f"{told} was cut short or altered" in refused.stderr
    assert list(told.parent.iterdir()) == [told]
