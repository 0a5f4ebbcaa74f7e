"""Films: every frame where it belongs, and the same bytes every time."""

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from reports.film import HEADING, MARGIN, film

WHITE, BLACK = np.full((16, 16), 255, np.uint8), np.zeros((16, 16), np.uint8)


def moments(content: bytes) -> list[np.ndarray]:
    with Image.open(io.BytesIO(content)) as image:
        assert image.info["loop"] == 0
        return [np.asarray(each.convert("L")) for each in ImageSequence.Iterator(image)]


def test_sequences_stand_side_by_side_and_enlarged_by_whole_pixels() -> None:
    frame = np.arange(256, dtype=np.uint8).reshape(16, 16)
    drawn = moments(film([("one", [frame, WHITE]), ("two", [BLACK, frame])], ["a", "b"]))
    assert len(drawn) == 2
    large = frame.repeat(10, axis=0).repeat(10, axis=1)
    left, right = (slice(start, start + 160) for start in (MARGIN, 2 * MARGIN + 160))
    rows = slice(HEADING, HEADING + 160)
    assert np.array_equal(drawn[0][rows, left], large)
    assert (drawn[0][rows, right] == 0).all()
    assert (drawn[1][rows, left] == 255).all()
    assert np.array_equal(drawn[1][rows, right], large)
    assert (drawn[0][:HEADING] < 128).any()  # the headings
    assert not np.array_equal(drawn[0][HEADING + 160 :], drawn[1][HEADING + 160 :])  # the captions


def test_the_same_frames_are_the_same_bytes() -> None:
    sequences = [("one", [BLACK, WHITE])]
    assert film(sequences, ["1", "2"]) == film(sequences, ["1", "2"])


def test_frames_that_do_not_fit_together_are_refused() -> None:
    for sequences, captions in (
        ([("one", [BLACK]), ("two", [BLACK, WHITE])], ["1"]),
        ([("one", [BLACK])], ["1", "2"]),
        ([("one", [BLACK[:8]]), ("two", [BLACK])], ["1"]),
        ([], []),
    ):
        with pytest.raises(ValueError, match="do not make a film: give one length and one size"):
            film(sequences, captions)
