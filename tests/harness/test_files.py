"""Results, checkpoints and files on disk: whole or not at all, accepted once, never believed blindly."""

import json
import os
import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from harness import checkpoint, files, result
from harness.workdir import Workdir, WorkdirBusy, WorkdirUnusable
from tasks.cell import Cell
from tests.harness.resealing import reseal
from tests.harness.test_loop import PRETRAIN

CELL = Cell(task=PRETRAIN)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    files.write(path, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_is_written_the_same_whatever_the_order() -> None:
    assert files.to_json({"b": 1, "a": [1.5]}) == files.to_json({"a": [1.5], "b": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        files.to_json(float("nan"))


def sealed(workdir: Workdir, value: float = 1.0) -> Path:
    folder = result.new_attempt(workdir, CELL)
    body = {"cell": CELL.key, "scores": [{"metric": "m", "value": value}]}
    result.seal(folder, body, {"weights.bin": b"12345"})
    return folder


def test_a_sealed_and_accepted_result_is_read_back(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path)
    assert result.read(workdir, CELL) is None
    folder = sealed(workdir)
    assert result.read(workdir, CELL) is None  # sealed, not yet accepted
    assert result.accept(folder)
    found = result.read(workdir, CELL)
    assert found is not None
    assert (found.attempt, found.folder, found.scores[0]["value"]) == (folder.name, folder, 1.0)


def test_of_many_attempts_at_once_exactly_one_is_accepted(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path)
    folders = [sealed(workdir, value=float(index)) for index in range(16)]
    assert len(set(folders)) == 16
    gate, accepted = threading.Barrier(16), []

    def try_it(folder: Path) -> None:
        gate.wait()
        if result.accept(folder):
            accepted.append(folder.name)

    threads = [threading.Thread(target=try_it, args=(folder,)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = result.read(workdir, CELL)
    assert found is not None
    assert accepted == [found.attempt]
    for folder in folders:  # nobody's own result was touched
        assert json.loads((folder / "result.json").read_bytes())["attempt"] == folder.name


def test_without_hard_links_still_exactly_one_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(source: object, target: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    workdir = Workdir(tmp_path)
    first, second = sealed(workdir, 1.0), sealed(workdir, 2.0)
    assert result.accept(first)
    assert not result.accept(second)
    found = result.read(workdir, CELL)
    assert found is not None
    assert found.scores[0]["value"] == 1.0


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_result_cut_anywhere_is_not_believed(tmp_path: Path, keep: int) -> None:
    workdir = Workdir(tmp_path)
    result.accept(sealed(workdir))
    path = workdir.cell(CELL) / "result.json"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: keep if keep >= 0 else len(content) - 3])
    with pytest.raises(result.DamagedResult, match="is cut short or altered"):
        result.read(workdir, CELL)
    result.set_aside(workdir, CELL)
    assert result.read(workdir, CELL) is None
    assert result.accept(sealed(workdir))


def test_a_result_with_any_byte_altered_is_not_believed(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path)
    result.accept(sealed(workdir))
    path = workdir.cell(CELL) / "result.json"
    content = path.read_bytes()
    path.unlink()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(result.DamagedResult, match="is cut short or altered"):
            result.read(workdir, CELL)


def test_a_text_that_looks_like_a_checksum_does_no_harm(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path)
    folder = result.new_attempt(workdir, CELL)
    line = '\n "sha256": "' + "0" * 64 + '",\n'
    result.seal(folder, {"cell": CELL.key, "note": line, "nested": {"sha256": "0" * 64}}, {})
    result.accept(folder)
    found = result.read(workdir, CELL)
    assert found is not None
    assert found.body["note"] == line


def test_a_result_of_another_cell_is_not_believed(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path)
    result.accept(sealed(workdir))
    other = Cell(task=PRETRAIN, seed=1)
    workdir.cell(other).mkdir(parents=True)
    (workdir.cell(other) / "result.json").write_bytes(
        (workdir.cell(CELL) / "result.json").read_bytes()
    )
    with pytest.raises(result.DamagedResult, match="is not a result of cell"):
        result.read(workdir, other)


def test_a_file_of_another_size_makes_a_result_unbelievable(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path)
    folder = sealed(workdir)
    result.accept(folder)
    (folder / "weights.bin").write_bytes(b"1234")
    with pytest.raises(result.DamagedResult, match="has 4 bytes instead of 5"):
        result.read(workdir, CELL)


def test_a_file_that_was_written_after_its_result_is_read_and_held_against_it(
    tmp_path: Path,
) -> None:
    workdir = Workdir(tmp_path)
    folder = sealed(workdir)
    result.accept(folder)
    (folder / "weights.bin").write_bytes(b"12345")  # copied, say
    assert result.read(workdir, CELL) is not None
    (folder / "weights.bin").write_bytes(b"12346")
    with pytest.raises(result.DamagedResult, match="was altered since it was written"):
        result.read(workdir, CELL)


def garbled(accepted: Path, folder: Path) -> None:
    accepted.unlink()
    accepted.write_bytes(b"{}")


def unreadable(accepted: Path, folder: Path) -> None:
    accepted.unlink()
    accepted.mkdir()


def of_another_cell(accepted: Path, folder: Path) -> None:
    reseal(accepted, lambda body: body.update(cell="0" * 64))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (garbled, "RUN/result.json is cut short or altered"),
        (unreadable, "RUN/result.json cannot be read (Is a directory)"),
        (of_another_cell, f"RUN/result.json is not a result of cell {CELL.short} that this version can read"),
        (lambda _, folder: (folder / "weights.bin").unlink(), "RUN/ATTEMPT/weights.bin, which belongs to RUN/result.json, is missing"),
        (lambda _, folder: (folder / "weights.bin").write_bytes(b"1234"), "RUN/ATTEMPT/weights.bin has 4 bytes instead of 5"),
        (lambda _, folder: (folder / "weights.bin").write_bytes(b"54321"), "RUN/ATTEMPT/weights.bin was altered since it was written"),
    ],
)  # fmt: skip
def test_damage_is_told_by_where_it_is_in_the_work_folder(
    damage: Callable[[Path, Path], object], sentence: str, tmp_path: Path
) -> None:
    workdir = Workdir(tmp_path)
    folder = sealed(workdir)
    result.accept(folder)
    damage(workdir.cell(CELL) / "result.json", folder)
    with pytest.raises(result.DamagedResult) as told:
        result.read(workdir, CELL, verify=True)
    assert str(told.value) == sentence.replace("RUN", f"runs/{CELL.short}").replace("ATTEMPT", folder.name)  # fmt: skip


def state(value: float) -> dict[str, object]:
    return {"weights": torch.full((3,), value)}


def test_the_newest_complete_checkpoint_of_all_attempts_is_taken(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder, step in ((first, 30), (second, 20)):
        checkpoint.save(folder, cell="c", step=step, state=state(step))
    found = checkpoint.newest([first, second], cell="c")
    assert found is not None
    assert found[0] == 30
    assert torch.equal(found[1]["weights"], torch.full((3,), 30.0))
    assert checkpoint.newest([tmp_path / "none"], cell="c") is None


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "foreign", "pickle"])
def test_a_bad_checkpoint_is_passed_over_aloud_for_the_one_before(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint.save(tmp_path, cell="c", step=10, state=state(10))
    if damage == "foreign":
        bad = checkpoint.save(tmp_path, cell="another", step=20, state=state(20))
    else:
        bad = checkpoint.save(tmp_path, cell="c", step=20, state=state(20))
        content = bytearray(bad.read_bytes())
        if damage == "flip":
            content[len(content) // 2] ^= 1
        hostile = pickle.dumps(Hostile(str(tmp_path / "owned")))
        replacement = {"cut": bytes(content[:-5]), "flip": bytes(content), "empty": b""}
        digest = __import__("hashlib").sha256(hostile).digest()
        bad.write_bytes(replacement.get(damage, digest + hostile))
    found = checkpoint.newest([tmp_path], cell="c")
    assert found is not None
    assert found[0] == 10
    assert f"{bad} is passed over" in caplog.text
    assert not (tmp_path / "owned").exists()


class Hostile:
    """Unpickling it would make a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, (self.path,)


def test_old_checkpoints_are_removed_but_one(tmp_path: Path) -> None:
    for step in range(1, 6):
        checkpoint.save(tmp_path, cell="c", step=step, state=state(step))
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "checkpoint-000000004.pt",
        "checkpoint-000000005.pt",
    ]
    result.discard_checkpoints([tmp_path])
    assert not list(tmp_path.iterdir())


def test_only_one_driver_holds_a_folder(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path)
    assert not workdir.is_driven()
    with workdir.locked("harness run fig12"):
        assert workdir.is_driven()
        with (
            pytest.raises(WorkdirBusy, match=r"`harness run fig12` \(process .* is at work in"),
            workdir.locked("another"),
        ):
            pass
    assert not workdir.is_driven()
    with workdir.locked("again"):
        pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WorkdirUnusable, match=r"cannot be written \(Not a directory\)"):
        Workdir(tmp_path / "file" / "work").prepare()


def test_what_was_run_last_is_remembered_and_rubbish_is_not_believed(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path)
    assert workdir.remembered("fig12") is None
    workdir.remember("fig12", source="fig12", settings=("shots=1",))
    assert workdir.remembered("fig12") == ("fig12", ("shots=1",))
    workdir.experiment("fig12").write_text("{")
    assert workdir.remembered("fig12") is None


def test_a_busy_work_folder_is_waited_for_with_patience(tmp_path: Path) -> None:
    workdir = Workdir(tmp_path)
    told: list[str] = []
    with workdir.locked("the first"):
        with pytest.raises(WorkdirBusy, match="the first"), workdir.locked("a second"):
            pass
        released = threading.Event()

        def second() -> None:
            with Workdir(tmp_path).locked("a second", patience_s=30, on_wait=told.append):
                released.set()

        thread = threading.Thread(target=second)
        thread.start()
        while not told:
            time.sleep(0.01)
        assert not released.is_set()
    thread.join(30)
    assert released.is_set()
    assert len(told) == 1
    assert told[0].startswith("waiting for `the first`")
