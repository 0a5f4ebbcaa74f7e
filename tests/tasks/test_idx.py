"""idx files: read as they are, and refused in a sentence whatever is wrong with them."""

import gzip
import struct
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.idx import read_idx
from tests.real_data import real_data


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    head = bytes([0, 0, kind, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


IMAGES = np.arange(2 * 3 * 4).reshape(2, 3, 4)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_what_was_written_is_read(tmp_path: Path, pack) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "images"
    path.write_bytes(pack(idx(IMAGES)))
    found = read_idx(path, dimensions=3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, IMAGES)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is no idx file: it begins with nothing"),
        (b"P5 28 28", "is no idx file: it begins with 50 35 20 32 instead of 00 00 08 03"),
        (idx(IMAGES, kind=13), "of type 13 with 3 dimensions"),
        (idx(IMAGES[0]), "with 2 dimensions: images are of type 8 (unsigned bytes) with 3"),
        (idx(IMAGES)[:9], "its header ends after 9 of 16 bytes"),
        (idx(IMAGES)[:-1], "was cut short: its header says 2 x 3 x 4, that is 40 bytes, and there are 39"),
        (idx(IMAGES) + b"!", "goes on behind its end"),
        (idx(IMAGES[:0]), "is empty: its header says 0 x 3 x 4"),
        (gzip.compress(idx(IMAGES))[:-9], "cannot be unpacked"),
        (gzip.compress(idx(IMAGES))[:20] + b"\xff" * 30, "would hold more than 1,073,741,824 bytes, as its header says 2 x 79"),
        (gzip.compress(idx(IMAGES))[:-6] + bytes(6), "cannot be unpacked"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="train-images-idx3-ubyte") as caught:
        read_idx(path, dimensions=3)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        read_idx(tmp_path / "nowhere", dimensions=3)
    with pytest.raises(ValueError, match="cannot be read"):
        read_idx(tmp_path, dimensions=3)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60)
    | st.tuples(st.integers(0, 39), st.binary(min_size=1, max_size=4)).map(
        lambda change: (
            idx(IMAGES)[: change[0]] + change[1] + idx(IMAGES)[change[0] + len(change[1]) :]
        )
    )
)
def test_any_bytes_are_read_or_refused_in_a_sentence(tmp_path_factory, content: bytes) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("idx") / "images"
    path.write_bytes(content)
    whole = len(content) == 40 and content[:16] == idx(IMAGES)[:16]
    with nullcontext() if whole else pytest.raises(ValueError, match="images") as caught:
        assert read_idx(path, dimensions=3).tobytes() == content[16:]
    assert whole or "\n" not in str(caught.value)


def test_real_mnist_is_read() -> None:
    folder = real_data("mnist")
    images = read_idx(folder / "t10k-images-idx3-ubyte.gz", dimensions=3)
    labels = read_idx(folder / "t10k-labels-idx1-ubyte.gz", dimensions=1)
    assert images.shape == (10000, 28, 28)
    assert labels[:5].tolist() == [
        7,
        2,
        1,
        0,
        4,
    ]  # the first test digits, as every tutorial shows them
