"""The activity of a future predictor that runs far longer than it was trained to (sec. 3.2, Fig. 7).

Nothing is trained: a finished pretraining cell's model reads held-out sequences and predicts on and on. For the control, the
future predictor gets random weights and the encoder stays as it was trained. Whether the activity lasts is measured on many
sequences (`tasks.persistence`); one of them is kept whole, for the figure. Shapes: T frames in, F frames ahead, B sequences, D
numbers of a frame, H units, U units shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, NoReturn

import numpy as np

from tasks import persistence
from tasks.cell import UNKEYED, Cell
from tasks.data.dataset import Unlabelled
from tasks.encoders import lstm_gflop
from tasks.pretrain import FUTURE_LOSS, Pretrain, Sequences, at_frame
from tasks.schedule import Schedule
from tasks.task import Metric, Needed, Predictions, Score, Shard, Value

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from models.autoencoder import EncoderDecoder

Weights = Literal["trained", "random"]

PERSISTENCE = Metric(
    name="persistence",
    unit="ratio",
    higher_is_better=True,
    meaning=f"step-to-step change |h_t - h_t-1|, mean over units, in the last {persistence.EDGE} steps over that in the first "
    f"{persistence.EDGE}; mean over sequences",
)
MOVING_UNITS = Metric(
    name="moving_units",
    unit="%",
    higher_is_better=True,
    meaning=f"units whose h has a standard deviation above {persistence.MOVING:g} over the second half of the steps; mean over "
    "sequences",
)
PERIOD_SHARE = Metric(
    name="period_share",
    unit="%",
    higher_is_better=True,
    meaning="share of the strongest frequency in the power of h over the second half of the steps, units summed; mean over "
    "sequences in which a unit still moves",
)
PERIOD = Metric(
    name="period",
    unit="steps",
    higher_is_better=True,
    meaning="period of that strongest frequency, neither good nor bad in itself; mean over sequences in which a unit still moves",
)
FIRST_LOSS = Metric(
    name="first_loss",
    unit=FUTURE_LOSS.unit,
    higher_is_better=False,
    meaning=f"loss of a predicted frame, summed over its pixels, mean over the first {persistence.EDGE} frames and sequences; the "
    "predictor runs freely",
)
LAST_LOSS = Metric(
    name="last_loss",
    unit=FUTURE_LOSS.unit,
    higher_is_better=False,
    meaning=f"as first_loss, over the last {persistence.EDGE} frames",
)
CHANGE = "change"
"""With the step's number behind it: the column of predictions that has |h_t - h_t-1|, mean over units."""
KEPT = "activity"
"""Name of the file of tensors that a run keeps."""
PANELS = ("input", "input_gate", "forget_gate", "output_gate", "cell", "output")
"""The six quantities in the paper's order: names of the tensors kept, and of `models.activity.Activity`'s fields."""

UNIT_DRAWS = 0xF7
"""With the seed: names the draw of the units that are shown."""
RANDOM_WEIGHTS = 1 << 33
"""Added to the seed of random weights: they are not made of the draws that the encoder's training began with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """Run a trained model's future predictor on and on, and watch one of its layers; `watched` makes the cell.

    Raises:
        ValueError: for a model without a future predictor, data that it cannot read or show, or a value outside its range.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = (
        PERSISTENCE,
        MOVING_UNITS,
        PERIOD_SHARE,
        PERIOD,
        FIRST_LOSS,
        LAST_LOSS,
    )
    parallel: ClassVar[bool] = False

    model: Pretrain
    """How the model was trained that is run."""
    dataset: Unlabelled
    """Where the sequences come from: as the model's own, but able to give sequences of any length."""
    weights: Weights
    """Of the future predictor, its readout included; the encoder's are the trained ones."""
    steps: int = 100
    """Frames predicted, F."""
    layer: int = 1
    """Whose activity, counted from 1 at the bottom."""
    units_shown: int = 200
    """Units kept of the sequence that is shown, drawn by the seed; all units if there are not so many."""
    sequence: int = 0
    """Which held-out sequence is shown."""
    test_sequences: int = 64
    """Held-out sequences that are measured."""
    chunk: int = field(default=32, metadata=UNKEYED)
    """Sequences run at once."""

    def __post_init__(self) -> None:
        persistence.check_steps(self.steps)
        for name, least in (("units_shown", 1), ("sequence", 0), ("test_sequences", 1), ("chunk", 1)):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: it must be at least {least}")
        layers, size = self.model.encoder.layers, self.model.dataset.frame_size
        if not 1 <= self.layer <= layers:
            raise ValueError(
                f"layer={self.layer}: the future predictor has {layers}, counted from 1"
            )
        if self.model.predict_future == "none":
            raise ValueError(
                "this model predicts no future: watch one with predict_future=unconditioned or conditional"
            )
        if self.dataset.frame_size != size:
            raise ValueError(
                f"frames of {self.dataset.name} have {self.dataset.frame_size} numbers and the model reads {size}: run it on "
                "frames of the size that it was trained on"
            )
        if self.dataset.output != "logistic" or math.isqrt(size) ** 2 != size:
            raise ValueError(
                f"frames of {self.dataset.name} cannot be shown as square pictures with pixels from 0 to 1: watch a model of "
                "moving digits"
            )

    @property
    def schedule(self) -> Schedule:
        """No training: 0 steps."""
        return Schedule(steps=0, batch_size=1, learning_rate=1.0)

    def check(self, needs: tuple[Cell, ...]) -> None:
        """One pretraining cell, of the model that this task says."""
        if len(needs) != 1 or not isinstance(needs[0].task, Pretrain):
            raise ValueError("watching activity needs exactly one cell: the model's pretraining")
        if needs[0].task != self.model:
            raise ValueError(
                "the model watched is not the one of the cell needed: make the cell with tasks.activity.watched"
            )

    def values(self) -> dict[str, Value]:
        """The values that tell this task from others, flat."""
        return {
            **self.model.values(),
            "dataset": self.dataset.name,
            "weights": self.weights,
            "future_steps": self.steps,
            "layer": self.layer,
            "units_shown": min(self.units_shown, self.model.encoder.units),
            "sequence": self.sequence,
            "test_sequences": self.test_sequences,
        }

    def gflop(self) -> float:
        """Expected cost in 10^9 operations: every sequence read and predicted once."""
        model, size = self.model, self.dataset.frame_size
        units, layers = model.encoder.units, model.encoder.layers
        inputs = size if model.predict_future == "conditional" else 0
        step = lstm_gflop(inputs, units, layers) + 2e-9 * units * size
        one = model.input_frames * model.encoder.gflop(size) + self.steps * step
        return one * (self.test_sequences + 1)

    def files(self) -> Mapping[str, bytes]:
        """Nothing beyond the cell itself."""
        return {}

    def lost(self) -> str:
        """Nothing: all that it leaves is in its run's folder."""
        return ""

    def build(self, seed: int, needed: tuple[Needed, ...]) -> torch.nn.Module:
        """The trained model, its future predictor trained or random, and the units to show."""
        import torch

        from models.activity import WatchedPredictor

        model = _encoder_decoder(self.model.build(needed[0].cell.seed, ()))
        model.load_state_dict(needed[0].tensors("model"))
        if self.weights == "random":
            fresh = _encoder_decoder(self.model.build(seed + RANDOM_WEIGHTS, ()))
            model.predictor = fresh.predictor
        units = self.model.encoder.units
        drawn_U = np.random.default_rng([seed, UNIT_DRAWS]).permutation(units)[: self.units_shown]
        return WatchedPredictor(model, torch.from_numpy(drawn_U.astype(np.int64)))

    def batch(self, seed: int, step: int, shard: Shard) -> NoReturn:
        """There is none: the schedule has no steps."""
        raise NotImplementedError("activity is watched, not trained")

    def loss(self, model: torch.nn.Module, batch: object) -> torch.Tensor:
        """There is none: the schedule has no steps."""
        raise NotImplementedError("activity is watched, not trained")

    def evaluation(self, indices: range, device: torch.device | str = "cpu") -> Sequences:
        """Held-out sequences by index, on a device: frames read, and the true ones at every step predicted."""
        import torch

        read = self.model.input_frames
        frames_TBD = torch.from_numpy(self.dataset.evaluation(indices, read + self.steps))
        frames_TBD = frames_TBD.to(device)
        return Sequences(frames_TBD[:read], frames_TBD[read:])

    def num_chunks(self) -> int:
        """Pieces of the held-out sequences."""
        return -(-self.test_sequences // self.chunk)

    def predict(self, model: torch.nn.Module, chunk: int) -> Predictions:
        """The measures of every sequence of a chunk; its change and loss at every step, counted from 1.

        A sequence in which no unit moves any more has nan in period and period_share.
        """
        from models.autoencoder import frame_loss

        first = chunk * self.chunk
        indices = range(first, min(first + self.chunk, self.test_sequences))
        sequences = self.evaluation(indices, next(model.parameters()).device)
        activity, raw_FBD = model(sequences.frames_TBD, self.steps, layer=self.layer - 1)
        h_FBH = activity.output_TBH.double().cpu().numpy()
        nats_FB = frame_loss(raw_FBD, sequences.future_FBD, self.dataset.output)
        loss_FB: persistence.Floats = nats_FB.double().cpu().numpy()
        change_FB = persistence.change(h_FBH)
        rhythm = persistence.rhythm(h_FBH)
        edge = persistence.EDGE
        table: Predictions = {
            "sequence": np.arange(indices.start, indices.stop, dtype=np.int64),
            PERSISTENCE.name: persistence.persistence(change_FB),
            MOVING_UNITS.name: persistence.moving_units(h_FBH),
            PERIOD_SHARE.name: rhythm.share_B,
            PERIOD.name: rhythm.period_B,
            FIRST_LOSS.name: loss_FB[:edge].mean(axis=0),
            LAST_LOSS.name: loss_FB[-edge:].mean(axis=0),
        }
        for step, change_B in enumerate(change_FB, start=2):
            table[f"{CHANGE}_{step:03d}"] = change_B
        for step, loss_B in enumerate(loss_FB, start=1):
            table[at_frame(FUTURE_LOSS, step)] = loss_B
        return table

    def score(self, predictions: Predictions) -> Iterator[Score]:
        """Means over the held-out sequences; a rhythm only where something moves.

        Raises:
            ValueError: unless every sequence is there exactly once, with finite measures.
        """
        if not np.array_equal(np.sort(predictions["sequence"]), np.arange(self.test_sequences)):
            raise ValueError(
                f"evaluation must see each of {self.test_sequences} sequences exactly once"
            )
        for metric in self.metrics:
            value_B = predictions[metric.name]
            if metric in (PERIOD, PERIOD_SHARE):
                value_B = value_B[predictions[MOVING_UNITS.name] > 0]
            if not len(value_B):
                continue
            value = float(value_B.mean())
            if not math.isfinite(value):
                raise ValueError(f"{metric.name} is {value}: this model has no score")
            yield Score(metric=metric, value=value, count=len(value_B))

    def products(self, model: torch.nn.Module) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """The sequence that is shown.

        Each of `PANELS`, float16 (F, U); `units` (U,); and uint8 frames of Y = X pixels: `input_frames` (T, Y, X), `true_frames`
        and `predicted_frames` (F, Y, X).
        """
        import torch

        shown = range(self.sequence, self.sequence + 1)
        sequences = self.evaluation(shown, next(model.parameters()).device)
        with torch.no_grad():
            activity, raw_FBD = model(sequences.frames_TBD, self.steps, layer=self.layer - 1)
        units_U = model.units_U
        if not isinstance(units_U, torch.Tensor):
            raise TypeError(f"{type(model).__name__}.units_U is not a tensor")
        # float16 holds a cell, too: it grows by less than 1 a step.
        kept = {
            name: each_TBH[:, 0, units_U].half()
            for name, each_TBH in zip(PANELS, activity, strict=True)
        }
        return {
            KEPT: {
                **kept,
                "units": units_U,
                "input_frames": _pictures(sequences.frames_TBD),
                "true_frames": _pictures(sequences.future_FBD),
                "predicted_frames": _pictures(raw_FBD.sigmoid()),
            }
        }


def watched(
    start: Cell,
    *,
    weights: Weights,
    dataset: Unlabelled | None = None,
    seed: int = 0,
    label: str = "",
    **chosen: int,
) -> Cell:
    """The cell that watches the future predictor of a pretraining cell.

    Args:
        start: the pretraining.
        weights: of the future predictor.
        dataset: where sequences come from; None for the model's own.
        seed: of the units shown, and of random weights.
        label: what reports call it.
        chosen: other fields of `Activity`.

    Raises:
        ValueError: as `Activity` does, or when the cell is of another task.
    """
    if not isinstance(start.task, Pretrain):
        raise ValueError(  # noqa: TRY004 - a wrong cell is a wrong value to whoever writes experiments
            f"cell {start.short} is of {type(start.task).__name__}: watching activity needs a pretraining cell"
        )
    task = Activity(
        model=start.task, dataset=dataset or start.task.dataset, weights=weights, **chosen
    )
    return Cell(task=task, seed=seed, needs=(start,), label=label)


def _encoder_decoder(model: torch.nn.Module) -> EncoderDecoder:
    """What pretraining builds, by its type."""
    from models.autoencoder import EncoderDecoder

    if not isinstance(model, EncoderDecoder):
        raise TypeError(f"{type(model).__name__} is no encoder-decoder")
    return model


def _pictures(frames_TBD: Tensor) -> Tensor:
    """The only sequence's frames in [0, 1] as uint8 (T, Y, X)."""
    num_frames, _, size = frames_TBD.shape
    side = math.isqrt(size)
    pixels = (frames_TBD[:, 0] * 255).round()
    return pixels.clamp(0, 255).byte().reshape(num_frames, side, side)
