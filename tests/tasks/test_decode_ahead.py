"""Frames are the same whoever decodes them; what goes wrong in another process is told in this one."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tasks.data import decode
from tasks.data.decode_ahead import PIECE, decoded
from tests.tasks.clips import write_clip

SIZE = (24, 32)
LENGTHS = (40, 3, 70, 1, 33)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    paths = [folder / f"{number}.avi" for number in range(len(LENGTHS))]
    for number, (path, length) in enumerate(zip(paths, LENGTHS, strict=True)):
        write_clip(path, length, seed=number)
    return paths


@pytest.mark.parametrize("processes", [0, 1, 2, 9])
def test_frames_are_those_of_a_plain_decoding(clips: list[Path], processes: int) -> None:
    found = [list(pieces) for pieces in decoded(clips, SIZE, processes=processes)]
    for path, length, pieces in zip(clips, LENGTHS, found, strict=True):
        assert [len(piece) for piece in pieces[:-1]] == [PIECE] * (len(pieces) - 1)
        frames_TYX3 = np.concatenate(pieces)
        assert len(frames_TYX3) == length
        np.testing.assert_array_equal(frames_TYX3, list(decode.read_frames(path, size=SIZE)))


def test_a_video_that_cannot_be_decoded_is_told_after_those_before_it(
    clips: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.avi"
    bad.write_bytes(b"no video")
    videos = decoded([clips[0], bad, clips[1]], SIZE, processes=2)
    assert sum(map(len, next(videos))) == LENGTHS[0]
    with pytest.raises(ValueError, match=r"bad\.avi"):
        list(next(videos))


@pytest.mark.parametrize("after", [0.0, 1.0])
def test_a_decoder_that_is_killed_is_told_with_the_video_and_nobody_waits(
    tmp_path: Path, after: float
) -> None:
    """A second later it is in the middle of sending a piece, larger than a pipe holds."""
    long = write_clip(tmp_path / "long.avi", 400)
    before = set(multiprocessing.active_children())
    videos = decoded([long] * 4, (240, 320), processes=1)
    video = next(videos)
    if after:
        time.sleep(after)
        assert len(next(iter(video))) == PIECE
    (decoder,) = set(multiprocessing.active_children()) - before
    os.kill(int(decoder.pid or 0), signal.SIGKILL)
    with pytest.raises(ValueError, match=r"long\.avi ended with exit code -9: leave that file out"):
        list(video)


def test_decoders_end_with_whoever_asked_even_if_that_is_killed(clips: list[Path]) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom tasks.data.decode_ahead import decoded\n"
        "if __name__ == '__main__':\n"
        f"    videos = decoded([Path({str(clips[0])!r})] * 200, {SIZE}, processes=1)\n"
        "    list(next(videos))\n"
        "    import multiprocessing\n"
        "    print(multiprocessing.active_children()[0].pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    decoder = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 30
    while _is_alive(decoder):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
