"""Percepts: every frame of an indexed set of videos through a convnet, into a feature store (sec. 3.1).

The paper's are fc6 of the 16-layer network of Simonyan and Zisserman (2014b) after its ReLU, of the central 224 x 224 of
frames of 240 x 320. Each cell is one shard of the store; a run that was broken off makes the shards that are missing.
The store lies beside the set's index, and `--set dataset=NAME` of other experiments finds it there.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from configs.data import indexed_set
from configs.experiment import Experiment
from reports.evidence import Evidence
from tasks.cell import Cell
from tasks.convnets import ConvnetSpec, Precision, convnet, raw_pixels
from tasks.flow_stream import FlowSpec
from tasks.percepts import Percepts, Recipe
from tasks.weights_told import told_by


def _draw(evidence: Evidence, formats: Collection[str]) -> dict[str, bytes]:
    from reports.percepts import draw  # pandas: only when something is drawn

    return draw(evidence, formats)


def percepts(
    *,
    dataset: Annotated[str, "a set that `harness data index` has made"],
    stream: Annotated[Literal["rgb", "flow"], "frames, or optical flow between them"] = "rgb",
    convnet: Annotated[
        Literal["vgg16", "squeezenet", "cnn_m_2048", "raw_pixels"],
        "which convnet (paper: vgg16; of flow: the temporal stream, cnn_m_2048)",
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
    flow_method: Annotated[
        Literal["brox", "tvl1", "dis"],
        "optical flow (paper: brox; dis takes a hundredth of its time on CPUs)",
    ] = "brox",
    flow_fields: Annotated[int, "fields of flow seen at once (paper: 1 and 10)"] = 1,
    flow_bound: Annotated[float, "pixels of motion that 8 bits reach to; more is clipped"] = 20.0,
    subtract_mean: Annotated[
        bool | None,
        "take each field's mean from it; none: if the file of weights says so (weights from elsewhere say nothing: not)",
    ] = None,
    precision: Annotated[
        Precision, "numbers in which the convnet computes; the 16-bit ones are for GPUs"
    ] = "float32",
    shard_frames: Annotated[int, "frames of a shard, about"] = 100_000,
    net: ConvnetSpec | None = None,
) -> Experiment:
    """Extract percepts.

    Args:
        dataset: the set's name.
        stream: frames, or optical flow.
        convnet: which convnet.
        weights: the file with its weights.
        layer: where percepts are taken.
        preprocessing: how the weights want frames.
        rows: rows of a resized frame.
        columns: columns of a resized frame.
        side: of raw_pixels.
        flow_method: how flow is found.
        flow_fields: fields of flow seen at once.
        flow_bound: pixels of motion that 8 bits reach to.
        subtract_mean: whether each field of flow loses its mean.
        precision: numbers in which the convnet computes.
        shard_frames: frames of a shard.
        net: a convnet of your own (`tasks.convnets.own_convnet`) in place of those by name, for Python callers.

    Raises:
        ValueError: when the set, the convnet, the layer or the file is not there, in one sentence.
    """
    index = indexed_set(dataset)
    flow = None
    if stream == "flow":
        asked = FlowSpec(method=flow_method, bound=flow_bound, length=flow_fields)
        of_net = str(net.weights) if net is not None and net.weights is not None else weights
        flow = _as_trained(asked, subtract_mean, of_net, (rows, columns))
    spec = net or _spec(convnet, weights, layer, preprocessing, side, (rows, columns), flow)
    recipe = Recipe(
        set_name=dataset,
        videos=index.content_identity,
        convnet=spec,
        flow=flow,
        size=(rows, columns),
        precision=precision,
        shard_frames=shard_frames,
    )
    cells = tuple(
        Cell(task=Percepts(recipe=recipe, shard=shard), label=recipe.convnet.title)
        for shard in range(len(recipe.plan.shards))
    )
    return Experiment(
        title=f"Percepts of {dataset}: {recipe.convnet.title}",
        cells=cells,
        draw=_draw,
        notes=index.notes,
    )


def _as_trained(
    asked: FlowSpec, mean: bool | None, weights: str, size: tuple[int, int]
) -> FlowSpec:
    """The flow to make for weights: as asked, its mean taken from it as was done when they were trained.

    Raises:
        ValueError: when the file of weights says that they were trained on other flow than was asked for.
    """
    told = told_by(Path(weights).expanduser()) if weights else None
    if told is None or told.flow is None:
        return replace(asked, subtract_mean=bool(mean))
    seen = told.flow
    differing = [
        f"{knob}={trained}"
        for knob, trained, wanted in (
            ("flow_method", seen.method, asked.method),
            ("flow_bound", seen.bound, asked.bound),
            ("flow_fields", seen.length, asked.length),
            ("rows", seen.size[0], size[0]),
            ("columns", seen.size[1], size[1]),
            ("subtract_mean", seen.subtract_mean, mean),
        )
        if trained != wanted and wanted is not None
    ]
    if differing:
        raise ValueError(
            f"the weights {weights} were trained on other flow than is asked for: add --set {' --set '.join(differing)}"
        )
    return replace(asked, subtract_mean=seen.subtract_mean)


def _spec(
    name: str,
    weights: str,
    layer: str,
    preprocessing: str,
    side: int,
    size: tuple[int, int],
    flow: FlowSpec | None,
) -> ConvnetSpec:
    if name == "raw_pixels":
        if weights or layer:
            raise ValueError("raw_pixels has neither weights nor layers: leave them out")
        return raw_pixels(
            side=side, crop=min(224, *size), flow_channels=flow.channels if flow else 0
        )
    if not weights:
        raise ValueError(f"{name} needs its weights: name the file with --set weights=FILE")
    arguments = {}
    if name == "cnn_m_2048":
        arguments["input_channels"] = flow.channels if flow else 3
    return convnet(
        name,
        weights=Path(weights).expanduser().resolve(),
        layer=layer or None,
        preprocessing=None if preprocessing == "default" else preprocessing,
        **arguments,
    )
