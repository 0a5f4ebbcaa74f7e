"""The one door to MLflow: accepted results go in, each exactly once, by one writer with bulk calls.

The store is a gathering of facts that lie elsewhere: it can be deleted and is rebuilt. Writing is idempotent: a run is
found by its cell and attempt, its points carry the times at which they were made, so that writing them again adds nothing.
"""

import json
import logging
import socket
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.tracking import MlflowClient

from harness import facts, result
from harness.result import Result
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
BATCH, PARAMS = 800, 100
"""Metrics and params in one call: MLflow takes 1000 things of all kinds, and of params 100."""


class _Known(NamedTuple):
    """A run that is in the store."""

    id: str
    parent: str
    layout: str
    """How it was written; empty if it is not whole."""
    encoder: str = ""
    values: Mapping[str, float] = MappingProxyType({})
    """Newest values of its metrics."""

    def states(self, found: Result) -> bool:
        """Whether its scores are those of a result; they are not after somebody has edited them."""
        return all(self.values.get(score["metric"]) == score["value"] for score in found.scores)


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
            self._id = self._client.create_experiment(
                name, artifacts.as_uri() if artifacts else None, tags=KIND
            )
        else:
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            self._id = str(found.experiment_id)
        self._runs: dict[tuple[str, str], _Known] = {}
        self._parent: Run | None = None
        self._lines: list[tuple[str, str]] = []
        """Id and content of the runs of lines; the content is empty if one is not whole."""
        if place == own(workdir):  # a copy of the folder has a copy of its store: that is its own
            self._take_over(copied_from)
        for run in list(self._runs_of(self._folder)):
            if run.data.tags.get(ROLE) == "parent":
                if self._parent is not None:  # one that a killed collector left
                    self._client.delete_run(run.info.run_id)
                    continue
                self._parent = run
            elif run.data.tags.get(ROLE) == "curve":
                self._lines.append((str(run.info.run_id), run.data.tags.get(CONTENT, "")))
            elif CELL in run.data.tags:
                run_tags = run.data.tags
                known = _Known(
                    str(run.info.run_id),
                    run_tags.get(PARENT, ""),
                    run_tags.get(COMPLETE, ""),
                    run_tags.get(ENCODER, ""),
                    run.data.metrics,
                )
                self._runs[run_tags[CELL], run_tags.get(ATTEMPT, "")] = known

    def _take_over(self, folders: Iterable[str]) -> None:
        """Make runs of other work folders this one's."""
        mine = [RunTag(FOLDER, self._folder), RunTag(FOLDER_NAME, self._folder_name)]
        for folder in folders:
            for run in list(self._runs_of(folder)):
                self._client.log_batch(str(run.info.run_id), tags=mine)

    def _runs_of(self, folder: str) -> Iterable[Run]:
        token = None
        while True:
            page = self._client.search_runs(
                [self._id],
                f"tags.{FOLDER} = '{folder}'",
                run_view_type=ViewType.ACTIVE_ONLY,
                max_results=1000,
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

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
            for key, attempt in self._runs:
                self._adopt(key, attempt, str(self._parent.info.run_id))
            self._client.delete_run(instead_of)
        return str(self._parent.info.run_id)

    def put(self, cell: Cell, found: Result, parent: str) -> None:
        """Write one accepted result, unless it is there; other attempts at the cell, and what somebody edited, are removed."""
        for (key, attempt), other in list(self._runs.items()):
            if key != cell.key:
                continue
            is_whole = other.layout == LAYOUT and other.states(found)
            if attempt != found.attempt or (other.layout and not is_whole):
                self._delete(other)
                del self._runs[key, attempt]
        known = self._runs.get((cell.key, found.attempt))
        if known is not None and known.layout == LAYOUT:
            if known.parent != parent:
                self._adopt(cell.key, found.attempt, parent)
            return
        body = found.body
        start, end = (_milliseconds(body[name]) for name in ("started", "ended"))
        tags = {
            CELL: cell.key,
            ATTEMPT: found.attempt,
            ROLE: "cell",
            FOLDER: self._folder,
            FOLDER_NAME: self._folder_name,
            PARENT: parent,
            "task": body["task"],
            "method": cell.label or "(needed by others)",
            **facts.tags(found),
        }
        if known is not None:
            run_id = known.id
        else:
            made = self._client.create_run(
                self._id, start_time=start, tags=tags, run_name=_run_name(cell)
            )
            run_id = str(made.info.run_id)
        # The UI draws metrics over steps, and means of groups likewise: Group by method gives the figure.
        labels = round(float(str(cell.task.values().get("labels_per_class", 0))))
        metrics = [Metric(score["metric"], score["value"], end, labels) for score in body["scores"]]
        metrics += [Metric(name, value, end, 0) for name, value in facts.usage(found).items()]
        history = body["history"]
        for name in ("loss", "learning_rate"):
            points = zip(history[name], history["time"], history["step"], strict=True)
            metrics += [
                Metric(f"train/{name}", value, int(1000 * when), int(step))
                for value, when, step in points
            ]
        self._client.log_inputs(run_id, _inputs(found))
        for path in (
            found.cell_folder / result.NAME,
            *(found.folder / each for each in body["files"]),
        ):
            self._client.log_artifact(run_id, str(path))
        self._client.set_terminated(run_id, status="FINISHED", end_time=end)
        # What says that the run is whole goes with the last call.
        self._log(run_id, metrics, facts.params(cell, found), {COMPLETE: LAYOUT})
        written = {score["metric"]: score["value"] for score in found.scores}
        self._runs[cell.key, found.attempt] = _Known(run_id, parent, LAYOUT, values=written)

    def put_encoder(self, cell: Cell, found: Result) -> None:
        """Keep the encoder of a pretraining run that is in the store as an MLflow model; once, or the reason why it cannot be."""
        known = self._runs[cell.key, found.attempt]
        if known.encoder:
            return
        from harness import encoder_model  # torch: only here

        told = encoder_model.log(self._client, self._id, known.id, cell, found)
        self._client.set_tag(known.id, ENCODER, told)
        self._runs[cell.key, found.attempt] = known._replace(encoder=told)

    def _delete(self, known: _Known) -> None:
        if known.encoder.startswith("m-"):
            self._client.delete_logged_model(known.encoder)
        self._client.delete_run(known.id)

    def _adopt(self, key: str, attempt: str, parent: str) -> None:
        known = self._runs[key, attempt]
        tags = [RunTag(PARENT, parent), RunTag(ROLE, "cell")]
        self._client.log_batch(known.id, tags=tags)
        self._runs[key, attempt] = known._replace(parent=parent)

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
        self._log(
            parent,
            [
                Metric(name, value, now, step)
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
                Metric(name, value, begun, step)
                for name, drawn in line.points.items()
                for step, value in drawn
            ]
            self._log(run_id, points, {"method": line.method, "dataset": line.dataset})
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
        for (key, attempt), known in list(self._runs.items()):
            if key not in wanted:
                if known.parent:
                    self._client.delete_tag(known.id, PARENT)
                    self._client.set_tag(known.id, ROLE, "former cell")
                del self._runs[key, attempt]

    def _log(
        self,
        run_id: str,
        metrics: list[Metric],
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write all in as few calls as MLflow's limits allow, what fits in the last of them together with the tags."""
        for start in range(BATCH, len(metrics), BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        listed = [Param(name, value) for name, value in (params or {}).items()]
        for start in range(PARAMS, len(listed), PARAMS):
            self._client.log_batch(run_id, params=listed[start : start + PARAMS])
        self._client.log_batch(
            run_id,
            metrics=metrics[:BATCH],
            params=listed[:PARAMS],
            tags=[RunTag(name, value) for name, value in (tags or {}).items()],
        )


def _inputs(found: Result) -> list[DatasetInput]:
    return [
        DatasetInput(
            Dataset(
                name=seen.name,
                digest=seen.digest,
                source_type="code",
                source=json.dumps({"tags": seen.identity}, sort_keys=True),
                profile=json.dumps(seen.part, sort_keys=True),
            ),
            tags=[InputTag("mlflow.data.context", seen.context)],
        )
        for seen in facts.datasets(found)
    ]


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


def _run_name(cell: Cell) -> str:
    """What tells the runs of a method apart comes first: the UI's table shows little more than the beginning."""
    values = cell.task.values()
    method = cell.label or f"{type(cell.task).__name__} {values.get('model', '')}".strip()
    where = values.get("dataset", "")
    if "resample" in values:
        many = values["shots"] if values["shots"] == "all" else f"{values['shots']}/class"
        return f"{many} #{values['resample']} · split {values['split']} · {method} · {where}"
    return f"{method} · {where}" if where else method


def _milliseconds(when: str) -> int:
    return int(1000 * datetime.fromisoformat(when).timestamp())
