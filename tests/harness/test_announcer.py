"""What a run says beside itself: soon, whole, and never in the way."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import status
from harness.announcer import Announcer
from harness.workdir import Workdir


def eventually(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)
    return true()


def test_it_tells_at_once_then_whatever_came_last_and_nothing_after_its_end(tmp_path: Path) -> None:
    work = Workdir(tmp_path)
    running, waiting = set[str](), {"a", "b"}
    announcer = Announcer(work, lambda: (set(running), set(waiting)), every_s=0.001)
    assert status.in_hand(work) == (set(), {"a", "b"})
    for each in ("a", "b"):
        waiting.remove(each)
        running.add(each)
        announcer.changed()
    running.remove("a")
    announcer.changed()
    assert eventually(lambda: status.in_hand(work) == ({"b"}, set()))
    announcer.close()
    assert not work.driver.exists()


def test_many_changes_are_a_few_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    waiting: list[str] = []
    monkeypatch.setattr(
        status, "announce", lambda workdir, *, running, waiting: told.append(len(waiting))
    )

    def in_hand() -> tuple[list[str], list[str]]:
        return [], list(waiting)

    announcer = Announcer(Workdir(tmp_path), in_hand, every_s=0.05)
    for _ in range(5000):
        waiting.append("x")
        announcer.changed()
    assert eventually(lambda: told[-1] == 5000)
    announcer.close()
    assert len(told) < 500


def test_a_disk_that_is_full_ends_the_telling_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announcer = Announcer(Workdir(tmp_path), lambda: ((), ()), every_s=0.001)
    tried = threading.Event()

    def full(workdir: Workdir, *, running: object, waiting: object) -> None:
        tried.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(status, "announce", full)
    announcer.changed()
    assert tried.wait(30)
    announcer.changed()
    announcer.close()
    assert not (tmp_path / "driver.json").exists()
