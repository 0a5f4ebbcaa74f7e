"""Files against what their makers put in: counts, order, size, rotation, and every kind of damage."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.data.decode import UnreadableVideo, examine, read_frames
from tests.real_data import real_data
from tests.tasks.clips import claim_more, grey, truncate, write_clip


@pytest.mark.parametrize("name", ["a.avi", "a.mp4", "a.mkv"])
def test_a_whole_file_is_what_was_written(tmp_path: Path, name: str) -> None:
    found = examine(write_clip(tmp_path / name, 20, height=32, width=48, fps=20))
    assert found.problem == ""
    assert (found.num_frames, found.claimed) == (20, 20)
    assert (found.height, found.width, found.fps, found.duration) == (32, 48, 20.0, 1.0)


def test_frames_come_in_the_order_of_showing_them_though_b_frames_are_stored_otherwise(
    tmp_path: Path,
) -> None:
    path = write_clip(
        tmp_path / "b.avi", 20, options={"bf": "2", "qmin": "1", "qmax": "2", "b": "5M"}
    )
    levels = [frame_YXC.mean() for frame_YXC in read_frames(path)]
    np.testing.assert_allclose(levels, [grey(number) for number in range(20)], atol=4)


def test_frames_are_rgb_of_the_size_asked_for(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", 3, height=32, width=48)
    (first, *_) = read_frames(path)
    assert (first.shape, first.dtype) == ((32, 48, 3), np.uint8)
    (small, *_) = read_frames(path, size=(14, 10))
    assert small.shape == (14, 10, 3)
    with pytest.raises(ValueError, match="at least one row"):
        read_frames(path, size=(0, 10))


def test_a_clip_is_decoded_and_resized_in_the_thread_that_asks_for_it(tmp_path: Path) -> None:
    threads = Path("/proc/self/task")
    if not threads.is_dir():
        pytest.skip("threads are counted in /proc, which is not here")
    path = write_clip(tmp_path / "a.avi", 3)
    list(read_frames(path, size=(24, 32)))  # whatever lives on after a first use is there now
    before = set(threads.iterdir())
    frames = read_frames(path, size=(24, 32))
    next(frames)
    assert set(threads.iterdir()) <= before
    assert len(list(frames)) == 2


def test_frames_are_those_of_plain_pyav() -> None:
    import av

    path = real_data("clips", "ucf101", "ApplyEyeMakeup", "v_ApplyEyeMakeup_g01_c01.avi")
    with av.open(str(path)) as container:
        expected = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    found = list(read_frames(path))
    assert len(found) == len(expected) == 164
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("more", "whole"), [(0, True), (1, True), (2, False)], ids=["exact", "one more", "two more"]
)
def test_a_container_may_claim_one_frame_too_many(tmp_path: Path, more: int, whole: bool) -> None:
    path = write_clip(tmp_path / "a.avi", 20)
    claim_more(path, more)
    found = examine(path)
    assert (found.num_frames, found.claimed) == (20, 20 + more)
    assert (found.problem == "") is whole
    assert whole or "claims 22 frames, but 20 can be decoded" in found.problem


@pytest.mark.parametrize("how", [{"fillers": 3}, {"gap": 4}], ids=["delay", "gap"])
def test_packets_that_only_fill_time_are_no_lost_frames(
    tmp_path: Path, how: dict[str, int]
) -> None:
    path = write_clip(tmp_path / "a.avi", 20, **how)
    found = examine(path)
    assert (found.num_frames, found.claimed, found.problem) == (20, 20, "")
    assert len(list(read_frames(path))) == 20


@pytest.mark.parametrize("name", ["a.avi", "a.mkv", "a.mpg"])
def test_a_truncated_file_is_damaged(tmp_path: Path, name: str) -> None:
    codec = "mpeg1video" if name.endswith("mpg") else "mpeg4"
    path = write_clip(tmp_path / name, 40, height=96, width=96, codec=codec)
    assert examine(path).problem == ""
    truncate(path)
    found = examine(path)
    assert 0 < found.num_frames < 39
    assert found.problem


def test_a_truncated_mp4_has_lost_its_table_and_is_no_video(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 40)
    truncate(path)
    found = examine(path)
    assert found.num_frames == 0
    assert "no video that FFmpeg can open" in found.problem
    with pytest.raises(UnreadableVideo, match="at its beginning"):
        next(read_frames(path))


def test_damage_in_the_middle_is_found_though_no_frame_is_missing(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", 25, height=96, width=96)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 300] = bytes(300)
    path.write_bytes(bytes(content))
    assert "corrupt" in examine(path).problem


def test_what_is_no_video_is_said_in_one_sentence(tmp_path: Path) -> None:
    text = tmp_path / "words.avi"
    text.write_text("I am no video.\n" * 50)
    empty = tmp_path / "empty.avi"
    empty.touch()
    for path in (text, empty):
        found = examine(path)
        assert found.num_frames == 0
        assert "no video that FFmpeg can open" in found.problem
        with pytest.raises(UnreadableVideo, match=path.name):
            list(read_frames(path))
    for look in (examine, lambda path: next(read_frames(path))):
        with pytest.raises(FileNotFoundError):
            look(tmp_path / "absent.avi")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    import av

    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), "s16", "mono")
        samples.sample_rate = 8000
        for packet in (*stream.encode(samples), *stream.encode()):
            container.mux(packet)
    assert examine(path).problem == "it has no video stream"
    with pytest.raises(UnreadableVideo, match="no video stream"):
        next(read_frames(path))


def test_names_with_spaces_quotes_and_letters_of_any_language(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "dé jà" / 'it\'s "50%" : 視頻.avi', 5)
    assert examine(path).num_frames == 5
    assert len(list(read_frames(path))) == 5


def test_the_module_imports_nothing_heavy() -> None:
    code = (
        "import sys, tasks.data.decode, tasks.data.build\n"
        "sys.exit(','.join({'av', 'numpy', 'torch', 'cv2', 'rich'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- real files


def test_a_matroska_file_whose_duration_amounts_to_a_frame_more_is_whole() -> None:
    found = examine(real_data("clips", "kinetics", "flipping_a_pancake.mkv"))
    assert (found.num_frames, found.height, found.width, found.problem) == (310, 240, 426, "")


def test_the_corrupted_mp4_is_damaged() -> None:
    path = real_data("clips", "robustness", "corrupted.mp4")
    found = examine(path)
    assert found.claimed == 50
    assert "the decoder fails after frame 28" in found.problem
    frames = []
    with pytest.raises(UnreadableVideo, match="after frame 28"):
        frames.extend(read_frames(path))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("video_0.mov", (320, 568, 3)),
        ("video_90.mov", (568, 320, 3)),
        ("video_180.mov", (320, 568, 3)),
        ("video_270.mov", (568, 320, 3)),
    ],
)
def test_rotated_files_come_upright_as_opencv_sees_them(
    name: str, shape: tuple[int, int, int]
) -> None:
    import cv2

    path = real_data("clips", "robustness", name)
    found = examine(path)
    assert (found.height, found.width, found.problem) == (*shape[:2], "")
    capture = cv2.VideoCapture(str(path))
    for frame_YXC in read_frames(path):
        ok, bgr_YXC = capture.read()
        assert ok
        assert frame_YXC.shape == shape
        difference = np.abs(frame_YXC.astype(int) - bgr_YXC[..., ::-1])
        assert difference.mean() < 2  # other builds round otherwise; a wrong turn gives over 40
    (small, *_) = read_frames(path, size=(20, 30))
    assert small.shape == (20, 30, 3)


def test_the_unordered_file_has_its_four_frames() -> None:
    path = real_data("clips", "robustness", "unordered.mov")
    found = examine(path)
    assert (found.num_frames, found.problem) == (4, "")
    assert len(list(read_frames(path))) == 4


def test_clips_with_filler_packets_are_whole() -> None:
    found = examine(real_data("ut_interaction_set1", "0_1_4.avi"))
    assert (found.num_frames, found.claimed, found.problem) == (108, 108, "")
