"""What the harness asks of every task. A task is a frozen dataclass of values with these methods.

Describing a task (building it, its key, its cost) must not import torch: plans of thousands of cells are
made on login nodes and in `--help`. The methods that compute import what they compute with.

Shapes: T frames of a sequence, B sequences of a batch, D numbers of a frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch

    from tasks.cell import Cell
    from tasks.schedule import Schedule

Value = str | int | float | bool | None
Predictions = dict[str, "np.ndarray"]
"""Columns of equal length: one row a predicted thing (a block, a sequence), the id columns first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A quantity that a task measures."""

    name: str
    unit: str
    higher_is_better: bool
    meaning: str
    """One sentence: of what, summed or averaged over what."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One measured value of a metric."""

    metric: Metric
    value: float
    count: int
    """How many videos, blocks or sequences the value is over."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Which part of the work is this process's: rank `rank` of `num_ranks`.

    A global batch of B rows is cut as rows[rank::num_ranks], so what is trained on does not depend on
    the number of ranks.
    """

    rank: int = 0
    num_ranks: int = 1
    device: str = "cpu"
    """Where the batch is wanted, in torch's words; a task may give it on the CPU all the same."""

    @property
    def rows(self) -> slice:
        """This rank's rows of a global batch."""
        return slice(self.rank, None, self.num_ranks)


@dataclass(frozen=True, kw_only=True, slots=True)
class Needed:
    """A finished cell that another one needs, and the folder of its accepted run."""

    cell: Cell
    folder: Path

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """Load the tensors that the run kept as `name`.safetensors, on the CPU."""
        from safetensors.torch import load_file

        return load_file(self.folder / f"{name}.safetensors")

    def predictions(self) -> Predictions:
        """Load what the run predicted, all chunks in order."""
        from pyarrow import parquet

        table = parquet.read_table(self.folder / "predictions.parquet")
        columns = {name: table.column(name).to_numpy() for name in table.column_names}
        # Text comes as Python objects; numpy's own kind of text sorts and compares as the ids did when written.
        return {
            name: column.astype(str) if column.dtype == object else column
            for name, column in columns.items()
        }


@runtime_checkable
class ChecksFirst(Protocol):
    """A task that rests on files outside its values, and can look at them before anything is sent."""

    def ready(self) -> None:
        """Raise ValueError, in one sentence, if the task would fail by what is there now. Asked once a cell: be quick."""


class Task(Protocol):
    """A kind of question asked of a model."""

    version: ClassVar[int]
    """Raised whenever the same values would give another answer: old results are then stale."""
    metrics: ClassVar[tuple[Metric, ...]]
    """What is measured; the first is the headline."""
    parallel: ClassVar[bool]
    """Whether it is worth several ranks."""

    @property
    def schedule(self) -> Schedule:
        """How the model is trained."""

    def check(self, needs: tuple[Cell, ...]) -> None:
        """Raise ValueError, in one sentence, if these are not the cells that the task can start from."""

    def values(self) -> dict[str, Value]:
        """The values that tell this task from others, flat: MLflow params and report columns."""

    def gflop(self) -> float:
        """Expected cost in 10^9 floating-point operations, training and evaluation; for plans only."""

    def files(self) -> Mapping[str, bytes]:
        """Files that state what is asked (a subset's manifest), kept with the result."""

    def lost(self) -> str:
        """Why an accepted result does not count any more: what it left outside its run's folder is gone. Else empty."""

    def build(self, seed: int, needed: tuple[Needed, ...]) -> torch.nn.Module:
        """The model at step 0, on the CPU: a pure function of the values, the seed and what is needed."""

    def batch(self, seed: int, step: int, shard: Shard) -> Any:
        """This rank's rows of the global batch of `step`: a pure function of (seed, step)."""

    def loss(self, model: torch.nn.Module, batch: Any) -> torch.Tensor:
        """This rank's losses summed and divided by the GLOBAL batch size: summed over ranks, the batch mean."""

    def num_chunks(self) -> int:
        """Into how many pieces evaluation is cut; the cut does not depend on the number of ranks."""

    def predict(self, model: torch.nn.Module, chunk: int) -> Predictions:
        """Predict one chunk (the model is in eval mode, gradients are off)."""

    def score(self, predictions: Predictions) -> Iterable[Score]:
        """Score all chunks, concatenated in order.

        Raises:
            ValueError: unless every expected id is there exactly once.
        """

    def products(self, model: torch.nn.Module) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """State dicts to keep for cells that need this one, by file name (without suffix)."""


@runtime_checkable
class TrainsTogether(Protocol):
    """A task whose cells can be trained as one stacked model, each its own replica, equal to alone to rounding.

    R replicas: models of equal shape that differ in weights and in what they are trained on.
    """

    def together(self) -> str:
        """Equal for tasks that may be stacked: they differ in what is drawn alone. Empty: this one never."""

    def stack(self, models: Sequence[torch.nn.Module]) -> torch.nn.Module:
        """One model of R built ones, whose weights are copied.

        Its parameters have the names and the order that they have in one of these, and an axis R before the others.
        """

    def stack_batches(self, batches: Sequence[Any]) -> Any:
        """One batch (a NamedTuple) of those that each replica would get alone."""

    def losses(self, model: torch.nn.Module, batch: Any) -> torch.Tensor:
        """Every replica's loss as it would be alone, (R,)."""
