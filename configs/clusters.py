"""Clusters, as data: what a site asks of every job. Built in is `slurm`, which leaves all it can to the site's defaults.

A cluster of your own is a TOML file with some of the fields below (`harness run fig12 --cluster mycluster.toml`):

    partition = "gpu"
    account = "vision"
    gpus_per_node = 4
    time_min = 240
    setup = ["module load cuda"]
"""

import dataclasses
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.knobs import did_you_mean
from tasks.data.reading import quoted, read_whole

CPU_GFLOPS = 15.0
"""A rough rate of one CPU core on models of demo size, in 10^9 operations a second."""
GPU_GFLOPS = 2000.0
"""The same for one GPU: an assumption, for small models wait for the GPU and large ones are many times as fast."""

MOST_BYTES = 2**20
"""Of a cluster file."""
MOST = 2**53
"""Of a number: larger ones are a mistake, and not kept by all that reads them."""
WHAT = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple[str, ...]: "a list of texts",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """What jobs ask of a site. Empty text and 0 leave a value to the site, where nothing else is said.

    Raises:
        ValueError: for a value outside its range, in one sentence.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    """Features that nodes must have, as `sbatch --constraint` spells them."""
    gpus_per_node: int = 0
    """GPUs of a node; every process of a job asks for one of them. 0: jobs run on CPUs."""
    cpus_per_task: int = 1
    """CPU cores per process."""
    memory_gb: float = 1.5
    """Memory per process, in GiB; 0 leaves it to the site."""
    time_min: int = 0
    """Time limit of a job, in minutes; what it does not finish is continued from its checkpoint."""
    array_limit: int = 1000
    """Most tasks of one array (MaxArraySize - 1 of `scontrol show config`)."""
    max_parallel: int = 256
    """Most tasks of one array at the same time."""
    setup: tuple[str, ...] = ()
    """Shell lines before the work begins, such as `module load cuda`."""
    python: str = ""
    """The Python to run there, with this project installed; empty: the one that submits. May be a container's command."""
    requeue: bool = True
    """Whether jobs may ask the scheduler to be run again after a time limit, a preemption or a node's death."""
    pretrain_nodes: int = 1
    """Nodes of a pretraining cell."""
    pretrain_ranks: int = 1
    """Processes of a pretraining cell on each of its nodes."""
    process_gflops: float = 0.0
    """10^9 operations a second that a process is expected to reach, for plans and packing; 0: CPU_GFLOPS or GPU_GFLOPS."""

    def __post_init__(self) -> None:
        least = {
            "gpus_per_node": 0, "cpus_per_task": 1, "memory_gb": 0, "time_min": 0, "array_limit": 1, "max_parallel": 1,
            "pretrain_nodes": 1, "pretrain_ranks": 1, "process_gflops": 0,
        }  # fmt: skip
        for name, bound in least.items():
            if not getattr(self, name) >= bound:
                raise ValueError(f"{name} = {getattr(self, name)}: it must be at least {bound}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            for text in value if isinstance(value, tuple) else (value,):
                if isinstance(text, str) and not (text.isprintable() or not text):
                    raise ValueError(f"{field.name} = {text!r}: it must be one printable line")
        if self.gpus_per_node and self.pretrain_ranks > self.gpus_per_node:
            raise ValueError(
                f"pretrain_ranks = {self.pretrain_ranks}: a node has only gpus_per_node = {self.gpus_per_node}; take "
                "more pretrain_nodes instead"
            )

    @property
    def expected_gflops(self) -> float:
        """10^9 operations a second of one process, as far as anybody knows before a run."""
        return self.process_gflops or (GPU_GFLOPS if self.gpus_per_node else CPU_GFLOPS)


CLUSTERS: Mapping[str, Cluster] = {"slurm": Cluster()}
"""Clusters known by name."""


def find(words: str) -> Cluster:
    """Look a cluster up.

    Args:
        words: a name, or a TOML file.

    Raises:
        ValueError: when there is no such cluster or its file is wrong, in one sentence.
    """
    if words in CLUSTERS:
        return CLUSTERS[words]
    if not words.endswith(".toml"):
        raise ValueError(
            f"there is no cluster '{words}'{did_you_mean(words, CLUSTERS)} (known: {', '.join(CLUSTERS)}; your own: "
            "FILE.toml)"
        )
    try:
        content = tomllib.loads(read_whole(Path(words), most=MOST_BYTES).decode())
    except OSError as error:
        raise ValueError(
            f"the cluster file {words} cannot be read ({error.strerror}): name a TOML file, or one of "
            f"{', '.join(CLUSTERS)}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the cluster file {words} is not TOML: {error}") from None
    try:
        return parse(content)
    except ValueError as error:
        raise ValueError(f"the cluster file {words}: {error}") from None


def parse(content: Mapping[str, Any]) -> Cluster:
    """Make a cluster from a table of names and values.

    Raises:
        ValueError: for an unknown name, a value of the wrong type or outside its range.
    """
    types = typing.get_type_hints(Cluster)
    chosen: dict[str, Any] = {}
    for name, value in content.items():
        if name not in types:
            raise ValueError(
                f"there is no setting {quoted(name)}{did_you_mean(name, types)} (settings: {', '.join(types)})"
            )
        chosen[name] = _checked(name, types[name], value)
    return Cluster(**chosen)


def _checked(name: str, wanted: Any, value: Any) -> Any:
    if wanted == tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return tuple(value)
    elif wanted is float and type(value) in (int, float):
        if abs(value) <= MOST:  # not so for nan
            return float(value)
    elif type(value) is wanted and (
        wanted is not int or abs(value) <= MOST
    ):  # not isinstance: true is no whole number
        return value
    raise ValueError(f"{name} = {quoted(value)}: it must be {WHAT[wanted]}")
