"""`harness data fetch` as a user types it, against mirrors on this machine: nothing here asks the internet."""

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tasks.data.fetchable import FETCHABLE
from tasks.data.glyphs import find_glyphs
from tests.harness.fetching import PROGRAM, ROOT, fetch, files_in, sentence
from tests.harness.mirror import CONTENT, PLAIN, TEST, TRAIN, Mirror
from tests.harness.running import environment
from tests.real_data import real_data


def test_what_is_fetched_is_what_glyphs_are_read_from(mnist_folder: Path, mirror: Mirror) -> None:
    done = fetch("mnist")
    assert files_in(mnist_folder) == CONTENT
    assert done.stdout.splitlines() == [
        f"{mnist_folder / name}: {len(CONTENT[name]):,} bytes from {mirror.url}, checked"
        for name in (TRAIN, TEST)
    ]
    assert done.stderr == ""  # no progress in a pipe
    found = find_glyphs("mnist")
    assert (found.num_train, found.num_test, found.side) == (3000, 500, 9)
    pixels = np.frombuffer(PLAIN[TEST][16:], dtype=np.uint8).reshape(500, 9, 9)
    np.testing.assert_array_equal(found.images("test"), pixels)


def test_what_is_there_and_right_is_not_asked_for(mnist_folder: Path, mirror: Mirror) -> None:
    fetch("mnist")
    mirror.asked.clear()
    assert fetch("mnist").stdout.splitlines() == [
        f"{mnist_folder / name}: it is there already, and right" for name in (TRAIN, TEST)
    ]
    assert mirror.asked == []
    (mnist_folder / TEST).unlink()
    fetch("mnist")
    assert mirror.asked == [(TEST, None)]
    assert files_in(mnist_folder) == CONTENT


def test_a_shared_folder_that_may_only_be_read_is_looked_at(
    mnist_folder: Path, mirror: Mirror
) -> None:
    fetch("mnist")
    (mnist_folder / ".mnist.lock").unlink()
    fetch("mnist")
    assert not (mnist_folder / ".mnist.lock").exists()


def test_another_file_in_the_place_is_kept_unless_it_is_said_again(
    mnist_folder: Path, mirror: Mirror
) -> None:
    mnist_folder.mkdir(parents=True)
    (mnist_folder / TEST).write_bytes(b"mine")
    refused = sentence(fetch("mnist", code=1))
    assert (
        f"{mnist_folder / TEST} is there and is not the file that is wanted: it has 4 bytes"
        in refused
    )
    assert "move it away, or replace it by --again" in refused
    assert mirror.asked == []  # the other file is not fetched either
    assert files_in(mnist_folder) == {TEST: b"mine"}
    fetch("mnist", "--again")
    assert files_in(mnist_folder) == CONTENT


def test_again_that_fails_leaves_what_was_there(
    mnist_folder: Path, mirrors: tuple[Mirror, ...]
) -> None:
    fetch("mnist")
    for each in mirrors:
        each.files[TRAIN] = bytes(len(CONTENT[TRAIN]))
    fetch("mnist", "--again", code=1)
    assert files_in(mnist_folder) == CONTENT


def test_unpacked_files_that_someone_placed_are_known(mnist_folder: Path, mirror: Mirror) -> None:
    mnist_folder.mkdir(parents=True)
    for name, content in PLAIN.items():
        (mnist_folder / name.removesuffix(".gz")).write_bytes(content)
    assert fetch("mnist").stdout.count("it is there already, and right") == 2
    assert mirror.asked == []


def test_an_unpacked_file_that_would_hide_the_fetched_one_is_named(
    mnist_folder: Path, mirror: Mirror
) -> None:
    mnist_folder.mkdir(parents=True)
    (mnist_folder / TRAIN.removesuffix(".gz")).write_bytes(PLAIN[TEST])
    for words in (("mnist",), ("mnist", "--again")):
        assert "is in the way: it would be read instead of" in sentence(fetch(*words, code=1))
    assert mirror.asked == []


def test_a_mirror_of_ones_own_is_asked_alone(
    mnist_folder: Path, mirrors: tuple[Mirror, Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = mirrors
    with Mirror(status=404) as third, Mirror() as fourth:
        monkeypatch.setenv("HARNESS_MIRROR", third.url)
        said = sentence(fetch("mnist", code=1))
        assert third.url in said
        assert first.url not in said
        done = fetch("mnist", "--mirror", fourth.url.removesuffix("/"))  # the option wins
        assert done.stdout.count(f"from {fourth.url.removesuffix('/')}, checked") == 2
    assert first.asked == second.asked == []
    assert files_in(mnist_folder) == CONTENT


def test_a_folder_is_a_mirror_too(mnist_folder: Path, tmp_path: Path) -> None:
    stick = tmp_path / "a stick"
    stick.mkdir()
    for name, content in CONTENT.items():
        (stick / name).write_bytes(content)
    fetch("mnist", "--mirror", stick.as_uri())
    assert files_in(mnist_folder) == CONTENT
    (stick / TEST).unlink()
    said = sentence(fetch("mnist", "--again", "--mirror", stick.as_uri(), code=1))
    assert f"{TEST} could not be fetched ({stick.as_uri()}: No such file or directory)" in said


def test_json_says_what_came_from_where(mnist_folder: Path, mirrors: tuple[Mirror, Mirror]) -> None:
    mirrors[0].status = 404
    done = fetch("mnist", "--json")
    assert json.loads(done.stdout) == {
        "name": "mnist",
        "files": [
            {"name": name, "path": str(mnist_folder / name), "bytes": len(CONTENT[name]), "mirror": mirrors[1].url, "failed": failed}
            for name, failed in ((TRAIN, {mirrors[0].url: "404 Not Found"}), (TEST, {}))
        ],
        "problems": [],
    }  # fmt: skip
    (mnist_folder / TEST).write_bytes(b"mine")
    failed = json.loads(fetch("mnist", "--json", code=1).stdout)
    assert failed["files"] == []
    assert "is not the file that is wanted" in failed["problems"][0]


def test_a_terminal_shows_which_file_and_how_far(mnist_folder: Path, mirror: Mirror) -> None:
    """On a pseudo-terminal of 100 columns."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, mirror.url, "data", "fetch", "mnist"],
        stdout=subprocess.PIPE,
        stderr=its,
        text=True,
        env={**environment(), "COLUMNS": "100", "TERM": "xterm"},
        cwd=ROOT,
    )
    os.close(its)
    shown = ""
    with suppress(OSError):  # Linux says EIO at the end of a terminal
        while more := os.read(ours, 2**16):
            shown += more.decode(errors="replace")
    os.close(ours)
    stdout, _ = process.communicate()
    assert process.returncode == 0
    assert TRAIN in shown
    assert "kB" in shown
    assert len(stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mnits",), "'mnits' is no name; did you mean 'mnist'? (known: mnist, moving-mnist-test)"),
        (("mnist", "--mirror", "example.org/mnist"), "'example.org/mnist' is no mirror: give the URL of the folder"),
        (("mnist", "--mirror", "ftp://example.org/"), "'ftp://example.org/' is no mirror"),
    ],
)  # fmt: skip
def test_wrong_words_are_a_sentence(words: tuple[str, ...], said: str) -> None:
    assert said in fetch(*words, code=2).stderr


def test_the_real_mnist_is_what_the_table_says(
    mnist_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = real_data("mnist")
    monkeypatch.undo()
    monkeypatch.setenv("HARNESS_DATA", str(mnist_folder.parent))
    fetch("mnist", "--mirror", source.resolve().as_uri())
    for file in FETCHABLE["mnist"].files:
        assert (mnist_folder / file.name).stat().st_size == file.num_bytes
    found = find_glyphs("mnist")
    assert (found.num_train, found.num_test, found.side) == (60_000, 10_000, 28)
