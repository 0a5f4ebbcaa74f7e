"""Convnets: sizes as published, values by hand, and SqueezeNet against another implementation of it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.convnets import CNNM2048, VGG16, SqueezeNet
from models.percepts import Convnet, RawPixels, WrappedConvnet
from models.weights import load_weights
from tests.real_data import real_data


def on_meta(kind: type[Convnet], *arguments: int) -> Convnet:
    with torch.device("meta"):
        return kind(*arguments)


def count(model: nn.Module) -> int:
    return sum(each.numel() for each in model.parameters())


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 224, 224) * 4 - 2


def test_vgg16_has_the_published_size_and_torchvisions_keys() -> None:
    model = on_meta(VGG16)
    assert count(model) == 138_357_544
    convolutions = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    wanted = [
        f"{layer}.{part}"
        for layer in [f"features.{n}" for n in convolutions]
        + [f"classifier.{n}" for n in (0, 3, 6)]
        for part in ("weight", "bias")
    ]
    assert list(model.state_dict()) == wanted
    assert model.state_dict()["features.28.weight"].shape == (512, 512, 3, 3)
    assert model.state_dict()["classifier.0.weight"].shape == (4096, 25088)


def test_squeezenet_has_the_published_size_and_torchvisions_keys() -> None:
    model = on_meta(SqueezeNet)
    assert count(model) == 1_248_424
    names = list(model.state_dict())
    fires = [3, 4, 5, 7, 8, 9, 10, 12]
    assert names[:2] == ["features.0.weight", "features.0.bias"]
    assert names[-2:] == ["classifier.1.weight", "classifier.1.bias"]
    assert names[2:-2] == [
        f"features.{n}.{layer}.{part}"
        for n in fires
        for layer in ("squeeze", "expand1x1", "expand3x3")
        for part in ("weight", "bias")
    ]


def test_the_temporal_stream_has_90_7_million_parameters() -> None:
    model = on_meta(CNNM2048)
    # By hand, layer by layer, at 20 channels and 101 classes.
    assert count(model) == (
        (96 * 20 * 49 + 96) + (256 * 96 * 25 + 256) + (512 * 256 * 9 + 512)
        + 2 * (512 * 512 * 9 + 512) + (4096 * 512 * 36 + 4096) + (2048 * 4096 + 2048) + (101 * 2048 + 101)
    )  # fmt: skip
    assert round(count(model) / 1e6, 1) == 90.7
    assert list(model.state_dict()) == [
        f"{layer}.{part}"
        for layer in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
        for part in ("weight", "bias")
    ]


@pytest.mark.parametrize("kind", [VGG16, CNNM2048])
def test_a_feature_has_the_size_that_is_said(kind: type[VGG16] | type[CNNM2048]) -> None:
    model = kind(divisor=32)
    assert model.input_channels is not None
    images_BCYX = torch.rand(1, model.input_channels, 224, 224)
    for layer in model.layers:
        assert model.features(images_BCYX, layer).shape == (1, model.feature_size(layer))
    full = on_meta(kind)
    pool5 = {VGG16: 25088, CNNM2048: 18432}[kind]
    assert [full.feature_size(layer) for layer in ("pool5", "fc6")] == [pool5, 4096]
    assert full.feature_size("fc7") == {VGG16: 4096, CNNM2048: 2048}[kind]


def test_vgg16_computes_what_its_table_says(images: Tensor) -> None:
    model = VGG16(num_classes=7, divisor=64).double()
    state = model.state_dict()
    images = images[:1].double()
    hidden = images
    # Configuration D: after these convolutions, counted in torchvision's places, comes a pooling.
    for place in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28):
        weight, bias = state[f"features.{place}.weight"], state[f"features.{place}.bias"]
        hidden = functional.conv2d(hidden, weight, bias, padding=1).clamp(min=0)
        if place in (2, 7, 14, 21, 28):
            hidden = hidden.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))
    pool5 = hidden.flatten(1)
    fc6 = (pool5 @ state["classifier.0.weight"].T + state["classifier.0.bias"]).clamp(min=0)
    fc7 = (fc6 @ state["classifier.3.weight"].T + state["classifier.3.bias"]).clamp(min=0)
    logits = fc7 @ state["classifier.6.weight"].T + state["classifier.6.bias"]
    for layer, wanted in (("pool5", pool5), ("fc6", fc6), ("fc7", fc7)):
        torch.testing.assert_close(model.features(images, layer), wanted)
    torch.testing.assert_close(model.features(images, "prob").log(), logits.log_softmax(dim=1))
    torch.testing.assert_close(model.eval()(images), logits)


def normalised(maps_BCYX: Tensor) -> Tensor:
    """x_c / (2 + 1e-4 sum over 5 neighbours of x^2) ** 0.75, written out: 1e-4 = 5e-4 / 5."""
    out = torch.empty_like(maps_BCYX)
    for channel in range(maps_BCYX.shape[1]):
        near = maps_BCYX[:, max(0, channel - 2) : channel + 3]
        out[:, channel] = maps_BCYX[:, channel] / (2 + 1e-4 * near.pow(2).sum(dim=1)) ** 0.75
    return out


def pooled(maps_BCYX: Tensor) -> Tensor:
    """Maxima over 3 x 3 at stride 2; a window that is cut by the border counts with what it has."""
    padded = functional.pad(maps_BCYX, (0, 1, 0, 1), value=-torch.inf)
    return padded.unfold(2, 3, 2).unfold(3, 3, 2).amax(dim=(4, 5))


@pytest.mark.parametrize("channels", [3, 4])
def test_cnn_m_2048_computes_what_its_table_says_in_both_streams(channels: int) -> None:
    model = CNNM2048(channels, 5, divisor=16).double()
    state = model.state_dict()
    images = torch.rand(2, channels, 224, 224, dtype=torch.float64) * 200 - 100

    def convolve(maps: Tensor, name: str, stride: int, padding: int) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return functional.conv2d(maps, weight, bias, stride=stride, padding=padding).clamp(min=0)

    maps = pooled(normalised(convolve(images, "conv1", 2, 0)))
    assert maps.shape[2:] == (54, 54)
    maps = convolve(maps, "conv2", 2, 1)
    if channels == 3:
        maps = normalised(maps)
    maps = pooled(maps)
    assert maps.shape[2:] == (13, 13)
    for name in ("conv3", "conv4", "conv5"):
        maps = convolve(maps, name, 1, 1)
    pool5 = functional.max_pool2d(maps, 3, 2).flatten(1)
    fc6 = (pool5 @ state["fc6.weight"].T + state["fc6.bias"]).clamp(min=0)
    fc7 = (fc6 @ state["fc7.weight"].T + state["fc7.bias"]).clamp(min=0)
    logits = fc7 @ state["fc8.weight"].T + state["fc8.bias"]
    for layer, wanted in (("pool5", pool5), ("fc6", fc6), ("fc7", fc7)):
        torch.testing.assert_close(model.features(images, layer), wanted)
    torch.testing.assert_close(model.features(images, "prob"), logits.softmax(dim=1))
    torch.testing.assert_close(model.eval()(images), logits)


@pytest.mark.parametrize(
    "make", [lambda: VGG16(divisor=32), lambda: CNNM2048(3, divisor=32), SqueezeNet]
)
def test_dropout_acts_on_logits_in_training_and_never_on_features(
    make: Callable[[], Convnet], images: Tensor
) -> None:
    model = make().train()
    if model.input_size is None:
        images = images[:, :, :64, :64]
    assert not torch.equal(model(images), model(images))
    for layer in model.layers:
        first = model.train().features(images, layer)
        assert torch.equal(first, model.features(images, layer))
        assert torch.equal(first, model.eval().features(images, layer))


def test_images_do_not_alter_each_others_features(images: Tensor) -> None:
    for model in (VGG16(divisor=32), CNNM2048(3, divisor=32), SqueezeNet()):
        together = model.features(images, model.layers[0])
        alone = torch.cat([model.features(each[None], model.layers[0]) for each in images])
        torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("grey", [True, False])
def test_raw_pixels_are_means_of_their_squares(grey: bool, images: Tensor) -> None:
    model = RawPixels(28, grey=grey)
    found = model.features(images, "pixels").numpy()
    red, green, blue = images.numpy().astype(np.float64).transpose(1, 0, 2, 3)
    kept = [0.299 * red + 0.587 * green + 0.114 * blue] if grey else [red, green, blue]
    squares = np.stack(kept, axis=1).reshape(2, -1, 28, 8, 28, 8).mean(axis=(3, 5))
    np.testing.assert_allclose(found, squares.reshape(2, -1), atol=1e-5)
    assert found.shape[1] == model.feature_size("pixels") == 784 * (1 if grey else 3)
    assert not model.state_dict()


class Means(nn.Module):
    def forward(self, images_BCYX: Tensor) -> Tensor:
        return images_BCYX.mean(dim=(2, 3), keepdim=True)


class Pair(nn.Module):
    def forward(self, images_BCYX: Tensor) -> tuple[Tensor, Tensor]:
        return images_BCYX, images_BCYX


def test_an_own_module_is_taken_as_it_is_and_its_output_checked(images: Tensor) -> None:
    wrapped = WrappedConvnet(Means(), 3)
    torch.testing.assert_close(wrapped.features(images, "output"), images.mean(dim=(2, 3)))
    with pytest.raises(
        ValueError, match=r"Means returned a tensor of shape \(2, 3, 1, 1\).*4 numbers"
    ):
        WrappedConvnet(Means(), 4)(images)
    with pytest.raises(ValueError, match="Pair returned a tuple: a convnet gives 3 numbers"):
        WrappedConvnet(Pair(), 3)(images)


@pytest.mark.parametrize(
    ("model", "shape", "sentence"),
    [
        (VGG16(divisor=64), (1, 3, 227, 227), r"\(B, 3, 224, 224\), not \(1, 3, 227, 227\)"),
        (VGG16(divisor=64), (1, 1, 224, 224), r"\(B, 3, 224, 224\), not \(1, 1, 224, 224\)"),
        (SqueezeNet(), (1, 3, 31, 60), r"\(B, 3, Y, X\), Y and X at least 32, not \(1, 3, 31, 60\)"),
        (CNNM2048(4, divisor=32), (1, 3, 224, 224), r"\(B, 4, 224, 224\), not \(1, 3, 224, 224\)"),
        (RawPixels(), (3, 40, 40), r"\(B, 3, Y, X\), Y and X at least 1, not \(3, 40, 40\)"),
        (RawPixels(), (1, 3, 31, 40), r"\(31, 40\) pixels cannot be averaged down to 32 x 32"),
    ],
)  # fmt: skip
def test_images_of_another_shape_are_refused(
    model: Convnet, shape: tuple[int, ...], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        model.features(torch.zeros(shape), model.layers[0])
    with pytest.raises(ValueError, match=sentence):
        model(torch.zeros(shape))


def test_what_cannot_be_made_is_refused() -> None:
    with pytest.raises(
        ValueError, match="VGG16 has no layer 'fc8': choose from pool5, fc6, fc7, prob"
    ):
        on_meta(VGG16).feature_size("fc8")
    with pytest.raises(ValueError, match="input_channels=5: the spatial stream has 3"):
        CNNM2048(5)
    with pytest.raises(ValueError, match="divisor=7: it must divide every width"):
        VGG16(divisor=7)
    with pytest.raises(ValueError, match="conv10_padding=2"):
        SqueezeNet(conv10_padding=2)
    with pytest.raises(ValueError, match="side=0: an image has at least 1 row"):
        RawPixels(0)


def test_squeezenet_agrees_with_onnxruntime_on_real_weights_and_images() -> None:
    folder = real_data("convnet")
    import cv2
    import onnxruntime

    model = SqueezeNet(conv10_padding=1)
    load_weights(model, folder / "squeezenet_v10_dc_float32.npz")
    session = onnxruntime.InferenceSession(folder / "squeezenet_v10_dc.onnx")
    tops = {}
    for path in sorted((folder / "test_images").iterdir()):
        image = cv2.resize(cv2.imread(str(path)), (227, 227)).astype(np.float32)
        image -= np.array([104, 117, 123], dtype=np.float32)  # cv2 reads BGR
        images_BCYX = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
        prob, feat512 = session.run(["prob", "feat512"], {"data": images_BCYX})
        for layer, wanted in (("prob", prob), ("fire9", feat512)):
            found = model.features(torch.from_numpy(images_BCYX), layer).detach().numpy()
            error = np.abs(found[0] - wanted.reshape(-1)).max() / np.abs(wanted).max()
            assert error < 2e-5, (path.name, layer, error)  # measured: 3.6e-6 at most
        tops[path.stem] = int(prob.argmax())
    # Classes of ImageNet: 281 to 287 are cats, 967 is espresso.
    assert 281 <= tops["chelsea"] <= 287
    assert tops["coffee"] == 967
