"""Unsupervised pretraining: reconstruct the input backwards, predict the future, or both (secs. 2.2 to 2.5).

Training sees an endless stream of unlabelled sequences: sequence i of seed s is a pure function of (s, i), and
step k takes i = k B .. (k + 1) B - 1. Evaluation has sequences of its own. Shapes: T frames in, F frames
ahead, B sequences, D numbers of a frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, get_args

import numpy as np

from tasks.cell import UNKEYED, Cell
from tasks.data.dataset import TRAINING_SEEDS, DrawnOnDevice, Unlabelled
from tasks.encoders import EncoderSpec, lstm_gflop
from tasks.keyed import KEYED_UNLESS_DEFAULT
from tasks.schedule import Schedule
from tasks.task import Metric, Needed, Predictions, Score, Shard, Value

if TYPE_CHECKING:
    import torch

Decoder = Literal["none", "unconditioned", "conditional"]
TrainingPrecision = Literal["float32", "bfloat16"]

FUTURE_LOSS = Metric(
    name="future_loss",
    unit="nats/frame",
    higher_is_better=False,
    meaning="loss of a predicted future frame, summed over its pixels, mean over frames and sequences; the "
    "decoder runs freely (a conditional one is fed its own outputs)",
)
FUTURE_LOSS_TEACHER_FORCED = Metric(
    name="future_loss_teacher_forced",
    unit="nats/frame",
    higher_is_better=False,
    meaning="as future_loss, but a conditional decoder is fed the true previous frame",
)
RECONSTRUCTION_LOSS = Metric(
    name="reconstruction_loss",
    unit="nats/frame",
    higher_is_better=False,
    meaning="loss of a reconstructed input frame, summed over its pixels, mean over frames and sequences; the "
    "decoder runs freely",
)


TARGET_ENTROPY = Metric(
    name="target_entropy",
    unit="nats/frame",
    higher_is_better=False,
    meaning="future_loss of a predictor that is right in every pixel: grey pixels are worth their own entropy, so no model "
    "is below it",
)


def at_frame(metric: Metric, frame: int) -> str:
    """The column of predictions that has a metric at one predicted frame alone, counted from 1."""
    return f"{metric.name}_{frame:03d}"


class Sequences(NamedTuple):
    """Unlabelled frames cut in two."""

    frames_TBD: torch.Tensor
    future_FBD: torch.Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Pretrain:
    """Train an encoder and its decoders on unlabelled video.

    Raises:
        ValueError: when there is no decoder, or a length is below 1.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = (
        FUTURE_LOSS,
        FUTURE_LOSS_TEACHER_FORCED,
        RECONSTRUCTION_LOSS,
        TARGET_ENTROPY,
    )
    parallel: ClassVar[bool] = True

    dataset: Unlabelled
    encoder: EncoderSpec
    reconstruct: Decoder = "unconditioned"
    predict_future: Decoder = "unconditioned"
    input_frames: int = 16
    future_frames: int = 13
    schedule: Schedule
    test_sequences: int = 512
    """Held-out sequences that the losses are averaged over."""
    chunk: int = field(default=64, metadata=UNKEYED)
    """Sequences evaluated at once."""
    precision: TrainingPrecision = field(default="float32", metadata=KEYED_UNLESS_DEFAULT)
    """Of the products in training; parameters, cells, losses and all of the evaluation are float32 either way."""

    def __post_init__(self) -> None:
        if self.reconstruct == "none" and self.predict_future == "none":
            raise ValueError(
                "a model needs a decoder: reconstruct and predict_future cannot both be 'none'"
            )
        for name in ("input_frames", "future_frames", "test_sequences", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: it must be at least 1")
        if self.precision not in get_args(TrainingPrecision):
            choices = ", ".join(get_args(TrainingPrecision))
            raise ValueError(f"precision={self.precision!r}: choose from {choices}")

    @property
    def title(self) -> str:
        """The paper's name of the model."""
        conditional = "conditional "
        if self.reconstruct == "none":
            return f"{conditional if self.predict_future == 'conditional' else ''}future predictor"
        if self.predict_future == "none":
            return f"{conditional if self.reconstruct == 'conditional' else ''}autoencoder"
        which = [
            n
            for n, d in (("reconstruction", self.reconstruct), ("future", self.predict_future))
            if d == "conditional"
        ]
        return "Composite" + (f" (conditional {' and '.join(which)})" if which else "")

    def check(self, needs: tuple[Cell, ...]) -> None:
        """Pretraining starts from nothing."""
        if needs:
            raise ValueError("a pretraining cell needs no other cell")

    def values(self) -> dict[str, Value]:
        """The values that tell this task from others, flat."""
        return {
            "dataset": self.dataset.name,
            **self.dataset.details,
            "model": self.title,
            "encoder": self.encoder.title,
            "units": self.encoder.units,
            "layers": self.encoder.layers,
            "reconstruct": self.reconstruct,
            "predict_future": self.predict_future,
            "input_frames": self.input_frames,
            "future_frames": self.future_frames,
            "steps": self.schedule.steps,
            "batch_size": self.schedule.batch_size,
            "learning_rate": self.schedule.learning_rate,
            "schedule": self.schedule.title,
            "frame_size": self.dataset.frame_size,
            "output": self.dataset.output,
            "test_sequences": self.test_sequences,
            "optimizer": self.schedule.optimizer,
            "precision": self.precision,
        }

    def gflop(self) -> float:
        """Expected cost in 10^9 operations: forward once in evaluation, three times that in training."""
        size, units, layers = self.dataset.frame_size, self.encoder.units, self.encoder.layers
        one = self.input_frames * self.encoder.gflop(size)
        for kind, frames in (
            (self.reconstruct, self.input_frames),
            (self.predict_future, self.future_frames),
        ):
            if kind != "none":
                inputs = size if kind == "conditional" else 0
                one += frames * (lstm_gflop(inputs, units, layers) + 2e-9 * units * size)
        return one * (3 * self.schedule.steps * self.schedule.batch_size + self.test_sequences)

    def files(self) -> Mapping[str, bytes]:
        """Nothing beyond the cell itself."""
        return {}

    def lost(self) -> str:
        """Nothing: all that it leaves is in its run's folder."""
        return ""

    def build(self, seed: int, needed: tuple[Needed, ...]) -> torch.nn.Module:
        """The encoder-decoder at step 0."""
        import torch

        from models.autoencoder import EncoderDecoder

        torch.manual_seed(seed)
        return EncoderDecoder(
            self.encoder.build(self.dataset.frame_size),
            frame_size=self.dataset.frame_size,
            hidden_size=self.encoder.units,
            num_layers=self.encoder.layers,
            reconstruct=None if self.reconstruct == "none" else self.reconstruct,
            predict=None if self.predict_future == "none" else self.predict_future,
            output=self.dataset.output,
        )

    def _cut(self, frames_TBD: torch.Tensor) -> Sequences:
        return Sequences(frames_TBD[: self.input_frames], frames_TBD[self.input_frames :])

    def batch(self, seed: int, step: int, shard: Shard) -> Sequences:
        """This rank's rows of the global batch of `step`."""
        import torch

        size, length = self.schedule.batch_size, self.input_frames + self.future_frames
        indices = range(step * size, (step + 1) * size)[shard.rows]
        seed += TRAINING_SEEDS
        if isinstance(self.dataset, DrawnOnDevice):
            return self._cut(self.dataset.unlabelled_on(shard.device, seed, indices, length))
        return self._cut(torch.from_numpy(self.dataset.unlabelled(seed, indices, length)))

    def evaluation(self, indices: range, device: torch.device | str = "cpu") -> Sequences:
        """Held-out sequences by index, on a device."""
        import torch

        length = self.input_frames + self.future_frames
        return self._cut(torch.from_numpy(self.dataset.evaluation(indices, length)).to(device))

    def loss(self, model: torch.nn.Module, batch: Sequences) -> torch.Tensor:
        """Nats per sequence (reconstruction and future weigh 1:1), over the global batch size.

        Every decoded frame weighs the same: a term is the sum over its frames and their pixels.
        """
        import torch

        from models.autoencoder import frame_loss, reversed_targets

        mixed, device = self.precision == "bfloat16", batch.frames_TBD.device.type
        with torch.autocast(device, torch.bfloat16, enabled=mixed):
            decoded = model(batch.frames_TBD, batch.future_FBD, teacher_forced=True)
        total = batch.frames_TBD.new_zeros(())
        if decoded.reconstruction_TBD is not None:
            targets_TBD = reversed_targets(batch.frames_TBD)
            total = (
                total
                + frame_loss(decoded.reconstruction_TBD, targets_TBD, self.dataset.output).sum()
            )
        if decoded.future_TBD is not None:
            total = (
                total + frame_loss(decoded.future_TBD, batch.future_FBD, self.dataset.output).sum()
            )
        return total / self.schedule.batch_size

    def num_chunks(self) -> int:
        """Pieces of the held-out sequences."""
        return -(-self.test_sequences // self.chunk)

    def predict(self, model: torch.nn.Module, chunk: int) -> Predictions:
        """Losses of every sequence of a chunk, mean over its frames; those of the future at every frame, too."""
        from models.autoencoder import frame_loss, reversed_targets

        first = chunk * self.chunk
        indices = range(first, min(first + self.chunk, self.test_sequences))
        batch = self.evaluation(indices, next(model.parameters()).device)
        table: Predictions = {"sequence": np.arange(indices.start, indices.stop, dtype=np.int64)}
        free = model(batch.frames_TBD, future_steps=self.future_frames, teacher_forced=False)
        if free.future_TBD is not None:
            forced = free
            if self.predict_future == "conditional":
                forced = model(batch.frames_TBD, batch.future_FBD, teacher_forced=True)
            for metric, decoded in (
                (FUTURE_LOSS, free),
                (FUTURE_LOSS_TEACHER_FORCED, forced),
            ):
                loss_FB = frame_loss(decoded.future_TBD, batch.future_FBD, self.dataset.output)
                table[metric.name] = loss_FB.double().mean(dim=0).cpu().numpy()
                for frame, loss_B in enumerate(loss_FB, start=1):
                    table[at_frame(metric, frame)] = loss_B.double().cpu().numpy()
            if self.dataset.output == "logistic":
                entropy_FB = _entropy(batch.future_FBD)
                table[TARGET_ENTROPY.name] = entropy_FB.mean(dim=0).cpu().numpy()
        if free.reconstruction_TBD is not None:
            targets_TBD = reversed_targets(batch.frames_TBD)
            loss_TB = frame_loss(free.reconstruction_TBD, targets_TBD, self.dataset.output)
            table["reconstruction_loss"] = loss_TB.double().mean(dim=0).cpu().numpy()
        return table

    def score(self, predictions: Predictions) -> Iterator[Score]:
        """Mean losses over the held-out sequences.

        Raises:
            ValueError: unless every sequence is there exactly once, with finite losses.
        """
        if not np.array_equal(np.sort(predictions["sequence"]), np.arange(self.test_sequences)):
            raise ValueError(
                f"evaluation must see each of {self.test_sequences} sequences exactly once"
            )
        for metric in self.metrics:
            if metric.name in predictions:
                value = float(predictions[metric.name].mean())
                if not np.isfinite(value):
                    raise ValueError(f"{metric.name} is {value}: this model has no score")
                unit = metric.unit if self.dataset.output == "logistic" else "squared loss/frame"
                yield Score(
                    metric=replace(metric, unit=unit), value=value, count=self.test_sequences
                )

    def products(self, model: torch.nn.Module) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """The encoder, for classifiers; the whole model, for pictures."""
        from torch import nn

        encoder = model.encoder
        if not isinstance(encoder, nn.Module):
            raise TypeError(f"{type(model).__name__}.encoder is not a module")
        return {"encoder": encoder.state_dict(), "model": model.state_dict()}


def _entropy(frames_TBD: torch.Tensor) -> torch.Tensor:
    """Entropy of pixels as Bernoulli variables, summed over a frame, float64 (T, B)."""
    import torch

    frames_TBD = frames_TBD.double()
    return -(torch.xlogy(frames_TBD, frames_TBD) + torch.xlogy(1 - frames_TBD, 1 - frames_TBD)).sum(
        2
    )
