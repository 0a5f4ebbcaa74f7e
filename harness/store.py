"""The one door to MLflow: accepted results go in, each exactly once, by one writer with bulk calls.

The store is a gathering of facts that lie elsewhere: it can be deleted and is rebuilt. Writing is idempotent: a run is
found by its cell and attempt, its points carry the times at which they were made, so that writing them again adds nothing.
"""

import socket
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path

from mlflow.entities import Experiment, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from harness import (
    entry,
    line_runs,
    own_artifacts,
    runs_by_client,
    runs_in_database,
    whole_database,
)
from harness.entry import Entry, Point
from harness.kept_runs import (
    ATTEMPT,
    CELL,
    COMPLETE,
    CONTENT,
    ENCODER,
    LAYOUT,
    PARENT,
    ROLE,
    WANTED,
    Known,
    Runs,
    sorted_out,
)
from harness.line_runs import COLOUR, DESCRIPTION
from harness.result import Result
from harness.runs_by_client import RunsByClient
from harness.shown import Line
from harness.uri import artifacts_beside, connected, database_of, first_line, own, uri
from harness.workdir import Workdir
from tasks.cell import Cell

FOLDER = "work_folder"
"""Tag of the work folder that a run came from: several may share a server, and each touches its own runs alone."""
FOLDER_NAME = "work_folder_name"
"""Tag of what people call that folder: host:name."""
GREY = "#7f7f7f"
"""Colour of a parent."""
KIND = {"mlflow.experimentKind": "custom_model_development"}
"""The UI then shows runs and charts instead of its pages for language models."""
TOGETHER = 200
"""Results that are written at once: what they hold in memory at a time, and what is lost of them with a collector."""


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
            whole_database.ready(place, is_own=place == own(workdir))
        else:
            runs_by_client.knock(place)
        self._client = MlflowClient(place)
        self._name = name
        self._folder, *copied_from = workdir.identities()
        self._folder_name = f"{socket.gethostname()}:{workdir.root.resolve().name}"
        # Where several folders meet, a parent's name says whose it is.
        self._title = name if place == own(workdir) else f"{name} · {self._folder_name}"
        found = self._client.get_experiment_by_name(name)
        if found is None:
            found = self._new_experiment(artifacts.as_uri() if artifacts else None)
        elif found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        if artifacts and place == own(workdir):
            own_artifacts.bring_along(place, found, artifacts.as_uri())
            found = self._client.get_experiment(found.experiment_id)
        self._id = str(found.experiment_id)
        self._by_client = RunsByClient(self._client, self._id)
        self._all: Runs = runs_in_database.of_store(place, found) or self._by_client
        self._runs: dict[str, dict[str, Known]] = {}
        self._parent: Run | None = None
        self._lines: list[tuple[str, str]] = []
        if place == own(workdir):  # a copy of the folder has a copy of its store: that is its own
            self._take_over(copied_from)
        self._read()

    def _new_experiment(self, artifacts: str | None) -> Experiment:
        try:
            made = self._client.create_experiment(self._name, artifacts, tags=KIND)
        except MlflowException as error:
            # The call was sent twice, or another work folder was faster.
            found = self._client.get_experiment_by_name(self._name)
            if found is None or error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return found
        return self._client.get_experiment(made)

    def _take_over(self, folders: Iterable[str]) -> None:
        """Make runs of other work folders this one's."""
        for folder in folders:
            runs = [run.id for run in self._all.having(FOLDER, folder, ())]
            self._all.tag(runs, {FOLDER: self._folder, FOLDER_NAME: self._folder_name})

    def _read(self) -> None:
        """Note which runs of this folder there are, and remove those that are there twice."""
        kept = sorted_out(self._all.having(FOLDER, self._folder, WANTED))
        self._runs, self._lines = kept.runs, kept.lines
        for run in kept.spare:
            self._delete(run)
        for run_id, _ in kept.parents[1:]:  # one that a killed collector left, too
            self._by_client.delete(run_id)
        self._parent = self._client.get_run(kept.parents[0][0]) if kept.parents else None

    def settle(self, keys: Iterable[str]) -> None:
        """Look whether a server has all that it was given, once: remove what a call that was sent twice made twice.

        Args:
            keys: of cells whose runs have to be there.

        Raises:
            mlflow.exceptions.MlflowException: when one is not there, or not whole.
        """
        if self._all is not self._by_client:
            return  # written in one transaction
        self._read()
        seen: set[str] = set()
        for run_id, content in self._lines:
            if not content or content in seen:
                self._by_client.delete(run_id)
            seen.add(content)
        whole = {
            key: attempt
            for key, attempts in self._runs.items()
            for attempt, run in attempts.items()
            if run.layout == LAYOUT
        }
        wanted = list(keys)
        lost = [key for key in wanted if key not in whole]
        if lost or self._parent is None:
            raise MlflowException(
                f"{len(lost)} runs that the server said it wrote are not there: collect again"
            )
        parent = str(self._parent.info.run_id)
        there = [(key, whole[key]) for key in wanted]
        self._adopt([each for each in there if self._known(*each).parent != parent], parent)

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
            self._by_client.delete(instead_of)
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
                self._runs[cell.key][found.attempt] = Known(known.id, parent, LAYOUT)
        self._adopt(moved, parent)
        ids = self._all.write([whole for *_, whole in new])
        for run_id, (key, attempt, _) in zip(ids, new, strict=True):
            self._runs[key][attempt] = Known(run_id, parent, LAYOUT)

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

    def _delete(self, known: Known) -> None:
        if known.encoder.startswith("m-"):
            runs_by_client.done_already(self._client.delete_logged_model, known.encoder)
        self._by_client.delete(known.id)

    def _known(self, key: str, attempt: str) -> Known:
        return self._runs[key][attempt]

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
        shared = self._title != self._name
        made = line_runs.put(
            lines,
            self._lines,
            self._by_client,
            begun_ms=int(self._parent.info.start_time),
            tags={FOLDER: self._folder, FOLDER_NAME: self._folder_name},
            suffix=self._title.removeprefix(self._name),
            whose=f" and tags.{FOLDER_NAME} = '{self._folder_name}'" if shared else "",
        )
        self._lines = [(run_id, content) for content, run_id in made.items()]

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
        place = connected(uri(workdir))
        database = database_of(place)
        wrong = whole_database.what_is_wrong(database) if database else ""
        if wrong:
            return f"{wrong}: `harness collect` sets a work folder's own aside and builds it again"
        if not database:
            runs_by_client.knock(place)
        MlflowClient(place).search_experiments(max_results=1)
    except Exception as error:  # noqa: BLE001 - whatever a store can answer, a person wants it in one line
        return f"{type(error).__name__}: {first_line(error)}"
    return ""
