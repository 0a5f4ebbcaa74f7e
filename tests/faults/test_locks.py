"""Who drives a work folder: one process, whoever looks on; and what the file system says is said, not taken for a driver."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from harness.workdir import Workdir, WorkdirBusy, WorkdirUnusable

ROOT = Path(__file__).parents[2]

LOOKS_ON = """
import sys
from pathlib import Path
from harness.workdir import Workdir
workdir = Workdir(Path(sys.argv[1]))
print("looking", flush=True)
while True:
    workdir.is_driven()
"""

DRIVES = """
import os, sys
from pathlib import Path
from harness.workdir import Workdir, WorkdirBusy
workdir, times = Workdir(Path(sys.argv[1])), int(sys.argv[2])
mark, drove = workdir.root / "mark", 0
sys.stdin.readline()
for _ in range(times):
    try:
        with workdir.locked("a driver"):
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))  # raises where another is inside
            drove += 1
            os.unlink(mark)
    except WorkdirBusy:
        pass
print(drove)
"""


def test_looking_never_keeps_a_run_from_starting(tmp_path: Path) -> None:
    lookers = [
        subprocess.Popen(
            [sys.executable, "-c", LOOKS_ON, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    workdir = Workdir(tmp_path)
    try:
        for each in lookers:
            assert each.stdout is not None
            assert each.stdout.readline() == b"looking\n"
        for _ in range(300):
            with workdir.locked("harness run fig12"):
                pass
    finally:
        for each in lookers:
            each.kill()
            each.communicate()


def test_of_drivers_that_start_at_once_no_two_are_inside(tmp_path: Path) -> None:
    drivers = [
        subprocess.Popen(
            [sys.executable, "-c", DRIVES, str(tmp_path), "200"], cwd=ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for each in drivers:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    told = [each.communicate(timeout=200)[0] for each in drivers]
    assert [each.returncode for each in drivers] == [0, 0, 0, 0]
    assert sum(map(int, told)) > 0  # where one was refused, another was inside


def test_a_driver_is_seen_by_all_who_look_at_once(tmp_path: Path) -> None:
    workdir, seen = Workdir(tmp_path), []
    with workdir.locked("harness run fig12"):
        threads = [
            threading.Thread(
                target=lambda: seen.extend(Workdir(tmp_path).is_driven() for _ in range(50))
            )
            for _ in range(4)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        with pytest.raises(WorkdirBusy), Workdir(tmp_path).locked("another"):
            pass
    assert seen == [True] * 200
    assert not workdir.is_driven()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EIO])
def test_a_file_system_without_locks_is_called_that_and_no_process_at_work(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir = Workdir(tmp_path)
    with workdir.locked("before"):
        pass

    def refused(handle: object, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refused)
    with (
        pytest.raises(WorkdirUnusable, match=rf"cannot be locked \({os.strerror(code)}\)"),
        workdir.locked("harness run fig12"),
    ):
        pass
    if code == errno.ENOSYS:
        assert not workdir.is_driven()
    else:
        with pytest.raises(OSError, match=os.strerror(code)) as told:
            workdir.is_driven()
        assert told.value.filename == str(tmp_path / ".lock")


def test_a_lock_that_may_not_be_opened_is_called_that(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path)
    (
        tmp_path / ".lock"
    ).mkdir()  # whoever runs the tests may be root, who may open all that are files
    with pytest.raises(IsADirectoryError):
        workdir.is_driven()


def test_one_who_stands_still_while_looking_does_not_hold_a_run_up_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workdir = Workdir(tmp_path)
    monkeypatch.setattr("harness.workdir.LOOKING_S", 0.0)
    with (tmp_path / ".lock").open("a") as looker:
        fcntl.flock(looker, fcntl.LOCK_SH)
        with pytest.raises(WorkdirBusy, match="another process"), workdir.locked("a run"):
            pass
    with workdir.locked("a run"):
        pass
