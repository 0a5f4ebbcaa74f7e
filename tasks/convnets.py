"""Which convnet turns frames into percepts, from which layer, with which weights, after which preprocessing.

A convnet is described by plain values here and built where torch is. The description holds everything that can
alter a feature, and the weights by their sha256, not by their place: it can be part of a cell's key and of the
identity of stored features. Shapes: T frames, Y rows, X columns, C channels, B frames at once, D numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import numpy as np

from tasks.cell import KEYED_UNLESS_DEFAULT, UNKEYED
from tasks.encoders import code_identity
from tasks.preprocessing import PREPROCESSINGS, Preprocessing
from tasks.task import Value
from tasks.weights_told import LabelsSeen, Told, told_by

if TYPE_CHECKING:
    import torch
    from torch import nn

    from models.percepts import Convnet

MOST_CLASSES = 1_000_000
Precision: TypeAlias = Literal["float32", "float16", "bfloat16"]
"""In which numbers a convnet computes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What is known of a convnet without building it."""

    place: str
    """Its class in models.convnets."""
    layer: str
    """Where features are taken unless said otherwise."""
    arguments: Mapping[str, int]
    sizes: Mapping[str, int]
    """Numbers of a feature by layer, but for "prob", which has one for each class."""


_KNOWN: Mapping[str, _Known] = {
    "vgg16": _Known(
        place="VGG16",
        layer="fc6",
        arguments={"num_classes": 1000},
        sizes={"pool5": 25088, "fc6": 4096, "fc7": 4096},
    ),
    "squeezenet": _Known(
        place="SqueezeNet",
        layer="fire9",
        arguments={"num_classes": 1000, "conv10_padding": 1},
        sizes={"fire9": 512},
    ),
    "cnn_m_2048": _Known(
        place="CNNM2048",
        layer="fc6",
        arguments={"input_channels": 20, "num_classes": 101},
        sizes={"pool5": 18432, "fc6": 4096, "fc7": 2048},
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ConvnetSpec:
    """A convnet, a layer of it, and all that its features depend on; made by `convnet`, `raw_pixels` or `own_convnet`.

    Raises:
        ValueError: for a convnet, layer or argument that does not exist.
    """

    version: ClassVar[int] = 1
    """Raised whenever the same values would give other features."""

    name: str
    layer: str
    feature_size: int
    """D, the numbers of a feature."""
    preprocessing: Preprocessing
    weights_sha256: str = ""
    """sha256 of the file of weights; empty for what has none."""
    arguments: tuple[tuple[str, Value], ...] = ()
    """What the module is made with."""
    code: str = ""
    """sha256 of the source that a user's own module is made of."""
    trained_on: LabelsSeen | None = field(default=None, metadata=KEYED_UNLESS_DEFAULT)
    """The set and split whose labels its weights were trained on: on that set, its percepts serve that split alone."""
    weights: Path | None = field(default=None, metadata=UNKEYED, compare=False)
    """Where the file of weights lies on this machine."""
    factory: Callable[..., nn.Module] | None = field(
        default=None, metadata=UNKEYED, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.feature_size < 1:
            raise ValueError(f"feature_size={self.feature_size}: a feature has at least 1 number")
        if not self.code and self.name not in (*_KNOWN, "raw_pixels"):
            raise ValueError(
                f"there is no convnet {self.name!r}: choose from {', '.join(_KNOWN)} (convnet), raw_pixels, or describe "
                "your own (own_convnet)"
            )

    @property
    def title(self) -> str:
        """What reports call it."""
        return f"{self.name} {self.layer}"

    def prepare(self, frames_TYXC: np.ndarray) -> np.ndarray:
        """From frames to what the convnet reads, (T, C, crop, crop) float32; see `Preprocessing.prepare`."""
        return self.preprocessing.prepare(frames_TYXC)

    def build(self) -> Convnet:
        """The convnet on the CPU, in eval mode and without gradients, its weights loaded and checked.

        Raises:
            ValueError: when the weights' place is not known here, or an own module is not what it should be.
            models.weights.WeightsError: when the file cannot be read, is another one, or does not fit.
        """
        from models.weights import load_weights

        if self.weights_sha256 and self.weights is None:
            raise ValueError(
                f"the weights of {self.title} (sha256 {self.weights_sha256[:16]}...) have no place on this machine: "
                "give the file with replace(spec, weights=PATH)"
            )
        module = self._module()
        if self.weights is not None:
            load_weights(module, self.weights, expect=self.weights_sha256)
        size = module.feature_size(self.layer)
        assert size == self.feature_size, (self.name, self.layer, size)
        for parameter in module.parameters():
            parameter.requires_grad_(False)
        return module.eval()

    def check(self) -> None:
        """Load the weights once to see that they fit; asked again in the same process it takes no time.

        Raises:
            ValueError: when they are missing, damaged, of another convnet or another file than was described.
        """
        _check(self)

    def _module(self) -> Convnet:
        """The module before its weights are loaded."""
        import torch

        from models import convnets
        from models.percepts import RawPixels, WrappedConvnet

        arguments: dict[str, Any] = dict(self.arguments)
        if self.code:
            if self.factory is None:
                raise ValueError(
                    f"the convnet {self.name} has no factory: describe it with own_convnet"
                )
            # What has no weights from a file has initial ones: the same wherever features are made.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                return WrappedConvnet(self.factory(**arguments), self.feature_size)
        if self.name == "raw_pixels":
            return RawPixels(**arguments)
        # On the meta device nothing is filled with numbers that the file would only overwrite.
        with torch.device("meta"):
            made: Convnet = getattr(convnets, _KNOWN[self.name].place)(**arguments)
        return made

    def features(
        self,
        module: Convnet,
        frames_TYXC: np.ndarray,
        *,
        at_once: int = 32,
        precision: Precision = "float32",
    ) -> np.ndarray:
        """Features of frames.

        Args:
            module: what `build` gave, on any device.
            frames_TYXC: as `Preprocessing.prepare` takes them.
            at_once: frames that go through the convnet together; alters memory and speed, and features by
                rounding at most.
            precision: see `launch`.

        Returns:
            float32 (T, D).
        """
        features_TD = np.empty((len(frames_TYXC), self.feature_size), dtype=np.float32)
        for start in range(0, len(frames_TYXC), at_once):
            piece = slice(start, start + at_once)
            features_TD[piece] = self.launch(module, frames_TYXC[piece], precision).cpu().numpy()
        return features_TD

    def launch(
        self, module: Convnet, frames_BYXC: np.ndarray, precision: Precision = "float32"
    ) -> torch.Tensor:
        """Start to compute features of frames that go through the convnet together.

        Args:
            module: what `build` gave, on any device.
            frames_BYXC: as `Preprocessing.prepare` takes them.
            precision: of the convnet's products. "float32" is float32 on GPUs too, where convolutions would else be
                done in TF32, with 10 bits of mantissa; the others are mixed precision, which torch calls autocast.

        Returns:
            float32 (B, D) on the module's device; a GPU may still be at it.
        """
        import torch

        device = device_of(module)
        images_BCYX = self.preprocessing.prepare_on(frames_BYXC, device)
        mixed = precision != "float32"
        with (
            torch.inference_mode(),
            # The same algorithm each time, so that a shard made again is the same bytes.
            torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False),
            torch.autocast(device.type, getattr(torch, precision), enabled=mixed),
        ):
            return module.features(images_BCYX, self.layer).float()


def device_of(module: nn.Module) -> torch.device:
    """Where a module is: on the CPU if it holds no numbers."""
    import torch

    held = next(iter([*module.parameters(), *module.buffers()]), None)
    return torch.device("cpu") if held is None else held.device


@lru_cache(maxsize=8)
def _check(spec: ConvnetSpec) -> None:
    from models.weights import WeightsError

    try:
        spec.build()
    except WeightsError as error:
        raise ValueError(str(error)) from None


def convnet(
    name: str,
    *,
    weights: Path,
    layer: str | None = None,
    preprocessing: str | Preprocessing | None = None,
    **arguments: int,
) -> ConvnetSpec:
    """Describe a convnet of this package with weights from a file, which is read for its sha256.

    Args:
        name: vgg16, squeezenet or cnn_m_2048.
        weights: a .pth, .pt, .safetensors or .npz file.
        layer: where features are taken; left out, the paper's (fc6), or fire9.
        preprocessing: a name in PREPROCESSINGS or a value. It must be the one that the weights were trained with,
            which no file states. Left out: vgg16 torchvision (say "caffe" for weights from Caffe); squeezenet
            squeezenet_dc; cnn_m_2048 flow, or caffe with 3 input channels.
        arguments: num_classes; of cnn_m_2048 input_channels (3, or 20 for ten flow fields) and divisor (of a narrow copy;
            it and num_classes are read from a .safetensors file where they are left out); of squeezenet conv10_padding
            (left out: 0 with torchvision's preprocessing, else 1).

    Raises:
        ValueError: for a name, layer, preprocessing or argument that does not exist, or a file that cannot be read or
            was made for another number of channels.
    """
    known = _KNOWN.get(name)
    if known is None:
        raise ValueError(f"there is no convnet {name!r}: choose from {', '.join(_KNOWN)}")
    names = [*known.arguments, *(("divisor",) if name == "cnn_m_2048" else ())]
    unknown = sorted(arguments.keys() - set(names))
    if unknown:
        raise ValueError(f"{name} has no argument {unknown[0]}: choose from {', '.join(names)}")
    told = told_by(Path(weights))
    if name == "cnn_m_2048" and told is not None:
        arguments = {**_arguments_of(told, {**known.arguments, **arguments}, weights), **arguments}
    if preprocessing is None:
        preprocessing = {"vgg16": "torchvision", "squeezenet": "squeezenet_dc"}.get(
            name, "caffe" if arguments.get("input_channels") == 3 else "flow"
        )
    ready = _preprocessing(preprocessing)
    made_with = {**known.arguments, **arguments}
    if name == "squeezenet" and ready == PREPROCESSINGS["torchvision"]:
        made_with["conv10_padding"] = arguments.get("conv10_padding", 0)
    if not 1 <= made_with["num_classes"] <= MOST_CLASSES:
        raise ValueError(
            f"num_classes={made_with['num_classes']}: there is at least 1 class and at most {MOST_CLASSES}, for the weights {weights} too"
        )
    divisor = made_with.get("divisor", 1)
    if divisor == 1:  # as it always was: only a narrow copy has it among its arguments
        made_with.pop("divisor", None)
    elif divisor < 1 or any(width % divisor for width in (96, *known.sizes.values())):
        raise ValueError(
            f"divisor={divisor}: it must divide every width of the net, such as 96 and 2048"
        )
    sizes = {layer: size // divisor for layer, size in known.sizes.items()}
    sizes["prob"] = made_with["num_classes"]
    layer = known.layer if layer is None else layer
    if layer not in sizes:
        raise ValueError(f"{name} has no layer {layer!r}: choose from {', '.join(sizes)}")
    return ConvnetSpec(
        name=name,
        layer=layer,
        feature_size=sizes[layer],
        preprocessing=ready,
        weights_sha256=_sha256_of(Path(weights)),
        arguments=tuple(sorted(made_with.items())),
        weights=Path(weights),
        trained_on=None if told is None else told.labels,
    )


def _arguments_of(told: Told, asked: Mapping[str, int], weights: Path) -> dict[str, int]:
    """What a CNN-M-2048 of a file's tensors was made with; nothing where they are not those of such a net.

    Raises:
        ValueError: when the file is for another number of channels than was asked for.
    """
    match told.shapes.get("conv1.weight"), told.shapes.get("fc8.weight"):
        case (int(width), int(channels), _, _), (int(num_classes), _) if width:
            if channels != asked["input_channels"]:
                raise ValueError(
                    f"the weights {weights} take {_fields(channels)}, and {_fields(asked['input_channels'])} were asked for: "
                    "choose the stream and flow_fields that they were trained with"
                )
            return {"num_classes": num_classes, "divisor": 96 // width}
    return {}


def _fields(channels: int) -> str:
    if channels == 3:
        return "3 channels (RGB)"
    return f"{channels} channels ({channels // 2} field{'' if channels == 2 else 's'} of flow)"


def raw_pixels(
    *, side: int = 32, grey: bool = True, crop: int = 224, flow_channels: int = 0
) -> ConvnetSpec:
    """Describe percepts that are pixels: the central `crop`, averaged down to `side` x `side`.

    Args:
        side: rows and columns that are left.
        grey: one grey channel in [0, 1] instead of three colours.
        crop: rows and columns of the central part.
        flow_channels: 0 for RGB frames; else the channels of a stack of flow, kept in pixels of motion, without grey.

    Raises:
        ValueError: for a side below 1 or above the crop.
    """
    if not 1 <= side <= crop:
        raise ValueError(f"side={side}: it must lie between 1 and crop={crop}")
    channels, grey = flow_channels or 3, grey and not flow_channels
    return ConvnetSpec(
        name="raw_pixels",
        layer="pixels",
        feature_size=side * side * (1 if grey else channels),
        preprocessing=replace(PREPROCESSINGS["flow" if flow_channels else "pixels"], crop=crop),
        arguments=(("channels", channels), ("grey", grey), ("side", side)),
    )


def own_convnet(
    factory: Callable[..., nn.Module],
    *,
    feature_size: int,
    preprocessing: str | Preprocessing,
    weights: Path | None = None,
    **arguments: Value,
) -> ConvnetSpec:
    """Describe a module of your own.

    Args:
        factory: a class (or function) that is called as factory(**arguments) and gives a module from images
            (B, C, Y, X) to features (B, D). Editing its code makes other cells.
        feature_size: D.
        preprocessing: a name in PREPROCESSINGS or a value.
        weights: a file with the module's state dict; left out, the module is built after torch.manual_seed(0).
        arguments: passed on; part of the key, so plain values only.

    Raises:
        ValueError: when the source of `factory` or the file cannot be read.
    """
    told = None if weights is None else told_by(Path(weights))
    return ConvnetSpec(
        name=factory.__name__,
        layer="output",
        feature_size=feature_size,
        preprocessing=_preprocessing(preprocessing),
        weights_sha256="" if weights is None else _sha256_of(Path(weights)),
        arguments=tuple(sorted(arguments.items())),
        code=code_identity(factory, "convnet"),
        trained_on=None if told is None else told.labels,
        weights=None if weights is None else Path(weights),
        factory=factory,
    )


def _preprocessing(given: str | Preprocessing) -> Preprocessing:
    if isinstance(given, Preprocessing):
        return given
    if given not in PREPROCESSINGS:
        raise ValueError(
            f"there is no preprocessing {given!r}: choose from {', '.join(PREPROCESSINGS)}, or give a Preprocessing"
        )
    return PREPROCESSINGS[given]


def _sha256_of(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():  # such as a pipe, which would never end
            raise ValueError(f"the weights {path} are no file: name a file of weights")
        with path.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"the weights {path} cannot be read ({error.strerror})") from None
