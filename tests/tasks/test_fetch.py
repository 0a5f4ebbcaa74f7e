"""What makes a fetched file right, and which mirrors can be asked; the whole path is in tests/harness/test_fetch_verb.py."""

import gzip
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.data.fetch import check_mirror
from tasks.data.fetchable import FETCHABLE, OnlineFile, what_is_wrong
from tests.harness.mirror import CONTENT, PLAIN, TRAIN, online_file
from tests.real_data import real_data

PACKED = online_file(TRAIN, CONTENT[TRAIN], PLAIN[TRAIN])
BARE = online_file("bare.npy", b"0123456789")


@pytest.mark.parametrize(
    ("file", "content", "wrong"),
    [
        (PACKED, CONTENT[TRAIN], ""),
        (PACKED, gzip.compress(PLAIN[TRAIN], compresslevel=1, mtime=7), ""),  # packed anew
        (PACKED, PLAIN[TRAIN], ""),
        (PACKED, gzip.compress(PLAIN[TRAIN][:-1]), "bytes and should have"),
        (PACKED, gzip.compress(PLAIN[TRAIN] + b"x"), "bytes and should have"),
        (PACKED, CONTENT[TRAIN][:-1], f"it has {len(CONTENT[TRAIN]) - 1:,} bytes"),
        (PACKED, bytes(len(CONTENT[TRAIN])), "its sha256 is"),
        (PACKED, b"", f"it has 0 bytes and should have {len(CONTENT[TRAIN]):,} ({len(PLAIN[TRAIN]):,} unpacked)"),
        (BARE, b"0123456789", ""),
        (BARE, b"0123456788", "its sha256 is"),
        (BARE, b"0123456789x", "it has 11 bytes and should have 10"),
        (BARE, gzip.compress(b"0123456789"), "bytes and should have 10"),
    ],
)  # fmt: skip
def test_a_file_is_right_by_its_bytes_or_what_is_packed_in_it(
    tmp_path: Path, file: OnlineFile, content: bytes, wrong: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    found = what_is_wrong(path, file)
    assert wrong in found
    assert bool(wrong) == bool(found)


@settings(max_examples=50)
@given(place=st.integers(0, len(CONTENT[TRAIN]) - 1), flip=st.integers(1, 255))
def test_a_file_with_one_byte_altered_unpacks_to_the_same_or_is_wrong(
    tmp_path_factory: pytest.TempPathFactory, place: int, flip: int
) -> None:
    altered = bytearray(CONTENT[TRAIN])
    altered[place] ^= flip
    path = tmp_path_factory.mktemp("altered") / "file"
    path.write_bytes(altered)
    try:
        same = gzip.decompress(altered) == PLAIN[TRAIN]  # such as where the header says the time
    except (EOFError, zlib.error, gzip.BadGzipFile):
        same = False
    assert (what_is_wrong(path, PACKED) == "") == same


@pytest.mark.parametrize("url", ["http://h", "https://h.org:81/a/b/", "file:///a/b", "http://[::1]/a"])  # fmt: skip
def test_urls_of_folders_are_mirrors(url: str) -> None:
    assert check_mirror(url) == url


@pytest.mark.parametrize(
    "url",
    ["", "h.org/a", "/a/b", "ftp://h/a", "http://", "http://h:port/", "http://h/?a=", "http://h/#a", "http://h/a b", "http://hé/", "http://h/\n", "http://[::1/"],
)  # fmt: skip
def test_anything_else_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(ValueError, match="is no mirror: give the URL of the folder"):
        check_mirror(url)


@pytest.mark.parametrize("name", FETCHABLE)
def test_what_can_be_fetched_is_said_in_full(name: str) -> None:
    wanted = FETCHABLE[name]
    assert wanted.meaning
    assert len({file.name for file in wanted.files}) == len(wanted.files) > 0
    for mirror in wanted.mirrors:
        assert check_mirror(mirror).endswith("/")
    for file in wanted.files:
        sums = [file.sha256, *([file.unpacked.sha256] if file.unpacked else [])]
        assert all(len(each) == 64 and set(each) <= set("0123456789abcdef") for each in sums)


def test_the_table_knows_the_real_mnist_packed_and_unpacked(tmp_path: Path) -> None:
    source = real_data("mnist")
    for file in FETCHABLE["mnist"].files:
        content = (source / file.name).read_bytes()
        assert len(content) == file.num_bytes
        assert what_is_wrong(source / file.name, file) == ""
        plain = tmp_path / "plain"
        plain.write_bytes(gzip.decompress(content))
        assert file.unpacked
        assert plain.stat().st_size == file.unpacked.num_bytes
        assert what_is_wrong(plain, file) == ""
