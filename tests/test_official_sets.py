"""The synthetic clips: what they are encoded as, what tells classes apart, and the command that writes them."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from tests.official_sets import LENGTHS, VARIANTS, group_of, main, pictures, read_plainly


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Lists of the two formats: two classes, two groups, three splits."""
    (tmp_path / "lists" / "ucf101").mkdir(parents=True)
    (tmp_path / "lists" / "hmdb51").mkdir()
    for split in (1, 2, 3):
        sides = {"train": ("g01", "g02"), "test": ("g03",)}
        for side, groups in sides.items():
            files = [
                f"{name}/v_{name}_{group}_c0{clip}.avi" + (f" {label}" if side == "train" else "")
                for label, name in ((1, "Run"), (2, "HandWalk"))
                for group in groups
                for clip in (1, 2)
            ]
            path = tmp_path / "lists" / "ucf101" / f"{side}list0{split}.txt"
            path.write_bytes("".join(f"{file}\r\n" for file in files).encode())
        (tmp_path / "lists" / "hmdb51" / f"climb_stairs_test_split{split}.txt").write_text(
            "a_b_climb_stairs_f_cm_np1_ri_bad_0.avi 1 \na_b_climb_stairs_f_cm_np1_ri_bad_1.avi 1 \n"
            "#20_climb_stairs_f_cm_np1_ri_bad_0.avi 2 \n!_climb_stairs_f_cm_np1_ri_bad_0.avi 0 \n"
        )
    return tmp_path / "lists"


def test_both_sets_are_written_under_all_their_names_once(
    lists: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(tmp_path / "sets"), "--lists", str(lists)]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'sets' / 'UCF-101'}: 12 clips",
        f"{tmp_path / 'sets' / 'hmdb51_org'}: 4 clips",
    ]
    written = {path: path.stat() for path in (tmp_path / "sets").rglob("*") if path.is_file()}
    names = {str(path.relative_to(tmp_path / "sets")) for path in written}
    assert len(names) == 16
    assert "UCF-101/HandWalk/v_HandWalk_g03_c02.avi" in names
    assert "hmdb51_org/climb_stairs/#20_climb_stairs_f_cm_np1_ri_bad_0.avi" in names
    assert main(words) == 0
    for path, state in written.items():
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == (state.st_ino, state.st_mtime_ns)
    one, other = (tmp_path / f"sets/UCF-101/Run/v_Run_g01_c0{clip}.avi" for clip in (1, 2))
    assert one.read_bytes() == other.read_bytes()  # clips of one group


def test_a_clip_is_encoded_as_the_real_ones_are(lists: Path, tmp_path: Path) -> None:
    main([str(tmp_path / "sets"), "--lists", str(lists)])
    with av.open(str(tmp_path / "sets/UCF-101/Run/v_Run_g01_c01.avi")) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (container.format.name, context.name, context.codec_tag) == ("avi", "mpeg4", "XVID")
        kinds = [PictureType(frame.pict_type).name for frame in container.decode(stream)]
    assert (context.height, context.width, float(stream.average_rate)) == (24, 32, 25.0)
    assert len(kinds) in LENGTHS
    assert {"I", "B"} <= set(kinds)


def test_a_class_is_told_by_its_picture_and_its_variants_differ() -> None:
    shown = {
        (name, variant): pictures(name, variant).mean(axis=0)
        for name in ("Archery", "archery", "YoYo")
        for variant in range(VARIANTS)
    }

    def apart(first: tuple[str, int], second: tuple[str, int]) -> float:
        return float(np.abs(shown[first] - shown[second]).mean())

    within = [apart(("YoYo", 0), ("YoYo", variant)) for variant in range(1, VARIANTS)]
    between = [
        apart((name, first), ("YoYo", second))
        for name in ("Archery", "archery")
        for first in range(VARIANTS)
        for second in range(VARIANTS)
    ]
    assert min(within) > 5
    assert np.mean(between) > np.mean(within)


def test_the_plain_reader_takes_sides_and_groups_from_raw_lines(lists: Path) -> None:
    ucf, hmdb = (read_plainly(name, lists / name) for name in ("ucf101", "hmdb51"))
    assert ucf[2, "test"] == [
        f"{name}/v_{name}_g03_c0{clip}.avi" for name in ("Run", "HandWalk") for clip in (1, 2)
    ]
    assert hmdb[3, "unused"] == ["climb_stairs/!_climb_stairs_f_cm_np1_ri_bad_0.avi"]
    assert {group_of("ucf101", path) for path in ucf[1, "train"]} == {"g01", "g02"}
    assert {group_of("hmdb51", path) for path in hmdb[1, "train"]} == {"climb_stairs/a_b"}


def test_a_folder_without_lists_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path / "sets"), "--lists", str(tmp_path)])
    assert "holds neither ucf101 nor hmdb51" in capsys.readouterr().err
    assert not (tmp_path / "sets").exists()
