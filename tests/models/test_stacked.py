"""Classifiers stacked: every replica computes what its own classifier computes, and nothing of another's reaches it."""

import pytest
import torch
from torch import Tensor, nn

from models.classifier import LSTMClassifier
from models.dropout import Dropout
from models.encoder import LSTMEncoder, WrappedEncoder
from models.stacked import StackedClassifiers, stack_blocks

R, T, B, D, H, C = 3, 5, 4, 6, 7, 3


def classifiers(layers: int = 2, units: int = H) -> list[LSTMClassifier]:
    torch.manual_seed(0)
    made = [LSTMClassifier(LSTMEncoder(D, units, layers), C).double() for _ in range(R)]
    with torch.no_grad():
        for model in made:  # biases and peepholes start at zero: draw them too
            for each in model.parameters():
                each.copy_(torch.randn_like(each) / 2)
    return made


def blocks() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames_RTBD = torch.randn(R, T, B, D, generator=generator, dtype=torch.float64)
    return frames_RTBD, torch.randint(C, (R, B), generator=generator)


def dropouts() -> list[Dropout]:
    return [Dropout(0.4, torch.Generator().manual_seed(r), batch_size=B) for r in range(R)]


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("dropped", [False, True])
def test_losses_and_gradients_are_those_of_each_alone(layers: int, dropped: bool) -> None:
    models = classifiers(layers)
    stacked = StackedClassifiers(models)
    frames_RTBD, labels_RB = blocks()
    logits_RTBC = stacked(frames_RTBD, dropouts() if dropped else None)
    loss_RB = stacked.step_loss(logits_RTBC, labels_RB)
    loss_RB.sum().backward()
    gradients = {name: each.grad for name, each in stacked.named_parameters()}
    for r, model in enumerate(models):
        logits_TBC = model(frames_RTBD[r], dropouts()[r] if dropped else None)
        loss_B = LSTMClassifier.step_loss(logits_TBC, labels_RB[r])
        loss_B.sum().backward()
        torch.testing.assert_close(logits_RTBC[r], logits_TBC, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(loss_RB[r], loss_B, rtol=1e-12, atol=1e-12)
        for name, each in model.named_parameters():
            found = gradients[name]
            assert found is not None
            torch.testing.assert_close(found[r], each.grad, rtol=1e-10, atol=1e-12)


def test_parameters_have_the_names_and_the_order_that_they_have_in_one() -> None:
    models = classifiers()
    stacked = StackedClassifiers(models)
    alone = [(name, (R, *each.shape)) for name, each in models[0].named_parameters()]
    assert [(name, tuple(each.shape)) for name, each in stacked.named_parameters()] == alone


def test_weights_are_copied() -> None:
    models = classifiers()
    stacked = StackedClassifiers(models)
    with torch.no_grad():
        for each in stacked.parameters():
            each.zero_()
    assert all(bool(each.abs().sum() > 0) for each in models[0].parameters())


def test_a_replica_that_is_no_number_reaches_no_other() -> None:
    models = classifiers()
    frames_RTBD, labels_RB = blocks()
    clean = StackedClassifiers(models)
    clean.step_loss(clean(frames_RTBD), labels_RB).sum().backward()
    with torch.no_grad():
        models[1].readout.weight.fill_(float("nan"))
        models[1].encoder.get_parameter("lstm.layers.0.bias").fill_(float("inf"))
    broken = StackedClassifiers(models)
    loss_RB = broken.step_loss(broken(frames_RTBD), labels_RB)
    loss_RB.sum().backward()
    assert loss_RB.isfinite().all(1).tolist() == [True, False, True]
    for one, other in zip(clean.parameters(), broken.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad[[0, 2]], other.grad[[0, 2]], rtol=1e-12, atol=1e-14)


def test_what_cannot_be_stacked_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="no model to stack"):
        StackedClassifiers([])
    with pytest.raises(ValueError, match="different shapes"):
        StackedClassifiers([*classifiers(), *classifiers(units=8)])
    wrapped = WrappedEncoder(nn.GRU(D, H), D, H, decoder_size=H, decoder_layers=1)
    for other in (nn.Linear(2, 2), LSTMClassifier(wrapped, C)):
        with pytest.raises(ValueError, match="train others alone"):
            StackedClassifiers([*classifiers(), other])


def test_batches_with_and_without_dropout_are_stacked() -> None:
    frames_RTBD, labels_RB = blocks()
    plain = stack_blocks((frames_RTBD[r], labels_RB[r], None) for r in range(R))
    assert plain.dropouts is None
    assert torch.equal(plain.frames_RTBD, frames_RTBD)
    masks = dropouts()
    masked = stack_blocks((frames_RTBD[r], labels_RB[r], masks[r]) for r in range(R))
    assert masked.dropouts == tuple(masks)
    assert torch.equal(masked.labels_RB, labels_RB)
