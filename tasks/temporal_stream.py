"""Training the temporal stream: CNN-M-2048 on stacks of optical flow (sec. 3.1, after Simonyan and Zisserman 2014a).

A step takes B stacks of L fields: a class drawn uniformly, one of its training videos, a place in it, a crop of 224 x 224, and
by a coin's toss its mirror image with u negated; each field's mean is taken from it. What is drawn, and every dropout mask, is a
function of (seed, step). At test time 25 stacks equally spaced, of each the four corners, the centre and their mirror images,
are averaged as probabilities.

What differs from that paper, or is open in it: the rate rises at first, then falls by a cosine over all steps, and not to a tenth
at 50,000 and again at 70,000 of 80,000; weights start as in He et al. (2015), but the last layer at zero, so that a large ratio of dropout does not
shout at first; weight decay is that of Chatfield et al. (2014); fields are in pixels of motion, and every class is drawn equally often.

Shapes: B stacks, L fields, C = 2L channels, K classes, Y and X pixels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from tasks import videoeval
from tasks.cell import UNKEYED, Cell
from tasks.data.dataset import Video, check_split
from tasks.data.flow_videos import VideoFlow
from tasks.flow_crops import (
    corners_and_centre,
    cut,
    draw_crops,
    even_starts,
    in_pixels,
    means,
    read_stack,
)
from tasks.schedule import Schedule
from tasks.task import Metric, Needed, Predictions, Score, Shard, Value

if TYPE_CHECKING:
    import numpy as np
    import torch

    from models.dropout import Dropout

CROP = 224
"""Rows and columns that the net takes."""
WIDTHS = (96, 256, 512, 2048, 4096)
"""Of the net's layers."""
GFLOP = 3.6
"""Of one stack forward, at full width."""
WEIGHTS = "cnn_m_2048"
"""Name of the file in which the trained net is kept, without its ending."""

STACK_ACCURACY = Metric(
    name="stack_accuracy",
    unit="%",
    higher_is_better=True,
    meaning="stacks of test videos whose probabilities, averaged over crops, have their maximum at the right class",
)


class Stacks(NamedTuple):
    """Labelled crops of stacks, and the masks to train on them with."""

    levels_BCYX: torch.Tensor
    means_BC: torch.Tensor
    labels_B: torch.Tensor
    dropout: Dropout | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TemporalStream:
    """Train a temporal stream on one split's training list and test it on that split's test list.

    Raises:
        ValueError: for a set without labels, a split that does not exist or leaks, fields smaller than a crop, or a value
            outside its range.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = (
        videoeval.VIDEO_ACCURACY,
        STACK_ACCURACY,
        videoeval.VIDEO_NLL,
    )
    parallel: ClassVar[bool] = True

    dataset: VideoFlow
    split: int
    """Trained on its training list, tested on its test list, and on no other."""
    length: int
    """L, fields of a stack (paper: 1 and 10)."""
    subtract_mean: bool = True
    """Whether each field's mean over the image is taken from it."""
    dropout: float = 0.9
    """Ratio of dropped units of fc6 and of fc7."""
    divisor: int = 1
    """Every width of the net is divided by it: a narrow copy for small machines."""
    test_stacks: int = 25
    """Stacks of a video that are looked at in a test, or as many as it has."""
    test_crops: Literal[1, 5] = 5
    """The centre, or the four corners too."""
    test_flips: bool = True
    """Whether mirror images are looked at too."""
    schedule: Schedule
    chunk: int = field(default=16, metadata=UNKEYED)
    """Videos evaluated at once."""
    at_once: int = field(default=64, metadata=UNKEYED)
    """Crops that go through the net together in evaluation."""

    def __post_init__(self) -> None:
        name = self.dataset.name
        if not self.dataset.splits:
            raise ValueError(
                f"{name} has no labels, and the temporal stream is trained on labels: index it with --labels or --lists"
            )
        check_split(self.dataset, self.split)
        rows, columns = self.dataset.rows, self.dataset.columns
        if min(rows, columns) < CROP:
            raise ValueError(
                f"the fields of {self.dataset.place} are {rows} x {columns}, smaller than the crop of {CROP} x {CROP}: make "
                "larger ones with `harness run flow --set rows=... --set columns=...`"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: the ratio lies in [0, 1)")
        if self.divisor < 1 or any(width % self.divisor for width in WIDTHS):
            raise ValueError(
                f"divisor={self.divisor}: it must divide every width of the net, such as 96 and 2048"
            )
        if self.test_crops not in (1, 5):
            raise ValueError(f"test_crops={self.test_crops}: 1 is the centre, 5 has the corners")
        for what in ("length", "test_stacks", "chunk", "at_once"):
            if getattr(self, what) < 1:
                raise ValueError(f"{what}={getattr(self, what)}: it must be at least 1")

    def check(self, needs: tuple[Cell, ...]) -> None:
        """It starts from random weights."""
        if needs:
            raise ValueError("a temporal stream starts from nothing and needs no other cell")

    def values(self) -> dict[str, Value]:
        """The values that tell this task from others, flat."""
        train = self.dataset.train(self.split)
        return {
            "dataset": self.dataset.name,
            "stream": f"flow{self.length}",
            "split": self.split,
            "shots": "all",
            "labels_per_class": round(len(train) / len(self.dataset.classes), 2),
            "resample": 0,
            "flow": self.dataset.place,
            "flow_method": self.dataset.method,
            "flow_bound": self.dataset.bound,
            "rows": self.dataset.rows,
            "columns": self.dataset.columns,
            "flow_fields": self.length,
            "subtract_mean": self.subtract_mean,
            "dropout": self.dropout,
            "divisor": self.divisor,
            "test_stacks": self.test_stacks,
            "test_crops": self.test_crops,
            "test_flips": self.test_flips,
            "steps": self.schedule.steps,
            "batch_size": self.schedule.batch_size,
            "learning_rate": self.schedule.learning_rate,
        }

    def gflop(self) -> float:
        """Expected cost in 10^9 operations."""
        views = self.test_stacks * self.test_crops * (1 + self.test_flips)
        tested = views * len(self.dataset.test(self.split))
        trained = 3 * self.schedule.steps * self.schedule.batch_size
        return GFLOP / self.divisor**2 * (trained + tested)

    def files(self) -> Mapping[str, bytes]:
        """Both lists, by number and by the sha256 of their ids in order."""
        lists = {"train": self.dataset.train(self.split), "test": self.dataset.test(self.split)}
        content = {
            "dataset": self.dataset.name,
            "split": self.split,
            **{
                name: {
                    "videos": len(videos),
                    "sha256": hashlib.sha256(
                        "\n".join(sorted(video.id for video in videos)).encode()
                    ).hexdigest(),
                }
                for name, videos in lists.items()
            },
        }
        return {"lists.json": (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()}

    def lost(self) -> str:
        """Nothing: all that it leaves is in its run's folder."""
        return ""

    def build(self, seed: int, needed: tuple[Needed, ...]) -> torch.nn.Module:
        """The net at step 0: a function of the seed."""
        del needed
        import torch
        from torch import nn

        from models.convnets import CNNM2048

        torch.manual_seed(seed)
        model = CNNM2048(2 * self.length, len(self.dataset.classes), divisor=self.divisor)
        for name, parameter in model.named_parameters():
            if name.endswith(".bias") or name.startswith("fc8."):
                nn.init.zeros_(parameter)
            else:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        return model

    def batch(self, seed: int, step: int, shard: Shard) -> Stacks:
        """This rank's rows of the global batch of `step`, and its dropout masks."""
        import numpy as np
        import torch

        from models.dropout import Dropout

        size = self.schedule.batch_size
        crops = draw_crops(
            self.dataset,
            self.split,
            seed=seed,
            step=step,
            count=size,
            rows=shard.rows,
            length=self.length,
            crop=CROP,
            subtract_mean=self.subtract_mean,
        )
        (mask_seed,) = np.random.SeedSequence([seed, step]).generate_state(1)
        masks = torch.Generator().manual_seed(int(mask_seed))
        # Given even where nothing is dropped, or the net would drop half of its own accord.
        dropout = Dropout(self.dropout, masks, batch_size=size, rows=shard.rows)
        levels_BCYX, means_BC, labels_B = (torch.from_numpy(each) for each in crops)
        return Stacks(levels_BCYX, means_BC, labels_B, dropout)

    def loss(self, model: torch.nn.Module, batch: Stacks) -> torch.Tensor:
        """Cross entropy, over the global batch size."""
        from torch.nn import functional

        dtype = next(model.parameters()).dtype
        images_BCYX = in_pixels(batch.levels_BCYX, batch.means_BC, self.dataset.bound, dtype)
        logits_BK = model(images_BCYX, batch.dropout)
        total = functional.cross_entropy(logits_BK, batch.labels_B, reduction="sum")
        return total / self.schedule.batch_size

    def num_chunks(self) -> int:
        """Pieces of the test list."""
        return -(-len(self.dataset.test(self.split)) // self.chunk)

    def predict(self, model: torch.nn.Module, chunk: int) -> Predictions:
        """Probabilities of the stacks of a chunk's videos, each the mean over its crops and their mirror images.

        Returns:
            Columns video_id, block (which stack), start, label, p0 .. p{K-1}; one row a stack.
        """
        import numpy as np

        videos = videoeval.chunk_of(self.dataset.test(self.split), chunk, self.chunk)
        rows, probabilities = [], []
        for video in videos:
            starts = even_starts(video.num_frames, self.length, self.test_stacks)
            rows += [(video.id, k, start, video.label) for k, start in enumerate(starts)]
            probabilities.append(self._probabilities(model, video, starts))
        ids, numbers, firsts, labels = zip(*rows, strict=True)
        p_SK = np.concatenate(probabilities)
        table: Predictions = {
            "video_id": np.array(ids),
            "block": np.array(numbers, dtype=np.int32),
            "start": np.array(firsts, dtype=np.int32),
            "label": np.array(labels, dtype=np.int32),
        }
        return table | {f"p{k}": p_SK[:, k] for k in range(p_SK.shape[1])}

    def score(self, predictions: Predictions) -> Iterator[Score]:
        """Video and stack accuracy on the split's test list."""
        return videoeval.score_videos(
            predictions, self.dataset.test(self.split), per_block=STACK_ACCURACY
        )

    def products(self, model: torch.nn.Module) -> Mapping[str, Mapping[str, torch.Tensor]]:
        """The net, as `tasks.convnets.convnet` loads it."""
        return {WEIGHTS: model.state_dict()}

    def _probabilities(self, model: torch.nn.Module, video: Video, starts: list[int]) -> np.ndarray:
        """Of each stack of a video, averaged over its views: float32 (S, K)."""
        import numpy as np
        import torch

        some = next(model.parameters())
        size = (self.dataset.rows, self.dataset.columns)
        views = [
            (corner, flipped)
            for corner in corners_and_centre(size, CROP, self.test_crops)
            for flipped in ((False, True) if self.test_flips else (False,))
        ]
        found = []
        for start in starts:
            stack_CYX = read_stack(self.dataset, video, start, self.length)
            for corner, flipped in views:
                mean_C = (
                    means(stack_CYX, self.dataset.bound, flipped=flipped)
                    if self.subtract_mean
                    else np.zeros(2 * self.length, dtype=np.float32)
                )
                found.append((cut(stack_CYX, corner, CROP, flipped=flipped), mean_C))
        pieces = []
        for first in range(0, len(found), self.at_once):
            levels, taken = zip(*found[first : first + self.at_once], strict=True)
            images_BCYX = in_pixels(
                torch.from_numpy(np.stack(levels)).to(some.device),
                torch.from_numpy(np.stack(taken)).to(some.device),
                self.dataset.bound,
                some.dtype,
            )
            pieces.append(model(images_BCYX).softmax(dim=1).float().cpu().numpy())
        p_BK = np.concatenate(pieces)
        p_SK: np.ndarray = p_BK.reshape(len(starts), len(views), -1).mean(axis=1)
        return p_SK
