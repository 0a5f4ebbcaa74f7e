"""Percepts: every frame of an indexed set of videos through a convnet, into a feature store (sec. 3.1).

The paper's are fc6 of the 16-layer network of Simonyan and Zisserman (2014b) after its ReLU, of the central 224 x 224 of
frames of 240 x 320. Each cell is one shard of the store; a run that was broken off makes the shards that are missing.
The store lies beside the set's index, and `--set dataset=NAME` of other experiments finds it there.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

from configs.data import indexed
from configs.experiment import Experiment
from configs.knobs import did_you_mean
from reports.evidence import Evidence
from tasks.cell import Cell
from tasks.convnets import ConvnetSpec, convnet, raw_pixels
from tasks.data.index import read
from tasks.percepts import Percepts, Recipe


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.percepts import draw  # pandas: only when something is drawn

    return draw(evidence, formats)


def percepts(
    *,
    dataset: Annotated[str, "a set that `harness data index` has made"],
    convnet: Annotated[
        Literal["vgg16", "squeezenet", "raw_pixels"], "which convnet (paper: vgg16)"
    ] = "vgg16",
    weights: Annotated[str, "file with its weights: .pth, .safetensors or .npz"] = "",
    layer: Annotated[str, "where percepts are taken; empty: fc6, or fire9 of squeezenet"] = "",
    preprocessing: Annotated[
        Literal["default", "torchvision", "caffe", "squeezenet_dc"],
        "how the weights want frames: torchvision's or Caffe's",
    ] = "default",
    rows: Annotated[int, "rows of pixels that frames are resized to (paper: 240)"] = 240,
    columns: Annotated[int, "columns of pixels that frames are resized to (paper: 320)"] = 320,
    side: Annotated[int, "raw_pixels: rows and columns that the crop is averaged down to"] = 32,
    shard_frames: Annotated[int, "frames of a shard, about"] = 100_000,
    net: ConvnetSpec | None = None,
) -> Experiment:
    """Extract percepts.

    Args:
        dataset: the set's name.
        convnet: which convnet.
        weights: the file with its weights.
        layer: where percepts are taken.
        preprocessing: how the weights want frames.
        rows: rows of a resized frame.
        columns: columns of a resized frame.
        side: of raw_pixels.
        shard_frames: frames of a shard.
        net: a convnet of your own (`tasks.convnets.own_convnet`) in place of those by name, for Python callers.

    Raises:
        ValueError: when the set, the convnet, the layer or the file is not there, in one sentence.
    """
    known = indexed()
    if dataset not in known:
        there = f"there are: {', '.join(known)}" if known else "there is none yet"
        raise ValueError(
            f"dataset='{dataset}' is no indexed set of videos{did_you_mean(dataset, known)} ({there}): index one with "
            "`harness data index NAME --videos DIR`, and name it with --set dataset=NAME"
        )
    index = read(dataset)
    recipe = Recipe(
        set_name=dataset,
        videos=index.content_identity,
        convnet=net or _spec(convnet, weights, layer, preprocessing, side, (rows, columns)),
        size=(rows, columns),
        shard_frames=shard_frames,
    )
    cells = tuple(
        Cell(task=Percepts(recipe=recipe, shard=shard), label=recipe.convnet.title)
        for shard in range(len(recipe.plan.shards))
    )
    left_out = len(index.left_out)
    notes = [*index.notes]
    if left_out:
        notes.append(f"{left_out} files of {dataset} were left out when it was indexed.")
    return Experiment(
        title=f"Percepts of {dataset}: {recipe.convnet.title}",
        cells=cells,
        draw=_draw,
        notes=tuple(notes),
    )


def _spec(
    name: str, weights: str, layer: str, preprocessing: str, side: int, size: tuple[int, int]
) -> ConvnetSpec:
    if name == "raw_pixels":
        if weights or layer:
            raise ValueError("raw_pixels has neither weights nor layers: leave them out")
        return raw_pixels(side=side, crop=min(224, *size))
    if not weights:
        raise ValueError(f"{name} needs its weights: name the file with --set weights=FILE")
    return convnet(
        name,
        weights=Path(weights).expanduser().resolve(),
        layer=layer or None,
        preprocessing=None if preprocessing == "default" else preprocessing,
    )
