"""The one door to MLflow: accepted results go in, each exactly once, by one writer with bulk calls.

The store is a gathering of facts that lie elsewhere: it can be deleted and is rebuilt. Writing is idempotent: a run is
found by its cell and attempt, its points carry the times at which they were made, so that writing them again adds nothing.
"""

import logging
import socket
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from harness import entry, own_artifacts, runs_in_database
from harness.entry import Entry, Found, Point
from harness.result import Result
from harness.runs_by_client import RunsByClient
from harness.shown import Line
from harness.uri import artifacts_beside, connected, first_line, own, uri
from harness.workdir import Workdir
from tasks.cell import Cell

# Creating tables is no news to who watches a run.
logging.getLogger("mlflow").setLevel(logging.WARNING)

CELL, ATTEMPT, ROLE, COMPLETE, CONTENT = "cell", "attempt", "role", "complete", "content"
FOLDER = "work_folder"
"""Tag of the work folder that a run came from: several may share a server, and each touches its own runs alone."""
FOLDER_NAME = "work_folder_name"
"""Tag of what people call that folder: host:name."""
ENCODER = "encoder_model"
"""Tag of a pretraining run: the id of its encoder as an MLflow model, or why there is none."""
LAYOUT = "2"
"""Of a run that is whole, the value of its tag `complete`; one that an earlier version of this file wrote is written anew."""
PARENT, DESCRIPTION = "mlflow.parentRunId", "mlflow.note.content"
COLOUR, GREY = "mlflow.runColor", "#7f7f7f"
"""Where the UI keeps the colour that a person gives a run, as its own choice is alike for some; and that of a parent."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""The UI then shows runs and charts instead of its pages for language models."""
TOGETHER = 200
"""Results that are written at once: what they hold in memory at a time, and what is lost of them with a collector."""


class _Known(NamedTuple):
    """A run that is in the store."""

    id: str
    parent: str
    layout: str
    """How it was written; empty if it is not whole."""
    encoder: str = ""


class Runs(Protocol):
    """The runs of an MLflow experiment, however they are written and read."""

    def having(self, tag: str, value: str, wanted: Collection[str]) -> Iterator[Found]:
        """Runs that are not deleted and have a tag of this value, newest first, with those of the wanted tags that they have."""

    def values(self, runs: Sequence[str], names: Collection[str]) -> dict[str, dict[str, float]]:
        """Newest values of metrics, by run."""

    def write(self, entries: Sequence[Entry]) -> list[str]:
        """Create whole runs; returns their ids."""

    def tag(self, runs: Iterable[str], tags: Mapping[str, str]) -> None:
        """Give runs these tags, in place of others of the same names."""

    def untag(self, runs: Iterable[str], name: str) -> None:
        """Take a tag from runs that have it."""


class Store:
    """The MLflow experiment of one of our experiments."""

    def __init__(self, workdir: Workdir, name: str, address: str = "") -> None:
        """Open the store, and create what is missing.

        Args:
            workdir: where the results lie.
            name: of the experiment.
            address: of the store, as `harness.uri.checked` gives it; empty for the work folder's usual one.

        Raises:
            mlflow.exceptions.MlflowException: when the store cannot be reached or read.
        """
        place = connected(address or uri(workdir))
        artifacts = artifacts_beside(place)
        if artifacts is not None:
            artifacts.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(place)
        self._name = name
        self._folder, *copied_from = workdir.identities()
        self._folder_name = f"{socket.gethostname()}:{workdir.root.resolve().name}"
        # Where several folders meet, a parent's name says whose it is.
        self._title = name if place == own(workdir) else f"{name} · {self._folder_name}"
        found = self._client.get_experiment_by_name(name)
        if found is None:
            place_of_files = artifacts.as_uri() if artifacts else None
            found = self._client.get_experiment(
                self._client.create_experiment(name, place_of_files, tags=KIND)
            )
        elif found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        if artifacts and place == own(workdir):
            own_artifacts.bring_along(place, found, artifacts.as_uri())
            found = self._client.get_experiment(found.experiment_id)
        self._id = str(found.experiment_id)
        self._by_client = RunsByClient(self._client, self._id)
        self._all: Runs = runs_in_database.of_store(place, found) or self._by_client
        self._runs: dict[str, dict[str, _Known]] = {}
        """Runs of cells, by key and attempt."""
        self._parent: Run | None = None
        self._lines: list[tuple[str, str]] = []
        """Id and content of the runs of lines; the content is empty if one is not whole."""
        if place == own(workdir):  # a copy of the folder has a copy of its store: that is its own
            self._take_over(copied_from)
        self._read()

    def _take_over(self, folders: Iterable[str]) -> None:
        """Make runs of other work folders this one's."""
        for folder in folders:
            runs = [run.id for run in self._all.having(FOLDER, folder, ())]
            self._all.tag(runs, {FOLDER: self._folder, FOLDER_NAME: self._folder_name})

    def _read(self) -> None:
        """Note which runs of this folder there are."""
        wanted = (CELL, ATTEMPT, ROLE, PARENT, COMPLETE, ENCODER, CONTENT)
        parents = []
        for run_id, tags in self._all.having(FOLDER, self._folder, wanted):
            if tags.get(ROLE) == "parent":
                parents.append(run_id)
            elif tags.get(ROLE) == "curve":
                self._lines.append((run_id, tags.get(CONTENT, "")))
            elif CELL in tags:
                parent = sys.intern(tags.get(PARENT, ""))
                self._runs.setdefault(tags[CELL], {})[tags.get(ATTEMPT, "")] = _Known(
                    run_id, parent, sys.intern(tags.get(COMPLETE, "")), tags.get(ENCODER, "")
                )
        for run_id in parents[1:]:  # one that a killed collector left
            self._client.delete_run(run_id)
        self._parent = self._client.get_run(parents[0]) if parents else None

    def open_parent(self, title: str) -> str:
        """The run that the cells' runs are children of; created before the first of them."""
        if self._parent is None:
            return self._new_parent(title)
        return str(self._parent.info.run_id)

    def _new_parent(self, title: str, instead_of: str = "") -> str:
        tags = {
            ROLE: "parent",
            FOLDER: self._folder,
            FOLDER_NAME: self._folder_name,
            "mlflow.runName": self._title,
            DESCRIPTION: title,
            COLOUR: GREY,
        }
        self._parent = self._client.create_run(self._id, tags=tags, run_name=self._title)
        if instead_of:
            known = [(key, attempt) for key, runs in self._runs.items() for attempt in runs]
            self._adopt(known, str(self._parent.info.run_id))
            self._client.delete_run(instead_of)
        return str(self._parent.info.run_id)

    def put(self, results: Iterable[tuple[Cell, Result]], parent: str) -> None:
        """Write accepted results, unless they are there; other attempts at their cells, and what somebody edited, are removed.

        Args:
            results: of cells that differ, each with what answers it; taken as they are written.
            parent: id of the run that theirs are children of.
        """
        rest = iter(results)
        while some := list(islice(rest, TOGETHER)):
            self._put_some(some, parent)

    def _put_some(self, some: Sequence[tuple[Cell, Result]], parent: str) -> None:
        self._remove_others(some)
        new: list[tuple[str, str, Entry]] = []
        moved: list[tuple[str, str]] = []
        for cell, found in some:
            known = self._runs.setdefault(cell.key, {}).get(found.attempt)
            if known is not None and known.layout == LAYOUT:
                if known.parent != parent:
                    moved.append((cell.key, found.attempt))
                continue
            whole = self._entry(cell, found, parent)
            if known is None:
                new.append((cell.key, found.attempt, whole))
            else:  # a collector was killed while it wrote it
                self._by_client.fill(known.id, whole)
                self._runs[cell.key][found.attempt] = _Known(known.id, parent, LAYOUT)
        self._adopt(moved, parent)
        ids = self._all.write([whole for *_, whole in new])
        for run_id, (key, attempt, _) in zip(ids, new, strict=True):
            self._runs[key][attempt] = _Known(run_id, parent, LAYOUT)

    def _entry(self, cell: Cell, found: Result, parent: str) -> Entry:
        tags = {
            CELL: cell.key,
            ATTEMPT: found.attempt,
            ROLE: "cell",
            FOLDER: self._folder,
            FOLDER_NAME: self._folder_name,
            PARENT: parent,
        }
        return entry.of_cell(
            cell, found, folder=self._folder, tags=tags, closing={COMPLETE: LAYOUT}
        )

    def _remove_others(self, some: Sequence[tuple[Cell, Result]]) -> None:
        """Remove runs of other attempts at these cells, and those whose scores are not those of the results any more."""
        whole = [
            run.id
            for cell, _ in some
            for run in self._runs.get(cell.key, {}).values()
            if run.layout == LAYOUT
        ]
        names = {score["metric"] for _, found in some for score in found.scores}
        values = self._all.values(whole, names)
        for cell, found in some:
            runs = self._runs.get(cell.key, {})
            for attempt, run in list(runs.items()):
                is_good = run.layout == LAYOUT and all(
                    values[run.id].get(score["metric"]) == score["value"] for score in found.scores
                )
                if attempt != found.attempt or (run.layout and not is_good):
                    self._delete(run)
                    del runs[attempt]

    def put_encoder(self, cell: Cell, found: Result) -> None:
        """Keep the encoder of a pretraining run that is in the store as an MLflow model; once, or the reason why it cannot be."""
        known = self._runs[cell.key][found.attempt]
        if known.encoder:
            return
        from harness import encoder_model  # torch: only here

        told = encoder_model.log(self._client, self._id, known.id, cell, found)
        self._client.set_tag(known.id, ENCODER, told)
        self._runs[cell.key][found.attempt] = known._replace(encoder=told)

    def _delete(self, known: _Known) -> None:
        if known.encoder.startswith("m-"):
            self._client.delete_logged_model(known.encoder)
        self._client.delete_run(known.id)

    def _adopt(self, runs: Sequence[tuple[str, str]], parent: str) -> None:
        """Put runs, by cell and attempt, under another parent."""
        ids = [self._runs[key][attempt].id for key, attempt in runs]
        self._all.tag(ids, {PARENT: parent, ROLE: "cell"})
        for key, attempt in runs:
            self._runs[key][attempt] = self._runs[key][attempt]._replace(parent=parent)

    def close_parent(
        self,
        title: str,
        curves: Mapping[str, list[tuple[int, float]]],
        artifacts: Mapping[str, Path],
        texts: Mapping[str, str],
        content: str,
    ) -> None:
        """Write the experiment's curves, figures and tables to the parent run.

        Args:
            title: the experiment's title.
            curves: (step, value) points by metric name.
            artifacts: files to keep with it, by name; "FOLDER/FILE" is kept in a folder.
            texts: the same, as text.
            content: identifies what the curves were drawn from; if it changed, a new parent takes the children over,
                since points of a metric cannot be taken back.
        """
        parent = self.open_parent(title)
        assert self._parent is not None
        if self._parent.data.tags.get(CONTENT) == content:
            return
        # Metrics without the mark: a collector was killed between the two.
        if CONTENT in self._parent.data.tags or self._parent.data.metrics:
            parent = self._new_parent(title, instead_of=parent)
        now = int(1000 * datetime.now().astimezone().timestamp())
        self._by_client.log(
            parent,
            [
                Point(name, value, now, step)
                for name, points in curves.items()
                for step, value in points
            ],
        )
        for name, path in artifacts.items():
            self._client.log_artifact(parent, str(path), name.rpartition("/")[0] or None)
        for name, text in texts.items():
            self._client.log_text(parent, text, name)
        self._client.set_tag(parent, CONTENT, content)
        self._client.set_terminated(parent, status="FINISHED")

    def put_lines(self, lines: Iterable[Line]) -> None:
        """Write each line of the figures as a run beside the parent, so that charts show them together without a click.

        A line that is there is left alone; those that are no longer drawn, or drawn otherwise, are removed.
        """
        assert self._parent is not None
        wanted = {line.digest(): line for line in lines}
        there: dict[str, str] = {}
        for run_id, content in self._lines:
            if content in wanted and content not in there:
                there[content] = run_id
            else:
                self._client.delete_run(run_id)
        # The table's order is the newest first: the parent, then its lines as the figure has them.
        begun = int(self._parent.info.start_time)
        for place, (content, line) in enumerate(wanted.items(), start=1):
            if content in there:
                continue
            tags = {ROLE: "curve", FOLDER: self._folder, FOLDER_NAME: self._folder_name}
            tags["method"] = line.method
            tags |= {COLOUR: line.colour} | ({"part": line.part} if line.part else {})
            shared = self._title != self._name
            whose = f" and tags.{FOLDER_NAME} = '{self._folder_name}'" if shared else ""
            made = self._client.create_run(
                self._id,
                start_time=begun - place,
                tags={**tags, DESCRIPTION: f"{line.words}{whose}."},
                run_name=line.name + self._title.removeprefix(self._name),
            )
            run_id = str(made.info.run_id)
            points = [
                Point(name, value, begun, step)
                for name, drawn in line.points.items()
                for step, value in drawn
            ]
            self._by_client.log(run_id, points, {"method": line.method, "dataset": line.dataset})
            self._client.set_terminated(run_id, status="FINISHED", end_time=begun - place)
            self._client.set_tag(run_id, CONTENT, content)
            there[content] = run_id
        self._lines = [(run_id, content) for content, run_id in there.items()]

    def describe(self, title: str, text: str) -> None:
        """Write what the list of experiments says, unless it says something, and what the parent's page says first."""
        assert self._parent is not None
        tags = self._parent.data.tags
        if tags.get(DESCRIPTION) != text:
            self._client.set_tag(str(self._parent.info.run_id), DESCRIPTION, text)
        if DESCRIPTION not in self._client.get_experiment(self._id).tags:
            self._client.set_experiment_tag(self._id, DESCRIPTION, title)

    def forget_all_but(self, keys: Iterable[str]) -> None:
        """Remove runs of cells that this experiment no longer has from under its parent, and from among its cells.

        They stay as what they are, runs of other knobs, with another role: filters and groups do not mix them with the others.
        """
        wanted = set(keys)
        others = [key for key in self._runs if key not in wanted]
        former = [run.id for key in others for run in self._runs.pop(key).values() if run.parent]
        self._all.untag(former, PARENT)
        self._all.tag(former, {ROLE: "former cell"})


def reachable(workdir: Workdir) -> str:
    """Ask the store for its experiments.

    Returns:
        What went wrong in one line, or nothing.
    """
    try:
        MlflowClient(connected(uri(workdir))).search_experiments(max_results=1)
    except Exception as error:  # noqa: BLE001 - whatever a store can answer, a person wants it in one line
        return f"{type(error).__name__}: {first_line(error)}"
    return ""
