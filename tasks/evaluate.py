"""A trained model put to held-out sequences: losses apart from training (secs. 3.2 and 3.4, Table 2).

What a model is tested on, and on how much of it, is a matter of this cell alone: a test file that comes later, or more
sequences, train nothing again. Losses are computed as the pretraining task computes its own, in float32. The sequences may be
of other data than the model was trained on, such as one or three moving digits for a model of two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, NoReturn

from tasks.cell import SHORT, UNKEYED, Cell, canonical
from tasks.data.dataset import Unlabelled
from tasks.pretrain import Pretrain
from tasks.schedule import Schedule
from tasks.task import Metric, Needed, Predictions, Score, Shard, Value

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluate:
    """Losses of a trained model over held-out sequences; made by `evaluated`.

    Raises:
        ValueError: for frames unlike those that the model was trained on, or a count below 1.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = Pretrain.metrics
    parallel: ClassVar[bool] = False

    trained: Pretrain
    """How the model was trained: the task of the cell that this one needs."""
    trained_cell: str = field(metadata=UNKEYED)
    """Key of that cell, for reports; it is in this one's own key already, as that of a needed cell."""
    dataset: Unlabelled
    """Whose held-out sequences are shown."""
    test_sequences: int = 512
    """Held-out sequences that the losses are averaged over, the first ones."""
    chunk: int = field(default=64, metadata=UNKEYED)
    """Sequences evaluated at once."""

    def __post_init__(self) -> None:
        for name in ("test_sequences", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: it must be at least 1")
        ours, theirs = self.dataset, self.trained.dataset
        if ours.frame_size != theirs.frame_size:
            raise ValueError(
                f"a frame of {ours.name} is {ours.frame_size:,} numbers, and the model was trained on frames of "
                f"{theirs.frame_size:,} ({theirs.name}): show it frames of the same size"
            )
        if ours.output != theirs.output:
            raise ValueError(
                f"{ours.name} asks for {ours.output} outputs, and the model was trained with {theirs.output} ones "
                f"({theirs.name}): show it frames on the same scale"
            )

    @property
    def schedule(self) -> Schedule:
        """No training: 0 steps."""
        return Schedule(steps=0, batch_size=1, learning_rate=1.0)

    @property
    def asked(self) -> Pretrain:
        """The pretraining task, put to these sequences: it has the losses, and knows the decoders."""
        return replace(
            self.trained,
            dataset=self.dataset,
            test_sequences=self.test_sequences,
            chunk=self.chunk,
        )

    def check(self, needs: tuple[Cell, ...]) -> None:
        """The model comes from one pretraining cell, the one that `trained` and `trained_cell` speak of."""
        if len(needs) != 1 or not isinstance(needs[0].task, Pretrain):
            raise ValueError(
                "an evaluation needs exactly one pretraining cell, whose model it tests"
            )
        if needs[0].key != self.trained_cell or canonical(needs[0].task) != canonical(self.trained):
            raise ValueError(
                f"cell {needs[0].short} is not the one that this evaluation speaks of ({self.trained_cell[:SHORT]}): make the "
                "cell with tasks.evaluate.evaluated or tasks.pictures.pictured"
            )

    def values(self) -> dict[str, Value]:
        """The values that tell this task from others, flat: the model's, and what it is shown."""
        return {
            **self.trained.values(),
            "dataset": self.dataset.name,
            "trained_on": self.trained.dataset.name,
            "trained_cell": self.trained_cell,
            "tested_on": f"what {self.dataset.name} holds out",
            **self.dataset.details,  # which may say it better
            "test_sequences": self.test_sequences,
        }

    def gflop(self) -> float:
        """Expected cost in 10^9 operations: the held-out sequences once through the model."""
        return replace(self.asked, schedule=self.schedule).gflop()

    def files(self) -> Mapping[str, bytes]:
        """Nothing beyond the cell itself."""
        return {}

    def lost(self) -> str:
        """Nothing: all that it leaves is in its run's folder."""
        return ""

    def build(self, seed: int, needed: tuple[Needed, ...]) -> torch.nn.Module:
        """The model as it was trained."""
        model = self.trained.build(seed, ())
        model.load_state_dict(needed[0].tensors("model"))
        return model

    def batch(self, seed: int, step: int, shard: Shard) -> NoReturn:
        """There is none: the schedule has no steps."""
        raise NotImplementedError("an evaluation trains nothing")

    def loss(self, model: torch.nn.Module, batch: object) -> torch.Tensor:
        """There is none: the schedule has no steps."""
        raise NotImplementedError("an evaluation trains nothing")

    def num_chunks(self) -> int:
        """Pieces of the held-out sequences."""
        return self.asked.num_chunks()

    def predict(self, model: torch.nn.Module, chunk: int) -> Predictions:
        """Losses of every sequence of a chunk, as in pretraining."""
        return self.asked.predict(model, chunk)

    def score(self, predictions: Predictions) -> Iterable[Score]:
        """Mean losses over the held-out sequences.

        Raises:
            ValueError: unless every sequence is there exactly once, with finite losses.
        """
        return self.asked.score(predictions)

    def products(self, model: torch.nn.Module) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """Nothing: the model is kept where it was trained."""
        return {}


def evaluated(
    trained: Cell,
    *,
    label: str,
    dataset: Unlabelled | None = None,
    test_sequences: int | None = None,
) -> Cell:
    """The cell that evaluates a pretrained model, of the same seed.

    Args:
        trained: a pretraining cell.
        label: what reports call it.
        dataset: whose held-out sequences to show; None for those of the data it was trained on.
        test_sequences: how many; None for as many as its training is scored on.

    Raises:
        ValueError: when the cell is no pretraining cell, or its model cannot take these frames.
    """
    task = pretraining_of(trained)
    made = Evaluate(
        trained=task,
        trained_cell=trained.key,
        dataset=task.dataset if dataset is None else dataset,
        test_sequences=task.test_sequences if test_sequences is None else test_sequences,
    )
    return evaluating(made, trained, label)


def pretraining_of(trained: Cell) -> Pretrain:
    """The task of a pretraining cell.

    Raises:
        ValueError: when it is another kind of cell.
    """
    if not isinstance(trained.task, Pretrain):
        raise ValueError(  # noqa: TRY004 - a wrong cell is a wrong value to whoever writes experiments
            f"cell {trained.short} is of {type(trained.task).__name__}: an evaluation needs exactly one pretraining cell"
        )
    return trained.task


def evaluating(task: Evaluate, trained: Cell, label: str) -> Cell:
    """A cell of a task that evaluates what a pretraining cell has trained."""
    # Without its label: reports draw the evaluation, and tell the scores of the run behind it.
    return Cell(task=task, seed=trained.seed, needs=(replace(trained, label=""),), label=label)
