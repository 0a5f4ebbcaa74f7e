"""What a tracking server is told of a run beside its scores: params, tags, datasets, what it used; plain values.

All of it stands in the run's result: no dataset is opened for it. Names and lengths are those that MLflow takes.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from harness.files import sha256
from harness.result import Result
from tasks.cell import Cell

LONGEST_PARAM = 500
"""Characters; every MLflow takes so many. The whole value is in the result, which is among the run's artifacts."""
LONGEST_TAG = 5000
SOURCE_TYPE = "code"
"""Of datasets, in MLflow's terms: made or read by a program."""
DIGEST = 16
"""Hex digits of a dataset's digest; MLflow takes 36 characters."""


class Seen(NamedTuple):
    """A dataset that a run trained on or was tested on."""

    name: str
    digest: str
    """Says which: equal for runs that saw the same videos in the same form, other for all others."""
    context: str
    """training or evaluation."""
    identity: dict[str, str]
    """What it is: class, version, identities of index and percepts."""
    part: dict[str, Any]
    """Which part of it: side, split, shots, resample."""

    def source(self) -> str:
        """What it is, as JSON in the form that MLflow's pages read of such a source."""
        return json.dumps({"tags": self.identity}, sort_keys=True)

    def profile(self) -> str:
        """Which part of it, as JSON."""
        return json.dumps(self.part, sort_keys=True)


def name(text: str) -> str:
    """The text as a name of a metric or param: what MLflow does not allow is replaced."""
    return re.sub(r"[^\w\-. :/]+", "_", text, flags=re.ASCII)[:250]


def params(cell: Cell, found: Result) -> dict[str, str]:
    """Every value of the task, the seed, and under dotted names all that the cell's key is made of (the model's configuration)."""
    body = found.body
    values = {
        **body["values"],
        "method": cell.label,
        "task": body["task"],
        "seed": cell.seed,
    }
    for path, value in _flat(body["description"]["task"]):
        values.setdefault(path, value)
    return {name(each): _cut(value) for each, value in values.items()}


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_PARAM else f"{text[: LONGEST_PARAM - 1]}…"


def _flat(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The scalars of nested mappings by dotted name; a list stays one value, as JSON."""
    for each, inside in value.items():
        if isinstance(inside, Mapping):
            yield from _flat(inside, f"{before}{each}.")
        elif isinstance(inside, list):
            yield f"{before}{each}", json.dumps(inside)
        else:
            yield f"{before}{each}", inside


def tags(found: Result) -> dict[str, str]:
    """Where a run's numbers come from: code, machine, job, versions."""
    origin = found.body["provenance"]
    code, machine, job = origin["code"], origin["machine"], origin.get("job")
    told = {
        "mlflow.source.git.commit": code["commit"],
        "mlflow.source.name": f"harness run {str(origin['experiment']).rpartition('/')[2]}",
        "mlflow.source.type": "LOCAL",
        "dirty": code["dirty"],
        "host": machine["host"],
        "platform": machine["platform"],
        "device": origin["device"],
        **{f"version.{package}": version for package, version in origin["packages"].items()},
    }
    if job:
        told |= {"slurm_job": job["id"], "slurm_node": job["node"]}
    return {each: str(value)[:LONGEST_TAG] for each, value in told.items() if value is not None}


def usage(found: Result) -> dict[str, float]:
    """What a run used, under the names that MLflow's page "System metrics" shows."""
    return {f"system/{each}": float(value) for each, value in found.body["usage"].items()}


def datasets(found: Result) -> list[Seen]:
    """What a run trained on and was tested on; empty for tasks that make stores of a whole set of videos."""
    body = found.body
    task, values = body["description"]["task"], body["values"]
    subset = task.get("subset")
    data = subset["dataset"] if subset else task.get("dataset")
    if not isinstance(data, Mapping):
        return []
    of_split = {"split": values["split"]} if "split" in values else {}
    tested = {"side": "test", **of_split}
    trained: dict[str, Any] = {"side": "train", **of_split}
    if subset:
        trained |= {each: values[each] for each in ("shots", "resample") if each in values}
    sides = [("training", trained), ("evaluation", tested)]
    if body["rests_on"] and not subset:  # a model that was trained elsewhere is only tested here
        sides = sides[1:]
    identity = {each: str(value) for each, value in _flat(data)}
    return [
        Seen(
            name=str(values.get("dataset", identity.get("class", "unnamed"))),
            digest=sha256(json.dumps([data, part], sort_keys=True).encode())[:DIGEST],
            context=context,
            identity=identity,
            part=part,
        )
        for context, part in sides
    ]


def keeps_encoder(found: Result) -> bool:
    """Whether it is a run of pretraining, which kept an encoder."""
    return found.body["task"] == "Pretrain" and "encoder.safetensors" in found.body["files"]
