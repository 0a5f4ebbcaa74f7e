"""Descriptions of convnets: what is in a key, what comes out of frames, what is refused."""

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models import convnets as nets
from models.percepts import RawPixels
from models.weights import WeightsError
from tasks.cell import canonical
from tasks.convnets import ConvnetSpec, Precision, convnet, own_convnet, raw_pixels
from tasks.preprocessing import PREPROCESSINGS
from tests.real_data import real_data

NAMES = {"vgg16": nets.VGG16, "squeezenet": nets.SqueezeNet, "cnn_m_2048": nets.CNNM2048}
GENERATOR = np.random.Generator(np.random.Philox(7))
FRAMES = GENERATOR.integers(0, 256, size=(3, 240, 320, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.safetensors"
    save_file(nets.SqueezeNet().state_dict(), path)
    return path


def identity(spec: ConvnetSpec) -> str:
    return json.dumps(canonical(spec), sort_keys=True)


def test_the_crop_is_exactly_the_central_224_of_240_by_320() -> None:
    found = PREPROCESSINGS["pixels"].prepare(FRAMES)
    wanted = FRAMES[:, 8:232, 48:272].astype(np.float32) / 255
    assert found.shape == (3, 3, 224, 224)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, wanted.transpose(0, 3, 1, 2), rtol=1e-6)


@pytest.mark.parametrize(("size", "first"), [((227, 228), (0, 0)), ((228, 230), (0, 1))])
def test_of_an_odd_margin_the_upper_and_left_part_is_the_smaller(
    size: tuple[int, int], first: tuple[int, int]
) -> None:
    frames = FRAMES[:, : size[0], : size[1]]
    found = replace(PREPROCESSINGS["pixels"], scale=1.0, crop=227).prepare(frames)
    top, left = first
    np.testing.assert_array_equal(found[:, 0], frames[:, top : top + 227, left : left + 227, 0])


@pytest.mark.parametrize(
    ("name", "red_green_blue"),
    [
        ("caffe", lambda r, g, b: (b - 103.939, g - 116.779, r - 123.68)),
        ("squeezenet_dc", lambda r, g, b: (b - 104, g - 117, r - 123)),
        (
            "torchvision",
            lambda r, g, b: (
                (r / 255 - 0.485) / 0.229,
                (g / 255 - 0.456) / 0.224,
                (b / 255 - 0.406) / 0.225,
            ),
        ),
    ],
)
def test_the_named_preprocessings_are_those_of_their_weights(
    name: str, red_green_blue: Any
) -> None:
    frame = np.zeros((1, 240, 320, 3), dtype=np.uint8)
    frame[..., :] = (10, 100, 250)
    found = PREPROCESSINGS[name].prepare(frame)
    assert found.shape[2:] == ((227, 227) if name == "squeezenet_dc" else (224, 224))
    np.testing.assert_allclose(found[0, :, 5, 9], red_green_blue(10.0, 100.0, 250.0), rtol=1e-5)


def test_stacked_flow_goes_through_as_it_is_and_is_not_altered_in_place() -> None:
    flow = GENERATOR.normal(size=(2, 224, 224, 20)).astype(np.float32)
    before = flow.copy()
    found = replace(PREPROCESSINGS["flow"], mean=(1.0,)).prepare(flow)
    np.testing.assert_array_equal(found, before.transpose(0, 3, 1, 2) - 1)
    np.testing.assert_array_equal(flow, before)


@pytest.mark.parametrize(
    ("frames", "sentence"),
    [
        (FRAMES[:, :200], r"200 x 320 pixels have no central 224 x 224: resize them first"),
        (FRAMES[..., :2], r"\(3, 240, 320, 2\) of uint8: order='RGB' takes \(T, Y, X, 3\) of uint8"),
        (FRAMES.astype(np.float32), r"of float32: order='RGB' takes \(T, Y, X, 3\) of uint8"),
        (FRAMES[0], r"frames are \(240, 320, 3\) of uint8"),
    ],
)  # fmt: skip
def test_frames_that_are_not_what_is_read_are_refused(frames: np.ndarray, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        PREPROCESSINGS["torchvision"].prepare(frames)


def test_a_mean_of_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="frames have 4 channels, but mean is of 3"):
        replace(PREPROCESSINGS["flow"], mean=(1.0, 2.0, 3.0)).prepare(
            np.zeros((1, 224, 224, 4), dtype=np.float32)
        )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"order": "BRG"}, "order='BRG': choose from RGB, BGR, as given"),
        ({"scale": 0.0}, "scale=0.0: it must be above 0"),
        ({"std": (1.0, 0.0, 1.0)}, "every channel's must be above 0"),
        ({"mean": (1.0, 2.0)}, r"mean=\(1.0, 2.0\): give one number, or one for each channel"),
        ({"std": ()}, r"std=\(\): give one number"),
        ({"crop": 0}, "crop=0: it must be at least 1"),
    ],
)
def test_preprocessings_that_make_no_sense_are_refused(
    change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        replace(PREPROCESSINGS["torchvision"], **change)


@pytest.mark.parametrize("name", NAMES)
def test_the_sizes_that_descriptions_state_are_the_modules(name: str, squeezenet: Path) -> None:
    with torch.device("meta"):
        module = NAMES[name]()
    for layer in module.layers:
        spec = convnet(name, weights=squeezenet, layer=layer)
        assert spec.feature_size == module.feature_size(layer)
    with torch.device("meta"):
        other = NAMES[name](num_classes=7)
    assert convnet(name, weights=squeezenet, layer="prob", num_classes=7).feature_size == (
        other.feature_size("prob")
    )


def test_the_papers_percept_is_the_default() -> None:
    spec = convnet("vgg16", weights=Path(__file__))
    assert (spec.layer, spec.feature_size) == ("fc6", 4096)
    assert spec.preprocessing == PREPROCESSINGS["torchvision"]
    caffe = convnet("vgg16", weights=Path(__file__), preprocessing="caffe")
    assert caffe.preprocessing == PREPROCESSINGS["caffe"]
    spatial = convnet("cnn_m_2048", weights=Path(__file__), input_channels=3)
    assert spatial.preprocessing == PREPROCESSINGS["caffe"]


def test_everything_that_alters_a_feature_is_in_the_key_and_the_place_of_weights_is_not(
    squeezenet: Path, tmp_path: Path
) -> None:
    spec = convnet("squeezenet", weights=squeezenet)
    other_file = tmp_path / "other.safetensors"
    save_file(nets.SqueezeNet().state_dict(), other_file)
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(squeezenet.read_bytes())
    assert identity(convnet("squeezenet", weights=copy)) == identity(spec)
    assert convnet("squeezenet", weights=copy) == spec
    others = [
        convnet("squeezenet", weights=other_file),
        convnet("squeezenet", weights=squeezenet, layer="prob"),
        convnet("squeezenet", weights=squeezenet, preprocessing="torchvision"),
        convnet("squeezenet", weights=squeezenet, conv10_padding=0),
        replace(spec, preprocessing=replace(spec.preprocessing, crop=224)),
    ]
    assert len({identity(each) for each in [spec, *others]}) == 6
    assert str(squeezenet) not in identity(spec)


@pytest.mark.parametrize(("preprocessing", "padding"), [("squeezenet_dc", 1), ("torchvision", 0)])
def test_squeezenets_padding_follows_its_weights_origin(
    preprocessing: str, padding: int, squeezenet: Path
) -> None:
    spec = convnet("squeezenet", weights=squeezenet, preprocessing=preprocessing)
    assert dict(spec.arguments)["conv10_padding"] == padding


def test_features_are_those_of_the_module_whatever_goes_through_at_once(squeezenet: Path) -> None:
    spec = convnet("squeezenet", weights=squeezenet)
    module = spec.build()
    assert not module.training
    assert not any(each.requires_grad for each in module.parameters())
    torch.manual_seed(3)
    by_hand = nets.SqueezeNet(conv10_padding=1)
    bgr = FRAMES[:, 6:233, 46:273, ::-1].astype(np.float32) - np.float32([104, 117, 123])
    wanted = by_hand.features(
        torch.from_numpy(np.ascontiguousarray(bgr.transpose(0, 3, 1, 2))), "fire9"
    )
    for at_once in (1, 2, 3):
        found = spec.features(module, FRAMES, at_once=at_once)
        assert found.shape == (3, 512)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, wanted.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_raw_pixels_need_no_weights() -> None:
    spec = raw_pixels(side=28)
    module = spec.build()
    assert isinstance(module, RawPixels)
    found = spec.features(module, FRAMES)
    grey = FRAMES[:, 8:232, 48:272].astype(np.float64) @ [0.299, 0.587, 0.114] / 255
    wanted = grey.reshape(3, 28, 8, 28, 8).mean(axis=(2, 4)).reshape(3, -1)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert raw_pixels(side=28, grey=False).feature_size == 3 * 784


def test_weights_that_changed_since_they_were_described_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(nets.SqueezeNet().state_dict(), path)
    spec = convnet("squeezenet", weights=path)
    save_file(nets.SqueezeNet().state_dict(), path)
    with pytest.raises(WeightsError, match="another file than was asked for"):
        spec.build()
    with pytest.raises(ValueError, match=r"no place on this machine: give the file with replace"):
        replace(spec, weights=None).build()


SOURCE = '''
"""A convnet."""
import torch
from torch import nn

class Mine(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 8, stride=8)
        self.dropout = nn.Dropout()

    def forward(self, images):
        return self.dropout(self.conv(images)).amax(dim=(2, 3))
'''


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    sys.modules.pop("own_convnet_under_test", None)


def own_class(folder: Path, text: str) -> Any:
    path = folder / "mine.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("own_convnet_under_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where inspect looks for the file of a class
    spec.loader.exec_module(module)
    return module.Mine


def test_an_own_module_is_identified_by_its_code_and_arguments(tmp_path: Path) -> None:
    mine = own_class(tmp_path, SOURCE)
    spec = own_convnet(mine, feature_size=4, preprocessing="torchvision")
    same = own_convnet(
        own_class(tmp_path, SOURCE + "\n# a comment\n"),
        feature_size=4,
        preprocessing="torchvision",
    )
    edited = own_convnet(
        own_class(tmp_path, SOURCE.replace("amax", "mean")),
        feature_size=4,
        preprocessing="torchvision",
    )
    wider = own_convnet(mine, feature_size=6, preprocessing="torchvision", width=6)
    assert identity(same) == identity(spec)
    assert len({identity(each) for each in (spec, edited, wider)}) == 3
    assert spec.title == "Mine output"


def test_an_own_module_without_weights_gives_the_same_features_everywhere(tmp_path: Path) -> None:
    spec = own_convnet(
        own_class(tmp_path, SOURCE), feature_size=6, preprocessing="torchvision", width=6
    )
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = spec.features(spec.build(), FRAMES)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    np.testing.assert_array_equal(first, spec.features(spec.build(), FRAMES))
    assert first.shape == (3, 6)


def test_an_own_modules_weights_come_from_its_own_file(tmp_path: Path) -> None:
    mine = own_class(tmp_path, SOURCE)
    module = mine()
    save_file(module.state_dict(), tmp_path / "mine.safetensors")
    spec = own_convnet(
        mine,
        feature_size=4,
        preprocessing="torchvision",
        weights=tmp_path / "mine.safetensors",
    )
    images = torch.from_numpy(spec.prepare(FRAMES))
    wanted = module.eval()(images).detach().numpy()
    np.testing.assert_allclose(spec.features(spec.build(), FRAMES), wanted, rtol=1e-5)
    wrong = replace(spec, feature_size=5)
    with pytest.raises(ValueError, match="a convnet gives 5 numbers an image"):
        wrong.features(wrong.build(), FRAMES)


def test_what_does_not_exist_is_refused_with_what_does(squeezenet: Path, tmp_path: Path) -> None:
    for make, sentence in (
        (lambda: convnet("vgg19", weights=squeezenet), "no convnet 'vgg19': choose from vgg16"),
        (lambda: convnet("vgg16", weights=squeezenet, layer="fc8"), "no layer 'fc8': choose from"),
        (
            lambda: convnet("vgg16", weights=squeezenet, preprocessing="tf"),
            "no preprocessing 'tf': choose from torchvision, caffe",
        ),
        (
            lambda: convnet("vgg16", weights=squeezenet, input_channels=3),
            "vgg16 has no argument input_channels: choose from num_classes",
        ),
        (lambda: convnet("vgg16", weights=squeezenet, num_classes=0), "num_classes=0: there is"),
        (lambda: convnet("vgg16", weights=tmp_path / "no.pth"), "no.pth cannot be read"),
        (lambda: raw_pixels(side=225), "side=225: it must lie between 1 and crop=224"),
        (
            lambda: ConvnetSpec(
                name="vgg", layer="fc6", feature_size=1, preprocessing=PREPROCESSINGS["caffe"]
            ),
            "no convnet 'vgg'",
        ),
        (lambda: replace(raw_pixels(), feature_size=0), "feature_size=0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            make()


@pytest.mark.parametrize(
    ("conv1", "fc8", "sentence"),
    [
        (
            [96, 20, 7, 7],
            [2**60, 2048],
            f"num_classes={2**60}: there is at least 1 class and at most",
        ),
        ([96, 20, 7, 7], [-1, 2048], "num_classes=-1: there is at least 1 class"),
        ([7, 20, 7, 7], [101, 2048], "divisor=13: it must divide every width"),
        ([-96, 20, 7, 7], [101, 2048], "divisor=-1: it must divide every width"),
        ([96, 20, 7, 7], [1e999, 2048], "is damaged, or no .safetensors file"),
        ([96, 20, 7, 7], [101, 2048], "is damaged, or no .safetensors file"),
    ],
)
def test_a_header_that_claims_any_shapes_is_refused_in_one_sentence(
    conv1: list[int], fc8: list[float], sentence: str, tmp_path: Path
) -> None:
    shapes = {"conv1.weight": conv1, "fc8.weight": fc8}
    header = json.dumps(
        {
            name: {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}
            for name, shape in shapes.items()
        }
    ).encode()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        convnet("cnn_m_2048", weights=path).check()
    assert "\n" not in str(caught.value)


def test_weights_that_are_no_file_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "endless.pth"
    path.symlink_to("/dev/zero")
    for make in (
        lambda: convnet("vgg16", weights=path),
        lambda: own_convnet(nets.SqueezeNet, feature_size=4, preprocessing="caffe", weights=path),
    ):
        with pytest.raises(ValueError, match=r"endless\.pth are no file"):
            make()


def test_describing_a_convnet_imports_no_torch() -> None:
    code = (
        "import sys; from tasks.convnets import convnet, raw_pixels; raw_pixels(); "
        "convnet('vgg16', weights=__import__('pathlib').Path(sys.executable)); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_real_weights_tell_a_cat_from_frames() -> None:
    folder = real_data("convnet")
    import cv2

    spec = convnet("squeezenet", weights=folder / "squeezenet_v10_dc_float32.npz", layer="prob")
    image = cv2.imread(str(folder / "test_images" / "chelsea.png"))[:, :, ::-1]
    frame = cv2.resize(np.ascontiguousarray(image), (320, 240))
    top = spec.features(spec.build(), frame[None])[0].argmax()
    assert 281 <= top <= 287  # ImageNet's cats


@pytest.mark.parametrize(("precision", "tolerance"), [("float16", 4e-3), ("bfloat16", 4e-2)])
def test_mixed_precision_gives_nearly_the_same(
    squeezenet: Path, precision: Precision, tolerance: float
) -> None:
    spec = convnet("squeezenet", weights=squeezenet)
    module = spec.build()
    exact = spec.features(module, FRAMES)
    rounded = spec.features(module, FRAMES, precision=precision)
    assert rounded.dtype == np.float32
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(rounded, exact, atol=tolerance * np.abs(exact).max())
