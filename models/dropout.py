"""Dropout whose masks do not depend on how many processes share a batch.

Used by the classifier (section 3.3, after Zaremba et al. 2014) and in training the temporal stream. Where it is applied
is decided by lstm.py, classifier.py and convnets.py; this file decides how a mask is drawn.

Letters: R replicas (models trained side by side), T steps, B sequences of this rank, D features.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Dropout:
    """Inverted dropout: zero with probability `ratio`, else times 1/(1 - ratio).

    Every call draws a fresh mask for each step, sequence and feature, so the expectation of the
    output is the input. The mask is drawn for the *global* batch and this rank takes its own rows:
    with equal generators on all ranks, sequence 17 meets the same mask on one GPU as on sixteen.
    For the same reason draws are float32 whatever the model's dtype. They are made on the generator's
    device: a CPU generator gives the same masks on every machine. The few-shot classifier draws on the
    device where it trains (`tasks.fewshot`), so its masks on a GPU are not those of a CPU.

    Not an nn.Module: there is nothing to learn or to switch off. No dropout means passing None.
    """

    def __init__(
        self,
        ratio: float,
        generator: torch.Generator,
        *,
        batch_size: int,
        rows: slice = slice(None),
    ) -> None:
        """Make a dropout for one batch or for many.

        Args:
            ratio: Probability of dropping, 0 <= ratio < 1.
            generator: Source of the masks, in the same condition on every rank.
            batch_size: Sequences in the global batch, over all ranks.
            rows: Which of them are this rank's.

        Raises:
            ValueError: The ratio is out of range.
        """
        if not 0 <= ratio < 1:
            raise ValueError(f"dropout ratio {ratio} is out of range: choose 0 <= ratio < 1")
        self.ratio = ratio
        self.generator = generator
        self.batch_size = batch_size
        self.rows = rows

    def __call__(self, x_TBD: Tensor) -> Tensor:
        """Drop features of (T, B, D) and return the same shape; ratio 0 returns x_TBD itself.

        Raises:
            ValueError: x_TBD has another number of sequences than `rows` selects.
        """
        if self.ratio == 0:
            return x_TBD
        # In place, and scaled here: one tensor is kept for the backward pass, and x is gone over once.
        factors_TBD = self.draw(x_TBD).ge_(self.ratio).div_(1 - self.ratio)
        return x_TBD * factors_TBD.to(x_TBD.device, x_TBD.dtype)

    def draw(self, like_TBD: Tensor) -> Tensor:
        """Draw the numbers in [0, 1) by which features of such a tensor are kept or dropped.

        Raises:
            ValueError: like_TBD has another number of sequences than `rows` selects.
        """
        steps, rank_size, features = like_TBD.shape
        draws_TBD = torch.rand(
            (steps, self.batch_size, features),
            generator=self.generator,
            device=self.generator.device,
            dtype=torch.float32,
        )[:, self.rows]
        if draws_TBD.shape[1] != rank_size:
            raise ValueError(
                f"{rank_size} sequences, but rows {self.rows} of a global batch of "
                f"{self.batch_size} are {draws_TBD.shape[1]}"
            )
        return draws_TBD


def drop_each(dropouts: Sequence[Dropout], x_RTBD: Tensor) -> Tensor:
    """Drop features of R tensors with the masks that each would meet alone: one dropout a tensor, all of one ratio.

    Raises:
        ValueError: The ratios differ, or as `Dropout.draw`.
    """
    ratios = {each.ratio for each in dropouts}
    if len(ratios) != 1:
        raise ValueError(f"ratios {sorted(ratios)} cannot be applied at once: give dropouts of one")
    (ratio,) = ratios
    if ratio == 0:
        return x_RTBD
    draws_RTBD = torch.stack(
        [each.draw(x_TBD) for each, x_TBD in zip(dropouts, x_RTBD, strict=True)]
    )
    factors_RTBD = draws_RTBD.ge_(ratio).div_(1 - ratio)
    return x_RTBD * factors_RTBD.to(x_RTBD.device, x_RTBD.dtype)
