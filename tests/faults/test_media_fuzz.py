"""A thousand altered videos, lists, tables, arrays and indexes: each is read as it is, or refused in one sentence that names it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import fuzz_media, media_inputs, media_readings


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "seeds"
    media_inputs.make_seeds(folder)
    return folder


def test_a_thousand_altered_files_are_read_as_they_are_or_refused_in_a_sentence() -> None:
    ended = fuzz_media.fuzz(0, 1080)
    assert fuzz_media.bad(ended) == {}
    assert ended.total() == 1080
    for kind in media_inputs.KINDS:
        assert ended[f"{kind} refused"] >= 40


def test_the_files_that_are_altered_are_sound_themselves(seeds: Path) -> None:
    sound = {"a.avi", "a.mp4", "a.mkv", "a.mov", "a.mpg"}
    names = {path.name for path in (seeds / "video").iterdir()}
    assert sound <= names
    for name in sound:
        assert media_readings.try_video(seeds / "video" / name) == "taken"
    tries: list[tuple[Callable[[Path], str], str]] = [
        (media_readings.try_lists, "ucf101/classInd.txt"),
        (media_readings.try_lists, "hmdb51/run_test_split1.txt"),
        (media_readings.try_csv, "csv/mine.csv"),
        (media_readings.try_idx, "idx/train-images-idx3-ubyte"),
        (media_readings.try_index, "index/index.json"),
        (media_readings.try_toml, "toml/mine.toml"),
        (media_readings.try_made_of, "made_of/made_of.json"),
    ]
    for attempt, file in tries:
        assert attempt(seeds / file) == "taken", file


def test_an_input_is_the_same_whenever_it_is_made(seeds: Path, tmp_path: Path) -> None:
    for number in range(24):
        first, second = (
            media_inputs.write_input(seeds, tmp_path / side, 7, number) for side in ("a", "b")
        )
        assert first.name == second.name
        assert first.read_bytes() == second.read_bytes()


def test_whatever_ends_otherwise_is_found(tmp_path: Path) -> None:
    """The search itself: children that crash, hang, take memory or fail are noted, and the inputs behind them are tried."""
    ended = fuzz_media.fuzz(0, 24, kept=tmp_path / "kept", module="tests.faults.fuzz_troubles")
    assert ended.total() == 24
    assert fuzz_media.bad(ended) == {
        "toml ended its process (-6)": 2,
        "npy hangs": 2,
        "idx MemoryError:": 2,
        "index KeyError: 'videos'": 2,
    }
    assert len(list((tmp_path / "kept").iterdir())) == 8
