"""Features of a model's units: the weights that its run kept, which of them are shown, and how they look in numbers.

An input feature of a unit is its row of the encoder's input weights, one each for the input (the candidate of its cell) and
for its three gates; an output feature is its column of a decoder's output weights (sec. 3.2). Shapes: H units, D = Y X pixels,
K features shown.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reports.evidence import Evidence

Floats = NDArray[np.float64]

TOP = 200
"""Features that the paper shows of each kind."""
FILE = "model"
ENCODER = "encoder.lstm.layers.0.weight_x"
BLOCKS = ("input gate", "forget gate", "input", "output gate")
"""What the four blocks of rows of the encoder's weights belong to, in their order in the file."""
INPUT_KINDS = {
    "input": "Inputs",
    "input gate": "Input Gates",
    "forget gate": "Forget Gates",
    "output gate": "Output Gates",
}
"""Fig. 9's panels in their order, by what csv and tables call them."""
READOUTS = {
    "input reconstruction": ("Input Reconstruction", "reconstructor.readout.weight"),
    "future prediction": ("Future Prediction", "predictor.readout.weight"),
}
"""Fig. 10's panels in their order, each with its weights."""

LINES = ["kind", "rank", "unit", "norm", "area", "smoothness"]
"""Columns of the csv file, a line a feature shown; `rank` counts places of the figure from 1, `unit` the model's from 0."""


class NoSuchWeights(ValueError):
    """A model has no weights by that name, or its run kept no such file: not every model has every kind of feature."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """The features of one kind, and which of them are shown."""

    kind: str
    weights_HD: Floats
    """Of all units, float64."""
    units_K: NDArray[np.intp]
    """The units shown, in their order."""

    @property
    def pictures(self) -> Floats:
        """What is shown, (K, Y, X)."""
        side = math.isqrt(self.weights_HD.shape[1])
        return self.weights_HD[self.units_K].reshape(-1, side, side)


def input_features(evidence: Evidence, cell: str) -> list[Features]:
    """The four kinds of input features, all in the order of the L2 norm of the first, the inputs; empty without a run.

    Args:
        evidence: knows what the cell's run kept.
        cell: its key.

    Raises:
        NoSuchWeights: when the model has none.
        ValueError: when they are no square pictures, or not finite.
    """
    kept = _kept(
        evidence,
        cell,
        [ENCODER],
        "Fig. 9 shows the input weights of the paper's LSTM encoder, and an encoder of your own has none by that name: "
        "Fig. 10 shows the decoders of any Composite Model",
    )
    if not kept:
        return []
    blocks = dict(zip(BLOCKS, np.split(kept[ENCODER], len(BLOCKS)), strict=True))
    units_K = largest(blocks["input"])
    return [Features(kind=kind, weights_HD=blocks[kind], units_K=units_K) for kind in INPUT_KINDS]


def output_features(evidence: Evidence, cell: str) -> list[Features]:
    """The output features of both decoders, each in the order of its own L2 norms; empty without a run.

    Arguments and errors as for `input_features`.
    """
    names = {kind: name for kind, (_, name) in READOUTS.items()}
    kept = _kept(
        evidence,
        cell,
        list(names.values()),
        "Fig. 10 shows both decoders of a Composite Model: set reconstruct and predict_future",
    )
    return [
        Features(kind=kind, weights_HD=kept[name].T, units_K=largest(kept[name].T))
        for kind, name in names.items()
        if kept
    ]


def largest(weights_HD: Floats, top: int = TOP) -> NDArray[np.intp]:
    """Units by falling L2 norm of their weights, the first `top`; of equal norms the lower unit comes first."""
    return np.argsort(-np.linalg.norm(weights_HD, axis=1), kind="stable")[:top]


def area(weights_KD: Floats) -> Floats:
    """Pixels that a feature's energy is spread over, (K,): (sum w^2)^2 / sum w^4; 0 for a feature of zeros."""
    squared_KD = weights_KD**2
    fourth_K = (squared_KD**2).sum(axis=1)
    area_K: Floats = squared_KD.sum(axis=1) ** 2 / np.where(fourth_K > 0, fourth_K, 1.0)
    return area_K


def smoothness(tiles_KYX: Floats) -> Floats:
    """Mean product of weights side by side or one above the other, over the mean square, (K,); 0 for a feature of zeros."""
    down_K = (tiles_KYX[:, 1:] * tiles_KYX[:, :-1]).mean(axis=(1, 2))
    right_K = (tiles_KYX[:, :, 1:] * tiles_KYX[:, :, :-1]).mean(axis=(1, 2))
    square_K = (tiles_KYX**2).mean(axis=(1, 2))
    smoothness_K: Floats = (down_K + right_K) / 2 / np.where(square_K > 0, square_K, 1.0)
    return smoothness_K


def lines_of(found: Sequence[Features]) -> pd.DataFrame:
    """The columns of LINES, a line a feature shown."""
    frames = []
    for each in found:
        shown_KD = each.weights_HD[each.units_K]
        frames.append(
            pd.DataFrame(
                {
                    "kind": each.kind,
                    "rank": np.arange(1, len(each.units_K) + 1),
                    "unit": each.units_K,
                    "norm": np.linalg.norm(shown_KD, axis=1),
                    "area": area(shown_KD),
                    "smoothness": smoothness(each.pictures),
                }
            )
        )
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=LINES)


def _kept(evidence: Evidence, cell: str, names: Sequence[str], why: str) -> dict[str, Floats]:
    """Weights that a run kept, in float64; nothing else of the file is read."""
    try:
        kept = evidence.arrays(cell, FILE, names)
    except ValueError as error:
        raise NoSuchWeights(f"{error}; {why}") from error
    for name, weights in kept.items():
        pixels = weights.shape[1] if name == ENCODER else weights.shape[0]
        if math.isqrt(pixels) ** 2 != pixels or pixels < 4:
            raise ValueError(
                f"{name} of cell {cell[:16]} has {pixels:,} numbers a feature, which are no square picture: features are "
                "shown of models of frames, not of percepts"
            )
        if not np.isfinite(weights).all():
            raise ValueError(
                f"{name} of cell {cell[:16]} has weights that are no finite numbers: its training diverged, and a lower rate "
                "makes another cell"
            )
    return {name: weights.astype(np.float64) for name, weights in kept.items()}
