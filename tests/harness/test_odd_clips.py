"""Odd and broken files as they come, from a folder to a figure: each is named with its reason, and the rest is computed."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest
from click.testing import Result

from tasks.data.features import FeatureStore
from tasks.data.index import read
from tests.harness.faked import invoke
from tests.harness.running import sets
from tests.real_data import real_data
from tests.tasks.clips import write_clip

UT = ("57_10_3.avi", "22_4_3.avi", "48_9_3.avi")
ROBUST = ("corrupted.mp4", "unordered.mov", "video_0.mov", "video_90.mov", "video_180.mov", "video_270.mov")  # fmt: skip
FRAMES = {
    "odd/one_frame": 1,
    "odd/unordered": 4,
    "plain/flipping_a_pancake": 310,
    "plain/v_ApplyEyeMakeup_g01_c01": 164,
}
"""Of files whose number is known from elsewhere: their makers, or the lists of clips that they come from."""


@dataclass(frozen=True)
class Ran:
    """What each command said."""

    folder: Path
    stopped: Result
    indexed: Result
    extracted: Result
    drawn: Result


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    given = [(real_data("ut_interaction_set1", name), "plain") for name in UT]
    given += [
        (real_data("clips", "ucf101", "ApplyEyeMakeup", "v_ApplyEyeMakeup_g01_c01.avi"), "plain"),
        (real_data("clips", "kinetics", "flipping_a_pancake.mkv"), "plain"),
        *((real_data("clips", "robustness", name), "odd") for name in ROBUST),
    ]
    folder = tmp_path_factory.mktemp("odd")
    for path, kind in given:
        (folder / "clips" / kind).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / "clips" / kind / path.name)
    odd = folder / "clips" / "odd"
    (odd / "text.avi").write_text("I am no video.\n" * 50)
    (odd / "empty.mp4").touch()
    write_clip(odd / "one_frame.avi", 1)
    write_sound(odd / "sound.mkv")
    index = ("data", "index", "clips", "--videos", str(folder / "clips"), "--labels", "by-folder", "--jobs", "1")  # fmt: skip
    where = ("--cluster", "inline", "--workdir", str(folder / "work"))
    pixels = sets({"dataset": "clips", "convnet": "raw_pixels", "side": 4})
    figure = sets({"dataset": "clips", "methods": "single_frame", "shots": 1, "resamples": 2, "single_frame_steps": 3})  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_DATA", str(folder / "data"))
        return Ran(
            folder,
            invoke(*index),
            invoke(*index, "--skip-bad"),
            invoke("run", "percepts", *pixels, *where),
            invoke("run", "fig12", *figure, *where),
        )


def write_sound(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        samples.sample_rate = 8000
        for packet in (*stream.encode(samples), *stream.encode()):
            container.mux(packet)


def test_indexing_stops_and_names_every_bad_file_with_its_reason(ran: Ran) -> None:
    assert ran.stopped.exit_code == 1
    said = ran.stopped.stderr
    no_video = "it is no video that FFmpeg can open"
    for line in (
        "3 unreadable: no frame can be decoded",
        f"  odd/empty.mp4: {no_video}",
        "  odd/sound.mkv: it has no video stream",
        f"  odd/text.avi: {no_video}",
        "1 damaged",
        "  odd/corrupted.mp4: the decoder fails after frame 28",
        "- 4 of 15 videos are missing or damaged",
        "no index of clips is written: mend them, or leave them out by --skip-bad",
    ):
        assert line in said
    short = said.partition("6 short: fewer than 16 frames, kept\n")[2].splitlines()[:6]
    assert {line.strip() for line in short} >= {"odd/one_frame.avi", "odd/unordered.mov"}


def test_skip_bad_goes_on_and_every_report_names_what_was_left_out(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(ran.folder / "data"))
    for done in (ran.indexed, ran.extracted, ran.drawn):
        assert done.exit_code == 0, done.output
    index = read("clips")
    bad = ["odd/corrupted.mp4", "odd/empty.mp4", "odd/sound.mkv", "odd/text.avi"]
    assert sorted(each.path for each in index.left_out) == bad
    assert all(each.reason for each in index.left_out)
    assert FRAMES.items() <= {each.id: each.num_frames for each in index.videos}.items()
    for name in ("percepts", "fig12"):
        report = (ran.folder / f"work/reports/{name}/{name}.md").read_text().lower()
        assert "left out: 4 of 15 videos, missing or damaged" in report
        for path in bad:
            assert path in report


def test_percepts_of_odd_files_are_of_upright_frames_every_one(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cv2

    monkeypatch.setenv("HARNESS_DATA", str(ran.folder / "data"))
    (place,) = (ran.folder / "data/clips/percepts").iterdir()
    with FeatureStore.open(place) as store:
        store.verify()
        assert dict(store.videos) == {each.id: each.num_frames for each in read("clips").videos}
        for turn in (0, 90, 180, 270):
            # OpenCV turns frames as the container says, by a reader of its own.
            capture = cv2.VideoCapture(str(ran.folder / f"clips/odd/video_{turn}.mov"))
            ok, bgr_YXC = capture.read()
            capture.release()
            assert ok
            found_YX = store.window(f"odd/video_{turn}", 0, 1).astype(np.float64).reshape(4, 4)
            assert np.abs(found_YX - pixels(bgr_YXC)).mean() < 0.01
            for quarters in (1, 2, 3):  # what any wrong turn would give
                assert np.abs(found_YX - pixels(np.rot90(bgr_YXC, quarters))).mean() > 0.03


def pixels(bgr_YXC: np.ndarray) -> np.ndarray:
    """Grey levels from 0 to 1 of the central 224 x 224 of a frame of 240 x 320, averaged to 4 x 4."""
    import cv2

    small_YXC = cv2.resize(bgr_YXC, (320, 240), interpolation=cv2.INTER_AREA).astype(np.float64)
    grey_YX = small_YXC[8:232, 48:272, ::-1] @ [0.299, 0.587, 0.114] / 255
    return grey_YX.reshape(4, 56, 4, 56).mean((1, 3))
