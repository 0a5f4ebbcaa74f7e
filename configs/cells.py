"""The cells that the paper's action-recognition experiments are made of (sec. 3.3), the same in every artefact.

Two artefacts that ask for the same thing get the same cell, and it is computed once.
"""

from typing import Literal, TypeAlias

from configs.optimisers import modern
from configs.scales import Scale
from reports.published import BASELINE, PRETRAINED, SINGLE_FRAME
from tasks.cell import Cell
from tasks.data.dataset import Dataset
from tasks.encoders import EncoderSpec
from tasks.fewshot import FewShot
from tasks.pretrain import Decoder, Pretrain
from tasks.schedule import Schedule
from tasks.single_frame import SingleFrame
from tasks.subset import Subset

FEW = 4
"""Up to so many labelled videos per class a classifier needs fewer steps; more only cost time (LOG.md)."""

ONE_PRETRAINING = (
    "One pretrained model serves all resamples, as in the paper: what another seed of pretraining would give is not in the "
    "error bars."
)
"""What reports of resampled subsets say of their pretraining."""

Shots: TypeAlias = int | Literal["all"]


def pretraining(
    unlabelled: Dataset,
    encoder: EncoderSpec,
    scale: Scale,
    *,
    future_frames: int,
    input_frames: int = 16,
    reconstruct: Decoder = "unconditioned",
    predict_future: Decoder = "unconditioned",
) -> Cell:
    """A pretraining: of a Composite model, unconditioned (sec. 2.5), unless other decoders are named.

    A model without a decoder of the future draws the same sequences as one with it, and leaves their ends unseen.
    """
    return Cell(
        task=Pretrain(
            dataset=unlabelled,
            encoder=encoder,
            reconstruct=reconstruct,
            predict_future=predict_future,
            input_frames=input_frames,
            future_frames=future_frames,
            schedule=modern(scale.pretrain_steps, scale.pretrain_batch, scale.pretrain_rate),
        ),
    )


def classifier(
    subset: Subset,
    encoder: EncoderSpec,
    scale: Scale,
    *,
    dropout: float,
    start: Cell | None,
    block: int = 16,
    suffix: str = "",
) -> Cell:
    """The LSTM classifier from random weights, or from those of a pretraining.

    Args:
        subset: what is labelled.
        encoder: the stack of LSTM layers.
        scale: steps, batch and rate.
        dropout: ratio of dropped activations.
        start: the pretraining; None for random weights.
        block: frames of a block; at test time half a block lies between the beginnings of two (sec. 3.3).
        suffix: of the method's label.
    """
    few = subset.shots is not None and subset.shots <= FEW
    steps = scale.finetune_steps_few if few else scale.finetune_steps
    task = FewShot(
        subset=subset,
        encoder=encoder,
        dropout=dropout,
        block=block,
        stride=max(
            1, block // 2
        ),  # 16 and 8 in the paper; blocks of 4 at stride 8 would leave half the frames unseen
        schedule=Schedule(
            steps=steps,
            batch_size=scale.finetune_batch,
            learning_rate=scale.finetune_rate,
            weight_decay=1e-3,
            warmup_steps=steps // 10,
            clip_norm=20.0,
        ),
    )
    label = (BASELINE if start is None else PRETRAINED).replace("LSTM", encoder.title)
    return Cell(
        task=task,
        seed=subset.resample,
        needs=() if start is None else (start,),
        label=label + suffix,
    )


def regression(subset: Subset, scale: Scale) -> Cell:
    """The single-frame classifier."""
    schedule = Schedule(
        steps=scale.single_frame_steps, batch_size=128, learning_rate=1e-2, weight_decay=1e-2
    )
    return Cell(
        task=SingleFrame(subset=subset, schedule=schedule),
        seed=subset.resample,
        label=SINGLE_FRAME,
    )


def subset_of(data: Dataset, split: int, shots: Shots, resample: int) -> Subset:
    """A labelled subset; "all" is every training video of the split."""
    return Subset(
        dataset=data,
        split=split,
        shots=None if shots == "all" else shots,
        resample=resample,
    )
