"""Fetching as a user types it, undisturbed or stopped half-way."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner, Result

from harness.cli import cli
from tests.harness.mirror import CONTENT, TRAIN, Mirror
from tests.harness.running import environment

ROOT = Path(__file__).parents[2]
HALF = len(CONTENT[TRAIN]) // 2

PROGRAM = (
    "import sys; from tasks.data import download; from tasks.data.fetchable import FETCHABLE; "
    "from tests.harness.mirror import small_mnist; from harness.cli import cli; "
    "download.WAIT_S = 0; FETCHABLE['mnist'] = small_mnist(sys.argv.pop(1)); cli(prog_name='harness')"
)
"""`harness` in a process of its own, which knows one mirror: its URL, then the words."""


def fetch(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(cli, ["data", "fetch", *map(str, words)], prog_name="harness")
    assert done.exit_code == code, (done.exit_code, done.output, done.exception)
    return done


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


def sentence(done: Result) -> str:
    """The one that was said on stderr."""
    (line,) = done.stderr.splitlines()
    return line.removeprefix("harness: ")


@contextmanager
def in_the_middle(folder: Path, mirror: Mirror) -> Iterator[subprocess.Popen[str]]:
    """A process that fetches, stopped by its mirror half-way through the first file."""
    mirror.stall_after = HALF
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, mirror.url, "data", "fetch", "mnist"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=ROOT,
    )
    part = folder / f"{TRAIN}.part"
    try:
        while not (part.exists() and part.stat().st_size > HALF // 2):
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.communicate()
        mirror.stall_after = 0
