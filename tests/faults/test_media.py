"""Files made to mislead: other files' names in them, claims of gigabytes, pipes without an end, decoders that hang."""

import gzip
import json
import multiprocessing
import os
import signal
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from configs.clusters import find
from tasks.data import decode, decode_ahead, glyphs, idx, moving_digits, reading
from tasks.data import survey as surveying
from tasks.data.check import check_lists
from tasks.data.decode import UnreadableVideo, examine, read_frames
from tasks.data.index import NoIndex, read_from
from tasks.data.labels import from_csv
from tasks.data.lists import BadList, read_lists
from tasks.data.sheet import Split
from tasks.data.survey import find_videos, survey
from tests.faults.media_inputs import make_seeds, sealed
from tests.tasks.clips import look_or_die, write_clip

# ---- videos


@pytest.mark.parametrize(
    "told", ["00:00:nan", "1e999:00:00", "9" * 400 + ":00:00", "-5:00:00", "00:00:inf"]
)
def test_a_duration_that_is_no_number_is_no_claim(tmp_path: Path, told: str) -> None:
    path = write_clip(tmp_path / "a.mkv", 8)
    content = path.read_bytes()
    name = content.index(b"DURATION")
    place = content.index(b"00:00:", name)
    size = content.index(b"\0", place) - place  # FFmpeg pads it
    path.write_bytes(
        content[:place] + told.encode()[:size].ljust(size, b"\0") + content[place + size :]
    )
    found = examine(path)
    assert (found.num_frames, found.problem) == (8, "")
    json.dumps([found.duration, found.fps], allow_nan=False)


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile other.avi\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.avi\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
    ],
    ids=["concat", "HLS", "SDP"],
)
def test_a_file_that_names_another_does_not_show_it(tmp_path: Path, text: str) -> None:
    write_clip(tmp_path / "other.avi", 5)
    path = tmp_path / "list.avi"
    path.write_text(text)
    assert "no video that FFmpeg can open" in examine(path).problem
    with pytest.raises(UnreadableVideo, match=r"list\.avi"):
        list(read_frames(path))


def test_a_relative_name_with_a_colon_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "other.avi", 5).rename(tmp_path / "concat:other.avi")
    monkeypatch.chdir(tmp_path)
    assert examine(Path("concat:other.avi")).num_frames == 5


@pytest.mark.parametrize("name", ["a.avi", "a.mkv", "a.mpg", "a.mp4"])
def test_frames_that_claim_too_much_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = write_clip(tmp_path / name, 3, codec="mpeg1video" if name.endswith("mpg") else "mpeg4")
    monkeypatch.setattr(decode, "MOST_PIXELS", 32 * 48)
    assert examine(path).problem == ""
    monkeypatch.setattr(decode, "MOST_PIXELS", 32 * 48 - 1)
    assert examine(path).problem == "its frames of 32 x 48 have more than 1,535 pixels"
    with pytest.raises(UnreadableVideo, match="more than 1,535 pixels"):
        list(read_frames(path))


def test_frames_that_become_too_large_on_the_way_are_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a stream without a head, as every packet may say another size."""
    small = write_clip(tmp_path / "small.ts", 8)
    large = write_clip(tmp_path / "large.ts", 2, height=1088, width=1088)
    path = tmp_path / "grows.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    assert "its frames change from 32 x 48 to 1088 x 1088" in examine(path).problem
    monkeypatch.setattr(decode, "MOST_PIXELS", 32 * 48)
    examined = examine(path)
    assert examined.num_frames == 8
    assert "the decoder fails after frame 8" in examined.problem


def test_titles_in_another_encoding_are_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "XXXX"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for level in (50, 90):
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), level, np.uint8), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"XXXX", b"\xe9t\xe9!"))
    assert (examine(path).num_frames, examine(path).problem) == (2, "")
    assert len(list(read_frames(path))) == 2


def test_pipes_and_devices_are_told_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.avi")
    (tmp_path / "zeros.avi").symlink_to("/dev/zero")
    write_clip(tmp_path / "a.avi", 3)
    files = find_videos(tmp_path)
    found = dict(survey(tmp_path, files, memory=tmp_path / "memory.json", jobs=1))
    assert found["a.avi"].examined.problem == ""
    for name in ("pipe.avi", "zeros.avi"):
        assert found[name].examined.problem == "it is no file, but a pipe or a device"
        with pytest.raises(UnreadableVideo, match=f"{name} is no file"):
            list(read_frames(tmp_path / name))


def test_a_decoder_that_hangs_is_ended_and_the_others_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = ["a.avi", "endless.avi", "z.avi"]
    for file in files:
        write_clip(tmp_path / file, 3)
    monkeypatch.setattr(surveying, "look_at", look_or_die)
    monkeypatch.setattr(surveying, "STUCK_S", 5.0)
    found = dict(survey(tmp_path, files, memory=tmp_path / "memory.json", jobs=1))
    assert found["endless.avi"].examined.problem == "the decoder hangs: nothing came for 5 s"
    assert [found[file].examined.num_frames for file in ("a.avi", "z.avi")] == [3, 3]
    # It may have been the disk, so the next index asks again.
    remembered = json.loads((tmp_path / "memory.json").read_bytes())["files"]
    assert {Path(path).name for path in remembered} == {"a.avi", "z.avi"}


def test_decoding_says_at_every_packet_that_it_goes_on(tmp_path: Path) -> None:
    said: list[None] = []
    examine(write_clip(tmp_path / "a.mkv", 20), progress=lambda: said.append(None))
    assert len(said) >= 21


def test_a_stopped_decoder_is_ended_and_told_with_the_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = write_clip(tmp_path / "long.avi", 400)
    monkeypatch.setattr(decode_ahead, "STUCK_S", 2)
    before = set(multiprocessing.active_children())
    videos = decode_ahead.decoded([long] * 2, (24, 32), processes=1)
    video = next(videos)
    (decoder,) = set(multiprocessing.active_children()) - before
    os.kill(int(decoder.pid or 0), signal.SIGSTOP)
    with pytest.raises(
        ValueError, match=r"decoded .*long\.avi gave no frame for 2 s and was ended"
    ):
        list(video)


# ---- arrays


@pytest.mark.parametrize("start", [b"PK\x03\x04" + bytes(60), b"PK\x05\x06" + bytes(18), b"\x93NUMPY\x01\x00\x08\x00{'a': (\n", b"\x93NUMPY\x03\x00" + struct.pack("<I", 2**31) + b"{"])  # fmt: skip
def test_an_archive_or_a_damaged_header_is_no_array(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "mnist_test_seq.npy"
    path.write_bytes(start)
    with pytest.raises(
        ValueError, match=r"mnist_test_seq\.npy is no array in NumPy's format"
    ) as caught:
        moving_digits.check_test_file(path)
    assert type(caught.value) is ValueError


def test_an_idx_file_of_gigabytes_in_a_few_bytes_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**20, 2**10, 2**10)
    path = tmp_path / "train-images-idx3-ubyte"
    for content in (head, gzip.compress(head + bytes(2**22))):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="would hold more than"):
            idx.read_idx(path, dimensions=3)
    # What a header does not speak of is not unpacked at all.
    read: list[int] = []
    whole = idx._read
    monkeypatch.setattr(
        idx, "_read", lambda path, source, most: read.append(most) or whole(path, source, most)
    )
    path.write_bytes(
        gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 1, 2, 2) + bytes(2**24))
    )
    with pytest.raises(ValueError, match="goes on behind its end"):
        idx.read_idx(path, dimensions=3)
    assert sum(read) == 16 + 4 + 1


def test_glyphs_larger_than_any_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glyphs, "MOST_SIDE", 7)
    for name in glyphs.FILES.values():
        (tmp_path / name).write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3I", 1, 8, 8) + bytes(64))
    with pytest.raises(ValueError, match="have 8 rows of pixels: at most 7"):
        glyphs.find_glyphs(str(tmp_path))


# ---- text


def lists(path: Path) -> object:
    return read_lists(path.parent)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("classInd.txt", lists),
        ("run_test_split1.txt", lists),
        ("mine.csv", from_csv),
        ("index.json", lambda path: read_from(path.parent)),
        ("mine.toml", lambda path: find(str(path))),
        ("images", lambda path: idx.read_idx(path, dimensions=3)),
    ],
)
def test_a_text_without_an_end_is_refused(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    path = tmp_path / name
    path.touch()
    os.truncate(path, 2**40)  # takes no room on the disk
    with pytest.raises(ValueError, match=name):
        read(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    if name != "classInd.txt":  # a folder's lists are told by files that are there
        with pytest.raises(ValueError, match=rf"{name} is no file"):
            read(path)


def test_the_largest_file_that_is_read_whole_is_the_stated_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(100))
    assert reading.read_whole(path, most=100) == bytes(100)
    with pytest.raises(ValueError, match="has more than 99 bytes"):
        reading.read_whole(path, most=99)


def test_a_sentence_repeats_no_more_of_a_line_than_fits_and_nothing_that_a_terminal_obeys(
    tmp_path: Path,
) -> None:
    path = tmp_path / "classInd.txt"
    for line in ("x" * 10**6, "2 \x1b[2Jgone"):
        path.write_text(line)
        with pytest.raises(BadList, match="line 1") as caught:
            read_lists(tmp_path)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_a_name_longer_than_any_path_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"video,label\n{'a' * 4160},run\n")
    assert len(from_csv(path).entries) == 1
    path.write_text(f"video,label\n{'a' * 4161},run\n")
    with pytest.raises(
        BadList, match=r"mine\.csv, line 2: 4,161 characters are more than any path"
    ):
        from_csv(path)
    (tmp_path / "classInd.txt").write_text(f"1 {'a' * 4161}\n")
    with pytest.raises(BadList, match=r"classInd\.txt, line 1: 4,163 characters"):
        read_lists(tmp_path)


def test_lists_of_many_classes_are_checked_class_by_class_only_once() -> None:
    """Were all videos gone through for every class, this would be looked at some 10^10 times."""

    class Counted:
        looked = 0

        def __init__(self, number: int) -> None:
            self.id = self.group = str(number)
            self.number = number

        @property
        def label(self) -> int:
            Counted.looked += 1
            return self.number // 2

    members = [Counted(number) for number in range(2000)]
    split = Split(train=tuple(str(n) for n in range(0, 2000, 2)), test=tuple(str(n) for n in range(1, 2000, 2)))  # fmt: skip
    classes = [str(number) for number in range(1000)]
    assert check_lists("mine", classes, members, {1: split}, "csv", partial=False) == ()
    assert Counted.looked < 20 * len(members)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda told: told["videos"][0].update(path="../x.avi"), "'path' of video 1 is not a path below the folder"),
        (lambda told: told["videos"][1].update(path="/etc/passwd"), "'path' of video 2 is not a path below the folder"),
        (lambda told: told["videos"][0].update(label=7), "has label 7, but there are 2 classes"),
        (lambda told: told["videos"][0].update(fps=float("nan")), "'fps' of video 1 is not"),
        (lambda told: told["videos"][0].update(num_frames=True), "'num_frames' of video 1 is not"),
        (lambda told: told["videos"][0].pop("sha256"), "video 1 is not a table of 10 values"),
        (lambda told: told.update(videos_dir="videos"), "'videos_dir' is not the whole path"),
        (lambda told: told.update(classes="runwalk"), "'classes' is not a list of texts"),
        (lambda told: told["splits"].update({"1": {"train": ["nobody"], "test": []}}), "names nobody, which does not exist"),
        (lambda told: told.update(more=1), "says more than indexes do"),
    ],
)  # fmt: skip
def test_an_index_of_others_is_read_only_if_all_of_it_can_be(
    tmp_path: Path, change: Callable[[dict[str, object]], object], sentence: str
) -> None:
    make_seeds(tmp_path)
    path = tmp_path / "index" / "index.json"
    told = json.loads(path.read_bytes())["content"]
    path.write_bytes(sealed(told))
    assert read_from(path.parent).name == "mine"
    change(told)
    path.write_bytes(sealed(told))
    with pytest.raises(NoIndex, match=sentence) as caught:
        read_from(path.parent)
    assert "harness data index" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("memory_gb = nan", "memory_gb = nan: it must be a number"),
        ("memory_gb = inf", "memory_gb = inf: it must be a number"),
        (f"time_min = {10**30}", "it must be a whole number"),
        (f"time_min = {'9' * 5000}", "is not TOML"),
        (f"setup = {'[' * 5000}", "is not TOML"),
    ],
    ids=["nan", "inf", "large", "digits", "deep"],
)
def test_a_cluster_of_no_numbers_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence) as caught:
        find(str(path))
    assert "mine.toml" in str(caught.value)


def test_memory_is_taken_for_what_is_there(tmp_path: Path) -> None:
    """One read would make room for the most that it may get."""
    path = tmp_path / "small"
    path.write_bytes(b"12345")
    tracemalloc.start()
    try:
        assert reading.read_whole(path) == b"12345"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * reading.PIECE_BYTES
    with path.open("rb") as source:
        assert [
            reading.at_most(source, 3),
            reading.at_most(source, 3),
            reading.at_most(source, 3),
        ] == [b"123", b"45", b""]
