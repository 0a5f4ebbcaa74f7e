"""Percepts of a net that was shown labels, exported and imported again: what it saw is not forgotten on the way."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from tasks.data.feature_plan import StorePlan
from tasks.data.feature_shards import write_shard
from tasks.data.index import Index, read
from tasks.data.root import folder_of
from tasks.data.videos import check_alike, video_percepts
from tests.harness.faked import invoke
from tests.tasks.flow_sets import make_set


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def exported(index: Index, out: Path, /, **changes: object) -> Path:
    """Percepts whose net has seen the labels of split 1, in the authors' layout."""
    seen = {
        "class": "LabelsSeen", "set_name": index.name, "index": index.identity, "videos": index.content_identity, "split": 1,
    }  # fmt: skip
    plan = StorePlan.cut(
        {
            "videos": index.content_identity,
            "stream": "flow2",
            "convnet": {"name": "cnn_m_2048", "trained_on": {**seen, **changes}},
        },
        [(video.id, video.num_frames) for video in index.videos],
        3,
        shards=1,
    )
    arrays = ((video, np.ones((frames, 3), np.float32)) for video, frames in plan.shards[0])
    store = folder_of(index.name) / "percepts" / f"flow2-{plan.identity[:12]}"
    write_shard(store, plan, 0, arrays)
    export(index.name, out)
    shutil.rmtree(store)
    return out


def export(name: str, out: Path) -> Path:
    done = invoke("data", "export-features", name, "--to", str(out))
    assert done.exit_code == 0, done.output
    return out


def take(name: str, folder: Path, *more: str, code: int = 0) -> Result:
    files = {
        "hdf5": "hidden6.h5", "labels": "labels.txt", "num-frames": "num_frames.txt", "names": "names.txt",
    }  # fmt: skip
    words = [word for kind, file in files.items() for word in (f"--{kind}", str(folder / file))]
    done = invoke("data", "import-features", name, *words, *more)
    assert done.exit_code == code, done.output
    return done


def test_imported_again_the_percepts_serve_the_split_of_their_net_alone(tmp_path: Path) -> None:
    index = make_set("moves")
    done = take("moves", exported(index, tmp_path / "out"))
    assert "note: their net was trained on labels of split 1 of moves" in done.stdout
    data = video_percepts("moves")
    assert len(data.test(1)) == 8
    with pytest.raises(ValueError, match=r"trained on labels of split 1 of moves, so it may"):
        data.test(2)
    with pytest.raises(ValueError, match=r"split 2 of moves cannot be tested"):
        data.train(2)


def test_a_set_made_of_the_export_alone_is_of_the_same_videos(tmp_path: Path) -> None:
    out = exported(make_set("moves"), tmp_path / "out")
    for name in ("again", "third"):
        take(name, out, "--splits", "2", "--test-share", "0.5")
        assert read(name).has_files is False
        for split in (1, 2):
            with pytest.raises(ValueError, match="trained on labels of split 1 of moves, by an"):
                video_percepts(name).test(split)
        out = export(name, tmp_path / f"out of {name}")  # and once more round
    take("moves", out)
    assert len(video_percepts("moves").test(1)) == 8
    with pytest.raises(ValueError, match="trained on labels of split 1 of moves"):
        video_percepts("moves").test(2)


def test_labels_of_other_videos_are_no_answers(tmp_path: Path) -> None:
    out = exported(make_set("moves"), tmp_path / "out", set_name="other", index="0", videos="0")
    take("again", out, "--splits", "2", "--test-share", "0.5")
    assert len(video_percepts("again").test(1)) > 0
    assert len(video_percepts("again").test(2)) > 0


@pytest.mark.parametrize("damage", ["cut", "list", "deep", "format", "seen", "folder"])
def test_a_file_that_is_not_understood_is_refused_by_name(damage: str, tmp_path: Path) -> None:
    out = exported(make_set("moves"), tmp_path / "out")
    path = out / "made_of.json"
    content = json.loads(path.read_bytes())
    content["made_of"]["convnet"]["trained_on"].pop("split")
    altered = {
        "cut": path.read_text()[:-9], "list": "[]", "deep": "[" * 200_000, "seen": json.dumps(content),
        "format": path.read_text().replace('"format": 1', '"format": 2'),
    }  # fmt: skip
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        path.write_text(altered[damage])
    said = take("moves", out, code=2).stderr
    assert f"harness: {path} should say whose labels the net of these features has seen" in said
    assert not (folder_of("moves") / "percepts").exists() or not list(
        (folder_of("moves") / "percepts").iterdir()
    )


def test_a_link_to_the_export_is_followed(tmp_path: Path) -> None:
    out = exported(make_set("moves"), tmp_path / "out")
    linked = tmp_path / "links"
    linked.mkdir()
    for path in out.iterdir():
        if path.name != "made_of.json":
            (linked / path.name).symlink_to(path)
    assert "of split 1 of moves" in take("moves", linked).stdout


def test_two_sets_of_one_net_may_pretrain_for_each_other(tmp_path: Path) -> None:
    moves, more = make_set("moves"), make_set("more", videos=10)
    seen = {"set_name": "moves", "index": moves.identity, "videos": moves.content_identity}
    folders = {
        "again": exported(moves, tmp_path / "1"),
        "others": exported(more, tmp_path / "2", **seen),
        "strangers": exported(more, tmp_path / "3", **seen, split=2),
    }
    for name, folder in folders.items():
        take(name, folder, "--made-by", "CNN-M", "--splits", "2", "--test-share", "0.5")
    check_alike(video_percepts("again"), video_percepts("others"))
    with pytest.raises(ValueError, match="are not made like those of again: convnet differ"):
        check_alike(video_percepts("again"), video_percepts("strangers"))
