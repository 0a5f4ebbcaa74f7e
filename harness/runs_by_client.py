"""Runs written one by one with MLflow's client: for every store it knows, a tracking server above all.

A run of a result takes a call to create it, one for its datasets, one a file, one that ends it, and one or more for numbers,
params and tags together. What says that it is whole goes with the last call, so that one that was cut short can be told.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.tracking import MlflowClient

from harness.entry import Entry, Found, Point
from harness.facts import SOURCE_TYPE, Seen

BATCH, PARAMS = 800, 100
"""Metrics and params in one call: MLflow takes 1000 things of all kinds, and of params 100."""
PAGE = 1000
"""Runs in one answer."""


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
            made = self._client.create_run(
                self._experiment,
                start_time=entry.start_ms,
                tags=dict(entry.tags),
                run_name=entry.name,
            )
            ids.append(str(made.info.run_id))
            self.fill(ids[-1], entry)
        return ids

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
            self._client.delete_tag(run, name)


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
