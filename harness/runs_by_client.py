"""Runs written one by one with MLflow's client: for every store it knows, a tracking server above all.

A run of a result takes a call to create it, one for its datasets, one a file, one that ends it, and one or more for numbers,
params and tags together. What says that it is whole goes with the last call, so that one that was cut short can be told.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.environment_variables import (
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT,
)
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from harness.entry import Entry, Found, Point
from harness.facts import SOURCE_TYPE, Seen

BATCH, PARAMS = 800, 100
"""Metrics and params in one call: MLflow takes 1000 things of all kinds, and of params 100."""
PAGE = 1000
"""Runs in one answer."""
KNOCKS, KNOCK_S = 3, 20
"""How often, and for how many seconds each, a server is waited for before anything is sent to it."""
GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow says to who deletes what is deleted: the second to runs."""


class RunsByClient:
    """The runs of an MLflow experiment."""

    def __init__(self, client: MlflowClient, experiment: str) -> None:
        """Speak through a client of the experiment with this id."""
        self._client, self._experiment = client, experiment
        self._values: dict[str, Mapping[str, float]] = {}
        """Newest values of metrics by run: an answer has them beside the tags."""

    def having(self, tag: str, value: str, wanted: Collection[str]) -> Iterator[Found]:
        """Runs that are not deleted and have a tag of this value, newest first, with those of the wanted tags that they have."""
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                f"tags.{tag} = '{value}'",
                run_view_type=ViewType.ACTIVE_ONLY,
                max_results=PAGE,
                page_token=token,
            )
            for run in page:
                yield self._noted(run, wanted)
            token = page.token
            if not token:
                return

    def _noted(self, run: Run, wanted: Collection[str]) -> Found:
        run_id, tags = str(run.info.run_id), run.data.tags
        self._values[run_id] = run.data.metrics
        return Found(run_id, {name: tags[name] for name in wanted if name in tags})

    def values(self, runs: Sequence[str], names: Collection[str]) -> dict[str, dict[str, float]]:
        """Newest values of metrics, by run; of runs that `having` found or `fill` wrote, as they were then."""
        return {
            run: {name: value for name, value in self._values.get(run, {}).items() if name in names}
            for run in runs
        }

    def write(self, entries: Sequence[Entry]) -> list[str]:
        """Create runs; returns their ids."""
        ids = []
        for entry in entries:
            ids.append(self.create(entry.name, entry.start_ms, entry.tags))
            self.fill(ids[-1], entry)
        return ids

    def create(self, name: str, start_ms: int, tags: Mapping[str, str]) -> str:
        """Create a run; returns its id."""
        made = self._client.create_run(
            self._experiment, start_time=start_ms, tags=dict(tags), run_name=name
        )
        return str(made.info.run_id)

    def close(self, run: str, end_ms: int, tags: Mapping[str, str]) -> None:
        """End a run, and then give it tags that say that it is whole."""
        self._client.set_terminated(run, status="FINISHED", end_time=end_ms)
        for name, value in tags.items():
            self._client.set_tag(run, name, value)

    def fill(self, run: str, entry: Entry) -> None:
        """Write all of a run that exists; what of it is there already is not written twice."""
        self._client.log_inputs(run, [_input(seen) for seen in entry.datasets])
        for path in entry.files:
            self._client.log_artifact(run, str(path))
        self._client.set_terminated(run, status="FINISHED", end_time=entry.end_ms)
        self.log(run, entry.points, entry.params, entry.closing)
        in_order = sorted(entry.points, key=lambda each: (each.step, each.time_ms, each.value))
        self._values[run] = {each.name: each.value for each in in_order}

    def log(
        self,
        run: str,
        points: Sequence[Point],
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Write all in as few calls as MLflow's limits allow, what fits in the last of them together with the tags."""
        metrics = [Metric(*each) for each in points]
        for start in range(BATCH, len(metrics), BATCH):
            self._client.log_batch(run, metrics=metrics[start : start + BATCH])
        listed = [Param(name, value) for name, value in (params or {}).items()]
        for start in range(PARAMS, len(listed), PARAMS):
            self._client.log_batch(run, params=listed[start : start + PARAMS])
        self._client.log_batch(
            run, metrics=metrics[:BATCH], params=listed[:PARAMS], tags=_tags(tags or {})
        )

    def tag(self, runs: Iterable[str], tags: Mapping[str, str]) -> None:
        """Give runs these tags, in place of others of the same names."""
        for run in runs:
            self._client.log_batch(run, tags=_tags(tags))

    def untag(self, runs: Iterable[str], name: str) -> None:
        """Take a tag from runs that have it."""
        for run in runs:
            done_already(self._client.delete_tag, run, name)

    def delete(self, run: str) -> None:
        """Delete a run, unless it is deleted."""
        done_already(self._client.delete_run, run)


def knock(server: str) -> None:
    """Wait for any answer of a server, for no longer than about a minute: it may be down, or take calls and answer none.

    To what is no server of HTTP, such as a database's own, MLflow knows how to speak, and nobody else.

    Raises:
        MlflowException: when there is none.
    """
    if not server.startswith(("http://", "https://")):
        return
    http_request(  # type: ignore[no-untyped-call]
        get_default_host_creds(server),  # type: ignore[no-untyped-call]
        "/api/2.0/mlflow/experiments/search",
        "GET",
        params={"max_results": 1},
        timeout=min(KNOCK_S, int(MLFLOW_HTTP_REQUEST_TIMEOUT.get())),  # type: ignore[no-untyped-call]
        max_retries=min(KNOCKS - 1, int(MLFLOW_HTTP_REQUEST_MAX_RETRIES.get())),  # type: ignore[no-untyped-call]
        raise_on_status=False,
    )


def done_already(call: Callable[..., object], *told: str) -> None:
    """Take something away; a call that was sent twice finds the second time that there is nothing left to do.

    Raises:
        MlflowException: when it failed for another reason.
    """
    try:
        call(*told)
    except MlflowException as error:
        if error.error_code not in GONE:
            raise


def _tags(tags: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(name, value) for name, value in tags.items()]


def _input(seen: Seen) -> DatasetInput:
    return DatasetInput(
        Dataset(
            name=seen.name,
            digest=seen.digest,
            source_type=SOURCE_TYPE,
            source=seen.source(),
            profile=seen.profile(),
        ),
        tags=[InputTag("mlflow.data.context", seen.context)],
    )
