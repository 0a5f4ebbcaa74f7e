"""A work folder that was copied or moved, and its runs in a tracking store."""

import shutil
import sqlite3
from pathlib import Path

from harness.workdir import Workdir
from tests.harness.running import Harness


def runs(folder: Path) -> set[tuple[str, str]]:
    """(run, work folder) of the runs in a folder's database that are not deleted."""
    with sqlite3.connect(folder / "mlflow.db") as database:
        return set(
            database.execute(
                "select r.run_uuid, t.value from tags t join runs r using (run_uuid) "
                "where t.key = 'work_folder' and r.lifecycle_stage = 'active'"
            ).fetchall()
        )


def test_a_copy_touches_nothing_of_the_folder_it_was_copied_from(
    copy_of_finished: Harness, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    environ = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'shared' / 'mlflow.db'}"}
    copy_of_finished("collect", "fig12", env=environ)
    original = runs(tmp_path / "shared")
    second = Harness(tmp_path / "a copy of it")
    shutil.copytree(copy_of_finished.work, second.work)

    second("collect", "fig12", env=environ)
    both = runs(tmp_path / "shared")
    assert original < both
    assert len(both) == 2 * len(original)


def test_the_own_store_of_a_copy_becomes_its_own(
    copy_of_finished: Harness, finished: Harness
) -> None:
    assert runs(copy_of_finished.work) == runs(finished.work)
    copy_of_finished("collect", "fig12")
    mine = runs(copy_of_finished.work)
    assert {run for run, _ in mine} == {run for run, _ in runs(finished.work)}  # none is doubled
    assert {folder for _, folder in mine} == {Workdir(copy_of_finished.work).identities()[0]}
    assert not mine & runs(finished.work)


def test_a_moved_folder_is_the_same_to_a_store(copy_of_finished: Harness, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    environ = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'shared' / 'mlflow.db'}"}
    copy_of_finished("collect", "fig12", env=environ)
    before = runs(tmp_path / "shared")
    moved = Harness(tmp_path / "moved")
    copy_of_finished.work.rename(moved.work)
    moved("collect", "fig12", env=environ)
    assert runs(tmp_path / "shared") == before


def test_a_folder_seen_under_another_path_keeps_its_identity(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (own,) = Workdir(tmp_path / "work").identities()
    (tmp_path / "linked").symlink_to(tmp_path / "work")
    assert Workdir(tmp_path / "linked").identities() == (own,)


def test_copies_of_copies_know_all_they_come_from(tmp_path: Path) -> None:
    known: tuple[str, ...] = ()
    for number in range(3):
        if number:
            shutil.copytree(tmp_path / str(number - 1), tmp_path / str(number))
        else:
            (tmp_path / "0").mkdir()
        ids = Workdir(tmp_path / str(number)).identities()
        assert ids[1:] == known
        assert ids[0] not in known
        assert Workdir(tmp_path / str(number)).identities() == ids  # asked again
        known = ids
