"""`harness data fetch` when mirrors, connections, disks and people fail: what is there in the end is whole, or not there."""

import json
import signal
from base64 import b64encode
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import cli
from tasks.data import download
from tasks.data.fetchable import FETCHABLE
from tests.harness.fetching import HALF, fetch, files_in, in_the_middle, sentence
from tests.harness.mirror import CONTENT, PLAIN, TEST, TRAIN, Mirror, small_mnist


def test_a_cut_connection_goes_on_from_its_end(mnist_folder: Path, mirror: Mirror) -> None:
    mirror.cuts = [HALF, 1000]
    fetch("mnist")
    assert mirror.asked == [
        (TRAIN, None),
        (TRAIN, f"bytes={HALF}-"),
        (TRAIN, f"bytes={HALF + 1000}-"),
        (TEST, None),
    ]
    assert files_in(mnist_folder) == CONTENT


def test_a_server_without_ranges_begins_anew(mnist_folder: Path, mirror: Mirror) -> None:
    mirror.ranges = False
    mirror.cuts = [HALF]
    fetch("mnist")
    assert mirror.asked[:2] == [(TRAIN, None), (TRAIN, f"bytes={HALF}-")]
    assert files_in(mnist_folder) == CONTENT


def test_a_mirror_that_always_stops_at_the_same_byte_is_left(
    mnist_folder: Path, mirrors: tuple[Mirror, Mirror]
) -> None:
    """Without ranges it sends the same bytes each time, which is no progress."""
    first, second = mirrors
    first.ranges = False
    first.cuts = [HALF] * 100
    done = fetch("mnist")
    assert len(first.asked) == 1 + download.TRIES
    assert second.asked == [(TRAIN, f"bytes={HALF}-"), (TEST, None)]
    assert f"not from {first.url}: the connection ended after {HALF:,} of" in done.stdout
    assert files_in(mnist_folder) == CONTENT


def test_a_mirror_that_falls_silent_is_left(
    mnist_folder: Path, mirrors: tuple[Mirror, Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(download, "TRIES", 1)
    mirrors[0].stall_after = HALF
    done = fetch("mnist")
    assert f"not from {mirrors[0].url}: timed out" in done.stdout
    assert files_in(mnist_folder) == CONTENT


@pytest.mark.parametrize("says_length", [True, False])
def test_a_wrong_checksum_is_left_for_the_next_mirror(
    mnist_folder: Path, mirrors: tuple[Mirror, Mirror], says_length: bool
) -> None:
    first, second = mirrors
    first.files[TRAIN] = bytes(len(CONTENT[TRAIN]))
    first.says_length = second.says_length = says_length
    done = fetch("mnist")
    assert f"not from {first.url}: what it sent is not the file: its sha256 is" in done.stdout
    # Nothing of the wrong file is taken over, and the mirror that was right is asked first from then on.
    assert (first.asked, second.asked) == ([(TRAIN, None)], [(TRAIN, None), (TEST, None)])
    assert files_in(mnist_folder) == CONTENT


def test_the_beginning_of_a_wrong_file_does_not_spoil_the_next_mirror(
    mnist_folder: Path, mirrors: tuple[Mirror, Mirror]
) -> None:
    first, second = mirrors
    first.files[TRAIN] = bytes(len(CONTENT[TRAIN]))
    first.cuts = [HALF] + [0] * download.TRIES
    fetch("mnist")
    assert second.asked[:2] == [(TRAIN, f"bytes={HALF}-"), (TRAIN, None)]
    assert files_in(mnist_folder) == CONTENT


@pytest.mark.parametrize("junk", [b"", b"x" * 100, b"x" * (len(CONTENT[TRAIN]) + 100)])
def test_any_rest_of_another_download_is_got_over(
    mnist_folder: Path, mirror: Mirror, junk: bytes
) -> None:
    mnist_folder.mkdir(parents=True)
    (mnist_folder / f"{TRAIN}.part").write_bytes(junk)
    fetch("mnist")
    assert files_in(mnist_folder) == CONTENT


def test_a_part_that_is_whole_is_taken(mnist_folder: Path, mirror: Mirror) -> None:
    """Its process was killed between the last byte and the name."""
    mnist_folder.mkdir(parents=True)
    (mnist_folder / f"{TRAIN}.part").write_bytes(CONTENT[TRAIN])
    fetch("mnist")
    assert mirror.asked == [(TRAIN, f"bytes={len(CONTENT[TRAIN])}-"), (TEST, None)]
    assert files_in(mnist_folder) == CONTENT


def test_when_all_mirrors_fail_each_is_named_with_its_reason(
    mnist_folder: Path, mirrors: tuple[Mirror, Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = mirrors
    first.status = 503
    del second.files[TRAIN]
    with Mirror() as gone:
        pass
    endless = Mirror(files={TRAIN: bytes(10**6)}, says_length=False)
    with endless, Mirror(files={TRAIN: CONTENT[TEST]}) as other:
        urls = [each.url for each in (first, second, gone, endless, other)]
        monkeypatch.setitem(FETCHABLE, "mnist", small_mnist(*urls))
        said = sentence(fetch("mnist", code=1))
    assert said.startswith(f"{TRAIN} could not be fetched ({first.url}: 503 Service Unavailable; ")
    assert f"{second.url}: 404 Not Found; " in said
    assert f"{gone.url}: Connection refused; " in said
    assert f"{endless.url}: it sends more than {len(PLAIN[TRAIN]):,} bytes; " in said
    assert f"{other.url}: what it sent is not the file: it has {len(CONTENT[TEST]):,} bytes" in said
    assert f"place it in {mnist_folder} and type the same again, which checks it" in said
    assert files_in(mnist_folder) == {}


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_what_was_ended_in_the_middle_goes_on(
    mnist_folder: Path, mirror: Mirror, ending: signal.Signals
) -> None:
    with in_the_middle(mnist_folder, mirror) as process:
        process.send_signal(ending)
        _, said = process.communicate()
    if ending == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command continues from there" in said
        assert len(said.splitlines()) == 1
    (left,) = files_in(mnist_folder).items()
    assert left[0] == f"{TRAIN}.part"
    assert left[1]
    assert CONTENT[TRAIN].startswith(left[1])
    fetch("mnist")
    assert mirror.asked[1] == (TRAIN, f"bytes={len(left[1])}-")
    assert files_in(mnist_folder) == CONTENT


def test_two_at_once_do_not_meet(mnist_folder: Path, mirror: Mirror) -> None:
    with in_the_middle(mnist_folder, mirror) as process:
        before = files_in(mnist_folder)
        assert "another `harness data fetch mnist` is at work in" in sentence(
            fetch("mnist", code=75)
        )
        assert files_in(mnist_folder) == before
        mirror.released.set()  # the mirror closes, and is asked for the rest
        mirror.stall_after = 0
        stdout, stderr = process.communicate()
        assert process.returncode == 0, stderr
        assert len(stdout.splitlines()) == 2
    assert files_in(mnist_folder) == CONTENT


def test_a_full_disk_is_one_sentence(mnist_folder: Path, mirror: Mirror) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full, which is always full, is not on this machine")
    mnist_folder.mkdir(parents=True)
    (mnist_folder / f"{TRAIN}.part").symlink_to("/dev/full")
    said = sentence(fetch("mnist", code=1))
    assert said.startswith(f"No space left on device ({mnist_folder / TRAIN}.part)")
    assert "run the same command again" in said
    assert not (mnist_folder / TRAIN).exists()


SECRET = "s3cret"


def with_password(url: str, user: str = f"me:{SECRET}%2Fa%40b") -> str:
    return url.replace("//", f"//{user}@", 1)


def test_a_password_goes_to_its_mirror_alone_and_is_never_told(
    mnist_folder: Path, mirrors: tuple[Mirror, Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = mirrors
    guarded = with_password(first.url)
    monkeypatch.setenv("HARNESS_MIRROR", guarded)
    done = fetch("mnist")
    assert set(first.passwords) == {f"Basic {b64encode(f'me:{SECRET}/a@b'.encode()).decode()}"}
    assert f"bytes from {first.url}, checked" in done.stdout
    told = [done.output, fetch("mnist", "--again", "--json").output]
    assert json.loads(told[1])["files"][0]["mirror"] == first.url
    first.moved_to = second.url
    told.append(fetch("mnist", "--again").output)
    assert set(second.passwords) == {None}
    first.moved_to, first.status = "", 404
    told += [fetch("mnist", "--again", *more, code=1).output for more in ((), ("--json",))]
    assert f"({first.url}: 404 Not Found)" in told[-1]
    assert SECRET not in "".join(told)
    kept = [path for path in mnist_folder.parent.rglob("*") if path.is_file()]
    assert not [path for path in kept if SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{SECRET}@127.0.0.1:9/mnist",  # nobody is there
        f"http://{SECRET}@127.0.0.1:9/mnist",
        f"http://127.0.0.1:9/mnist?token={SECRET}",
        f"http://127.0.0.1:9/mnist#{SECRET}",
        f"http://me:{SECRET}/x@127.0.0.1:9/mnist",
        f"http://me:8/{SECRET}@127.0.0.1:9/mnist",
        f"http://me:{SECRET} x@127.0.0.1:9/mnist",
        f"http://me:{SECRET}@127.0.0.1:port/mnist",
        f"http://me:{SECRET}\n@127.0.0.1:9/mnist",
        f"me:{SECRET}@127.0.0.1:9/mnist",
        f"ftp://me:{SECRET}@127.0.0.1:9/mnist",
        f"file://me:{SECRET}@127.0.0.1/mnist",
    ],
)
def test_no_way_to_fail_tells_a_password(
    url: str, mnist_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (("--mirror", url), ("--mirror", url, "--json")):
        done = CliRunner().invoke(cli, ["data", "fetch", "mnist", *words], prog_name="harness")
        assert done.exit_code in (1, 2)
        assert SECRET not in done.output
        assert len(done.stderr.splitlines()) == 1
        assert "no mirror" in done.stderr or "could not be fetched" in done.stderr
    monkeypatch.setenv("HARNESS_MIRROR", url)
    assert SECRET not in fetch("--help").output


def test_what_a_mirror_says_does_not_steer_a_terminal(mnist_folder: Path, mirror: Mirror) -> None:
    mirror.status, mirror.reason = 404, "Not\x1b[2J\x1b]0;x\x07Found" + "!" * 2000
    said = sentence(fetch("mnist", "--mirror", mirror.url, code=1))
    assert "404 Not\N{REPLACEMENT CHARACTER}[2J" in said
    assert said.isprintable()
    assert len(said) < 1000


def test_a_mirror_cannot_lead_to_a_file_of_this_machine(
    mnist_folder: Path, mirror: Mirror, tmp_path: Path
) -> None:
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
    mirror.moved_to = f"{tmp_path.as_uri()}/"
    said = sentence(fetch("mnist", "--mirror", mirror.url, code=1))
    assert "is not allowed" in said
    assert files_in(mnist_folder) == {}
