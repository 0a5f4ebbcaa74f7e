"""The LSTM classifier of Fig. 11 trained on a labelled subset, from random or pretrained weights (sec. 3.3).

A step takes B blocks of 16 consecutive frames from the subset's videos: a video drawn uniformly, then a start
drawn uniformly, so that "one labelled video means many labelled 16-frame blocks". What is drawn, and every
dropout mask, is a function of (seed, step). Shapes: T frames of a block, B blocks, D numbers, C classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from tasks import videoeval
from tasks.cell import UNKEYED, Cell, canonical
from tasks.data.dataset import ReadOnDevice
from tasks.encoders import LSTM, EncoderSpec
from tasks.pretrain import Pretrain
from tasks.schedule import Schedule
from tasks.subset import Subset
from tasks.task import Metric, Needed, Predictions, Score, Shard, Value

if TYPE_CHECKING:
    import torch

    from models.dropout import Dropout
    from models.stacked import StackedBlocks


class Blocks(NamedTuple):
    """Labelled blocks and the masks to train on them with."""

    frames_TBD: torch.Tensor
    labels_B: torch.Tensor
    dropout: Dropout | None


def draw_blocks(
    subset: Subset, *, seed: int, step: int, count: int, block: int, shard: Shard
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw labelled blocks: a pure function of (subset, seed, step).

    Returns:
        Frames float32 (T, B, D), where the shard wants them if the dataset can read them there, and labels int64 (B,), on the
        CPU: this shard's rows of the global batch of `count` blocks.
    """
    import torch

    draws = np.random.Generator(np.random.Philox(key=[seed, step]))
    videos, dataset = subset.videos, subset.dataset
    which, where = draws.integers(len(videos), size=count), draws.random(count)
    windows = []
    for index, fraction in zip(which[shard.rows], where[shard.rows], strict=True):
        video = videos[int(index)]
        windows.append((video, int(fraction * max(1, video.num_frames - block + 1))))
    if isinstance(dataset, ReadOnDevice):
        frames_TBD = dataset.windows_on(shard.device, windows, block)
    else:
        pieces = [
            videoeval.hold(dataset.window(video, start, block), block) for video, start in windows
        ]
        frames_TBD = torch.from_numpy(np.stack(pieces, axis=1))
    return frames_TBD, torch.tensor([video.label for video, _ in windows])


@dataclass(frozen=True, kw_only=True, slots=True)
class FewShot:
    """Train a classifier on a subset of one split's training list and test it on that split's test list.

    Raises:
        ValueError: for a split that does not exist or leaks, or a value outside its range.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = (
        videoeval.VIDEO_ACCURACY,
        videoeval.BLOCK_ACCURACY,
        videoeval.VIDEO_NLL,
    )
    parallel: ClassVar[bool] = False

    subset: Subset
    encoder: EncoderSpec
    dropout: float
    """Ratio of dropped activations, on each layer's input and before the output weights."""
    block: int = 16
    stride: int = 8
    schedule: Schedule
    chunk: int = field(default=32, metadata=UNKEYED)
    """Videos evaluated at once."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: the ratio lies in [0, 1)")
        for name in ("block", "stride", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: it must be at least 1")

    def check(self, needs: tuple[Cell, ...]) -> None:
        """A classifier starts from nothing, or from one pretrained encoder of its own kind."""
        if not needs:
            return
        task = needs[0].task
        if len(needs) > 1 or not isinstance(task, Pretrain):
            raise ValueError(
                "a few-shot cell needs nothing, or one pretraining cell whose encoder it starts from"
            )
        if (
            task.encoder != self.encoder
            or task.dataset.frame_size != self.subset.dataset.frame_size
        ):
            raise ValueError(
                f"the pretrained encoder ({task.encoder}, frames of {task.dataset.frame_size}) is not the classifier's "
                f"({self.encoder}, frames of {self.subset.dataset.frame_size}): both must be the same"
            )

    def values(self) -> dict[str, Value]:
        """The values that tell this task from others, flat."""
        return {
            **self.subset.values(),
            "encoder": self.encoder.title,
            "units": self.encoder.units,
            "layers": self.encoder.layers,
            "dropout": self.dropout,
            "block": self.block,
            "stride": self.stride,
            "steps": self.schedule.steps,
            "batch_size": self.schedule.batch_size,
            "learning_rate": self.schedule.learning_rate,
        }

    def gflop(self) -> float:
        """Expected cost in 10^9 operations."""
        tested = videoeval.num_test_blocks(
            self.subset.dataset, self.subset.split, block=self.block, stride=self.stride
        )
        trained = 3 * self.schedule.steps * self.schedule.batch_size
        return self.block * self.encoder.gflop(self.subset.dataset.frame_size) * (trained + tested)

    def files(self) -> Mapping[str, bytes]:
        """The subset's manifest."""
        return {"subset.json": self.subset.manifest()}

    def lost(self) -> str:
        """Nothing: all that it leaves is in its run's folder."""
        return ""

    def build(self, seed: int, needed: tuple[Needed, ...]) -> torch.nn.Module:
        """The classifier at step 0, its encoder random or pretrained; the output weights are always random."""
        import torch

        from models.classifier import LSTMClassifier, load_encoder

        torch.manual_seed(seed)
        encoder = self.encoder.build(self.subset.dataset.frame_size)
        model = LSTMClassifier(encoder, len(self.subset.dataset.classes))
        for each in needed:
            load_encoder(encoder, each.tensors("encoder"))
        return model

    def batch(self, seed: int, step: int, shard: Shard) -> Blocks:
        """This rank's rows of the global batch of `step`, and its dropout masks."""
        import torch

        from models.dropout import Dropout

        size = self.schedule.batch_size
        frames_TBD, labels_B = draw_blocks(
            self.subset, seed=seed, step=step, count=size, block=self.block, shard=shard
        )
        # One 32-bit seed: of a larger one, torch's generator on the CPU drops the upper half.
        (mask_seed,) = np.random.SeedSequence([seed, step]).generate_state(1)
        # Drawn where they are used: a CPU takes longer to draw the masks of large frames than a GPU takes for the whole step.
        masks = torch.Generator(shard.device).manual_seed(int(mask_seed))
        dropout = (
            Dropout(self.dropout, masks, batch_size=size, rows=shard.rows) if self.dropout else None
        )
        return Blocks(frames_TBD, labels_B, dropout)

    def loss(self, model: torch.nn.Module, batch: Blocks) -> torch.Tensor:
        """Cross entropy summed over a block's steps (sec. 3.3), over the global batch size."""
        from models.classifier import LSTMClassifier

        return (
            LSTMClassifier.step_loss(model(batch.frames_TBD, batch.dropout), batch.labels_B).sum()
            / self.schedule.batch_size
        )

    def together(self) -> str:
        """Equal for cells that differ in shots and resample alone; empty where an encoder or the task is a user's own."""
        if type(self) is not FewShot or type(self.encoder) is not LSTM:
            return ""
        told = canonical(self)
        del told["subset"]["shots"], told["subset"]["resample"]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]

    def stack(self, models: Sequence[torch.nn.Module]) -> torch.nn.Module:
        """R classifiers as one."""
        from models.stacked import StackedClassifiers

        return StackedClassifiers(models)

    def stack_batches(self, batches: Sequence[Blocks]) -> StackedBlocks:
        """The blocks of R cells, each with its own masks."""
        from models.stacked import stack_blocks

        return stack_blocks(batches)

    def losses(self, model: torch.nn.Module, batch: StackedBlocks) -> torch.Tensor:
        """Every replica's `loss`, (R,)."""
        from models.stacked import StackedClassifiers

        logits_RTBC = model(batch.frames_RTBD, batch.dropouts)
        loss_RB = StackedClassifiers.step_loss(logits_RTBC, batch.labels_RB)
        return loss_RB.sum(1) / self.schedule.batch_size

    def num_chunks(self) -> int:
        """Pieces of the test list."""
        return -(-len(self.subset.test_videos) // self.chunk)

    def predict(self, model: torch.nn.Module, chunk: int) -> Predictions:
        """Probabilities of every block of a chunk's videos."""
        from models.classifier import LSTMClassifier
        from models.encoder import LSTMEncoder, WrappedEncoder

        if not isinstance(model, LSTMClassifier):
            raise TypeError(f"{type(model).__name__} is not the classifier that this task builds")
        videos = videoeval.chunk_of(self.subset.test_videos, chunk, self.chunk)
        # A class derived from these may compute something else in its `forward`, which is then what was trained.
        known = type(model) is LSTMClassifier and type(model.encoder) in (
            LSTMEncoder,
            WrappedEncoder,
        )
        run, per_frame = (
            (model.from_products, model.encoder.frame_products)
            if known
            else (model, videoeval.as_they_are)
        )
        return videoeval.predict_blocks(
            self.subset.dataset,
            videos,
            lambda frames_TBD: model.block_probabilities(run(frames_TBD)),
            block=self.block,
            stride=self.stride,
            device=next(model.parameters()).device,
            per_frame=per_frame,
        )

    def score(self, predictions: Predictions) -> Iterator[Score]:
        """Video and block accuracy on the split's test list."""
        return videoeval.score_videos(predictions, self.subset.test_videos)

    def products(self, model: torch.nn.Module) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """Nothing: no other cell starts from a classifier."""
        return {}
