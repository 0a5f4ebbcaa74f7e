"""Reads an experiment out of a tracking store: what one work folder collected, checked against what it said it collected.

It takes the runs with role parent and cell, and nothing else that may lie beside them. Writing is `harness.store`.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, TypeVar

from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from configs.knobs import did_you_mean
from harness import carried, files, result
from harness.carried import Carried
from harness.carried_form import NAME, files_of, plain
from harness.kept_runs import ATTEMPT, CELL, COMPLETE, CONTENT, LAYOUT, PARENT, ROLE
from harness.store import FOLDER, FOLDER_NAME
from harness.uri import connected, first_line, shown

PAGE = 1000
"""Runs in one answer."""
MOST_PAGES = 10_000
"""A server that always has another page would never be done."""
MOST_BYTES = 2**28
"""Of a JSON file that is read: more than any of ours has."""
_Answer = TypeVar("_Answer")
GONE = "its run is not in the tracking store any more"


class NotTracked(Exception):
    """The store does not have what is asked for, or cannot be read; in a sentence."""


class Folder(NamedTuple):
    """A work folder that collected the experiment."""

    id: str
    name: str
    """host:folder."""
    parent: str
    """Id of its parent run."""


class _Unanswered(Exception):
    """A store gave no answer, or none that could be read; in one line."""


def _ask(call: Callable[[], _Answer]) -> _Answer:
    """Ask a store.

    Raises:
        _Unanswered: whatever went wrong. What a server answers reaches MLflow's client unchecked, and so any error comes out.
    """
    try:
        return call()
    except Exception as error:
        reason = first_line(error)
        raise _Unanswered(
            f"{type(error).__name__}: {reason}" if reason else type(error).__name__
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Have MLflow log nothing: it repeats what a server answers as it is, and all that goes wrong is raised and told."""
    log = logging.getLogger("mlflow")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


class Kept(Mapping[str, Path]):
    """Folders with the files of accepted runs by cell, brought here when first asked for, and checked.

    What cannot be brought or believed raises, and is noted in `damaged`, so that the cell can be left out.
    """

    def __init__(self, client: MlflowClient, runs: Mapping[str, Run], place: Path) -> None:
        """Take runs by cell; files of a server go to `place`."""
        self._client, self._runs, self._place = client, runs, place
        self._there: dict[str, Path] = {}
        self.damaged: dict[str, str] = {}
        """Why a cell's files are not believed, by its key."""

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __contains__(self, cell: object) -> bool:
        return cell in self._runs

    def __getitem__(self, cell: str) -> Path:
        if cell not in self._there:
            run = self._runs[cell]
            try:
                self._there[cell] = self._bring(cell, run)
            except (OSError, ValueError, _Unanswered) as error:
                reason = f"its files in the tracking store: {plain(first_line(error))}"
                self.damaged[cell] = reason
                raise ValueError(f"cell {cell[:16]}: {reason}") from error
        return self._there[cell]

    def _bring(self, cell: str, run: Run) -> Path:
        place, run_id = self._place / cell, str(run.info.run_id)
        content = _content(_fetch(self._client, run_id, result.NAME, place))
        for name, sha256 in files_of(content, cell, run.data.tags[ATTEMPT]).items():
            if files.sha256_of(_fetch(self._client, run_id, name, place)) != sha256:
                raise ValueError(f"{name} was altered since it was written")
        return place

    def of(self, cells: Iterable[str]) -> "Kept":
        """The same of some cells; what is found damaged is noted in both."""
        part = Kept(
            self._client, {key: self._runs[key] for key in cells if key in self._runs}, self._place
        )
        part._there, part.damaged = self._there, self.damaged
        return part


def _fetch(client: MlflowClient, run: str, name: str, place: Path) -> Path:
    """Bring a file of a run to a folder.

    Raises:
        _Unanswered: when it cannot be had.
        ValueError: when a server sends a folder under this name.
    """
    place.mkdir(parents=True, exist_ok=True)
    path = Path(_ask(lambda: client.download_artifacts(run, name, str(place))))
    if not path.is_file():
        raise ValueError(f"{name} is no file there")
    return path


def _content(path: Path) -> bytes:
    """A JSON file's bytes.

    Raises:
        ValueError: when it is larger than any of ours.
    """
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path.name} has {path.stat().st_size:,} bytes")
    return path.read_bytes()


class Tracked(NamedTuple):
    """What a store has of an experiment of one work folder."""

    folder: Folder
    carried: Carried
    """Of the experiment."""
    parts: Mapping[str, Carried]
    """Of each part; of an experiment of one piece the same under its own name."""
    values: Mapping[str, Mapping[str, float]]
    """Metric to value by cell, of the runs that are as they were collected."""
    lost: Mapping[str, str]
    """Why another cell that was collected has none, by its key."""
    kept: Kept


@contextmanager
def opened(address: str, name: str, folder: str) -> Iterator[Tracked]:
    """Read an experiment; its files are there as long as the context is.

    Args:
        address: of the store, as `harness.uri.checked` gives it.
        name: of the experiment.
        folder: which work folder's, by the first digits of its id or by its name; empty where there is but one.

    Raises:
        NotTracked: when it is not there, several folders have it, or the store cannot be read.
    """
    if not NAME.fullmatch(name):
        raise NotTracked(f"'{plain(name)}' is no name of an experiment: write NAME or FILE.py:NAME")
    with TemporaryDirectory(prefix="harness-") as place, _silent():
        try:
            client = _ask(lambda: MlflowClient(connected(address)))
            tracked = _read(client, address, name, folder, Path(place))
        except _Unanswered as error:
            raise NotTracked(f"MLflow at {shown(address)} could not be read ({error})") from error
        except carried.NotCarried as error:
            raise NotTracked(f"{name} at {shown(address)}: {error}") from error
        yield tracked


def _read(client: MlflowClient, address: str, name: str, folder: str, place: Path) -> Tracked:
    found = _ask(lambda: client.get_experiment_by_name(name))
    if found is None or found.lifecycle_stage == "deleted":
        there = _ask(client.search_experiments)
        known = [plain(each.name) for each in there if each.name != "Default"]
        raise NotTracked(
            f"there is no experiment '{name}' at {shown(address)}{did_you_mean(name, known)} "
            f"(there: {', '.join(sorted(known)) or 'none'})"
        )
    chosen = _choose(_folders(client, found.experiment_id), name, address, folder)
    told = carried.read(_text(client, chosen, carried.FILE, place), name)
    parts = {
        part: carried.read(_text(client, chosen, f"{part}/{carried.FILE}", place), part)
        for part in told.parts
    } or {name: told}
    carried.fit(told, parts)
    runs = {
        run.data.tags.get(CELL, ""): run
        for run in _search(
            client,
            found.experiment_id,
            f"tags.{ROLE} = 'cell' and tags.`{PARENT}` = '{chosen.parent}'",
        )
    }
    values: dict[str, dict[str, float]] = {}
    lost: dict[str, str] = {}
    for cell in told.runs:
        scores, reason = _scores(told, cell, runs.get(cell))
        if reason:
            lost[cell] = reason
        else:
            values[cell] = scores
    kept = Kept(client, {cell: runs[cell] for cell in values}, place)
    return Tracked(chosen, told, parts, values, lost, kept)


def _scores(told: Carried, cell: str, run: Run | None) -> tuple[dict[str, float], str]:
    """A run's scores, or why they are not those that were collected."""
    collected = told.runs[cell]
    if run is None:
        return {}, GONE
    if run.data.tags.get(COMPLETE) != LAYOUT:
        return {}, "its run in the tracking store is not whole"
    if run.data.tags.get(ATTEMPT) != collected["run"]:
        return {}, "its run in the tracking store is another one than was collected"
    names = [score["metric"] for score in collected["scores"]]
    values = {each: run.data.metrics[each] for each in names if each in run.data.metrics}
    if carried.digest(cell, collected["run"], values) != collected["digest"]:
        return (
            {},
            "its scores in the tracking store are not those that were collected (`harness collect` writes them again)",
        )
    if not carried.is_whole(values, collected["scores"]):
        return {}, "a score of it in the tracking store is missing, or is no number that it can be"
    return values, ""


def _folders(client: MlflowClient, experiment: str) -> list[Folder]:
    return [
        Folder(
            id=plain(run.data.tags.get(FOLDER, "")),
            name=plain(run.data.tags.get(FOLDER_NAME, "unnamed")),
            parent=str(run.info.run_id),
        )
        for run in _search(client, experiment, f"tags.{ROLE} = 'parent'")
        if CONTENT in run.data.tags  # else its collector was killed
    ]


def _choose(folders: list[Folder], name: str, address: str, wanted: str) -> Folder:
    matching = [each for each in folders if each.id.startswith(wanted)] if wanted else folders
    matching = matching or [
        each for each in folders if wanted in (each.name, each.name.rpartition(":")[2])
    ]
    if len(matching) == 1:
        return matching[0]
    there = ", ".join(f"{each.id[:8]} ({each.name})" for each in matching or folders)
    if not folders:
        raise NotTracked(
            f"{name} at {shown(address)} was not collected to its end: `harness collect` it there"
        )
    if not matching:
        raise NotTracked(
            f"no work folder '{wanted}' collected {name} at {shown(address)} (those that did: {there})"
        )
    raise NotTracked(
        f"{len(matching)} work folders collected {name} at {shown(address)}: choose with --folder ({there})"
    )


def _search(client: MlflowClient, experiment: str, what: str) -> Iterator[Run]:
    token: str | None = None
    for _ in range(MOST_PAGES):
        ask = partial(client.search_runs, [experiment], what, ViewType.ACTIVE_ONLY, PAGE)
        page = _ask(partial(ask, page_token=token))
        yield from page
        token = page.token
        if not token:
            return
    raise _Unanswered(f"it has more than {MOST_PAGES:,} pages of runs")


def _text(client: MlflowClient, chosen: Folder, name: str, place: Path) -> str:
    try:
        content = _content(_fetch(client, chosen.parent, name, place / "parent"))
        return content.decode()
    except (OSError, ValueError, _Unanswered) as error:
        raise NotTracked(
            f"{name} of the parent run of {chosen.name} cannot be read ({plain(first_line(error))}): `harness collect` it again"
        ) from error
