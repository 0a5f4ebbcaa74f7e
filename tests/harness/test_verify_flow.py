"""`harness data verify` looks at stores of flow as it does at those of percepts."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from tasks.data.feature_plan import StorePlan
from tasks.data.feature_shards import shard_path, write_shard
from tasks.data.index import read
from tasks.data.root import folder_of
from tests.harness.faked import invoke
from tests.tasks.flow_sets import make_set


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Flow of a set without files, in two shards."""
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    index = make_set("moves")
    replace(index, videos_dir="").write(folder_of("moves"))
    plan = StorePlan.cut(
        {"videos": index.content_identity, "method": "dis"},
        [(video.id, video.num_frames) for video in index.videos],
        4,
        dtype="uint8",
        shards=2,
    )
    folder = folder_of("moves") / "flow" / f"dis-20px-{plan.identity[:12]}"
    for number, shard in enumerate(plan.shards):
        arrays = ((video, np.full((frames, 4), 7, np.uint8)) for video, frames in shard)
        write_shard(folder, plan, number, arrays)
    return folder


def verify(*more: str, code: int) -> Result:
    done = invoke("data", "verify", "moves", *more)
    assert done.exit_code == code, done.output
    return done


def test_whole_flow_is_counted(store: Path) -> None:
    said = verify("--full", code=0).stdout.splitlines()
    assert said[-1] == "moves: 1 of 1 stores of flow are there, with their checksums"
    assert not any("percepts" in line for line in said)
    told = json.loads(verify("--json", code=0).stdout)
    assert (told["flow"], told["percepts"], told["problems"]) == ([store.name], [], [])


def test_an_altered_bit_of_flow_is_found_in_full(store: Path) -> None:
    path = shard_path(store, 1)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    verify(code=0)
    done = verify("--full", code=1)
    assert "moves: 0 of 1 stores of flow" in done.stdout
    assert path.name in done.stderr


def test_flow_that_lacks_a_shard_or_was_renamed_or_is_of_other_videos_is_named(
    store: Path,
) -> None:
    renamed = store.with_name("dis-20px-0123456789ab")
    shutil.copytree(store, renamed)
    said = verify(code=1)
    assert "moves: 1 of 2 stores of flow" in said.stdout
    assert f"- {renamed.name} of moves holds flow of identity {store.name[-12:]}" in said.stderr
    assert "convnet" not in said.stderr
    shutil.rmtree(renamed)
    shard_path(store, 0).unlink()
    assert "1 of 2 shards" in verify(code=1).stderr
    index = read("moves")
    fewer = tuple(replace(video, label=None) for video in index.videos[:-1])
    replace(index, classes=(), videos=fewer, splits={}).write(folder_of("moves"))
    assert (
        "was made of other videos than those that moves holds now: run `harness run flow` again"
        in verify(code=1).stderr
    )
