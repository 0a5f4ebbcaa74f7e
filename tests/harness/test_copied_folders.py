"""A work folder that was copied or moved, and its runs in a tracking store."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

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


def places(folder: Path) -> list[str]:
    """Where the database says that files are: of the experiment, of models, of runs, deleted ones too."""
    with sqlite3.connect(folder / "mlflow.db") as database:
        return [
            str(place)
            for (place,) in database.execute(
                "select artifact_location from experiments where name = 'fig12' union all "
                "select artifact_location from logged_models union all select artifact_uri from runs"
            )
        ]


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and time of every file below a folder."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def collected_anew(harness: Harness) -> None:
    """Collect everything again, as after somebody deleted all runs."""
    with sqlite3.connect(harness.work / "mlflow.db") as database:
        database.execute("update runs set lifecycle_stage = 'deleted'")
    harness("collect", "fig12")


@pytest.fixture
def original(copy_of_finished: Harness) -> Harness:
    """A folder whose own store has places in it, of a model too."""
    copy_of_finished("collect", "fig12")
    client = MlflowClient(f"sqlite:///{copy_of_finished.work}/mlflow.db")
    experiment = client.get_experiment_by_name("fig12")
    assert experiment is not None
    client.create_logged_model(experiment.experiment_id, "encoder")
    return copy_of_finished


def test_a_copy_writes_its_files_into_itself(original: Harness, tmp_path: Path) -> None:
    second = Harness(tmp_path / "a 100% copy")
    shutil.copytree(original.work, second.work)
    before, copied = files(original.work), files(second.work / "mlartifacts")
    there = places(original.work)
    assert len(there) > 10
    second("collect", "fig12")
    own = (second.work / "mlartifacts").as_uri()
    of_original = (original.work / "mlartifacts").as_uri()
    moved = [place.replace(of_original, own) for place in there]
    assert sorted(places(second.work)) == sorted(moved)
    assert all(place.startswith(own) for place in moved)
    collected_anew(second)
    assert files(original.work) == before
    # A file of each new run, beside those of the old ones.
    assert len(files(second.work / "mlartifacts")) >= 2 * len(copied) > 10
    assert all(f"{place}/".startswith(f"{own}/") for place in places(second.work))


def test_a_moved_folder_leaves_nothing_at_its_old_path(original: Harness, tmp_path: Path) -> None:
    # Places that are not below the old one, though one begins like it: they stay.
    chosen = [(tmp_path / "elsewhere").as_uri(), (original.work / "mlartifacts2").as_uri()]
    client = MlflowClient(f"sqlite:///{original.work}/mlflow.db")
    for number, place in enumerate(chosen):
        client.create_experiment(f"mine{number}", place)
    moved = Harness(tmp_path / "moved")
    original.work.rename(moved.work)
    many = len(files(moved.work / "mlartifacts"))
    collected_anew(moved)
    assert not original.work.exists()
    assert len(files(moved.work / "mlartifacts")) >= 2 * many > 10
    own = (moved.work / "mlartifacts").as_uri()
    assert all(f"{place}/".startswith(f"{own}/") for place in places(moved.work))
    with sqlite3.connect(moved.work / "mlflow.db") as database:
        kept = database.execute(
            "select artifact_location from experiments where name like 'mine%' order by name"
        ).fetchall()
    assert [place for (place,) in kept] == chosen


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


@pytest.mark.parametrize("first", ["moved", "copied"])
def test_a_copy_whose_original_moved_on_is_another_folder(tmp_path: Path, first: str) -> None:
    folders = {name: tmp_path / name for name in ("original", "copied", "moved")}
    folders["original"].mkdir()
    (known,) = Workdir(folders["original"]).identities()
    shutil.copytree(folders["original"], folders["copied"])
    folders["original"].rename(folders["moved"])
    ids = {name: Workdir(folders[name]).identities() for name in (first, "copied", "moved")}
    assert ids["moved"] == (known,)
    assert ids["copied"][1:] == (known,)
    assert ids["copied"][0] != known
    for name, told in ids.items():  # asked again, and moved again
        assert Workdir(folders[name]).identities() == told
        folders[name].rename(tmp_path / "further")
        assert Workdir(tmp_path / "further").identities() == told
        (tmp_path / "further").rename(folders[name])


def test_a_folder_restored_at_its_path_and_one_with_an_older_note_stay_the_same(
    tmp_path: Path,
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (known,) = Workdir(work).identities()
    work.rename(tmp_path / "backup")
    shutil.copytree(tmp_path / "backup", work)
    shutil.rmtree(tmp_path / "backup")
    assert Workdir(work).identities() == (known,)
    # Restored elsewhere, with all but the first line cut: it goes on as the same.
    shutil.copytree(work, tmp_path / "elsewhere")
    shutil.rmtree(work)
    (tmp_path / "elsewhere/.id").write_text(f"{known}\n")
    assert Workdir(tmp_path / "elsewhere").identities() == (known,)
    # As it was noted before inodes were.
    (tmp_path / "elsewhere/.id").write_text(f"{known}\n{work}\nformer\n")
    assert Workdir(tmp_path / "elsewhere").identities() == (known, "former")
