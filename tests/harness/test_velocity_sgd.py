"""The optimiser as in 2015 against its equations, written out once more in NumPy, one number at a time."""

import numpy as np
import pytest
import torch

from harness.velocity_sgd import VelocitySGD

RATES = [0.5, 0.5, 0.1, 0.7, 0.05, 0.05]
MOMENTUM, DECAY = 0.9, 0.02


def in_numpy(
    weights: np.ndarray, gradients: np.ndarray, *, decay: float, bound: float
) -> tuple[np.ndarray, int]:
    """Weights after every step, and how often a velocity met its bound."""
    w, v, met = weights.copy(), np.zeros_like(weights), 0
    after = []
    for rate, g in zip(RATES, gradients, strict=True):
        for at in np.ndindex(w.shape):
            wanted = MOMENTUM * v[at] - rate * (g[at] + decay * w[at])
            v[at] = max(-bound, min(bound, wanted))
            met += v[at] != wanted
            w[at] += v[at]
        after.append(w.copy())
    return np.stack(after), met


def run(optimizer: torch.optim.Optimizer, gradients: list[np.ndarray], first: int = 0) -> None:
    """Steps `first` and on: the rate is set at each, as the loop does."""
    for step in range(first, len(RATES)):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for group in optimizer.param_groups:
            group["lr"] = RATES[step]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = torch.tensor(gradient[step])
        optimizer.step()


def made(bound: float) -> tuple[VelocitySGD, list[np.ndarray], list[np.ndarray]]:
    """An optimiser of a decayed matrix and a free bias, their values, their gradients."""
    rng = np.random.default_rng(7)
    values = [rng.normal(size=(3, 4)), rng.normal(size=4)]
    gradients = [rng.normal(size=(len(RATES), *value.shape)) for value in values]
    matrix, bias = (torch.nn.Parameter(torch.tensor(value)) for value in values)
    groups = [{"params": [matrix], "weight_decay": DECAY}, {"params": [bias], "weight_decay": 0.0}]
    optimizer = VelocitySGD(groups, lr=RATES[0], momentum=MOMENTUM, clip_velocity=bound)
    return optimizer, values, gradients


def parameters_of(optimizer: VelocitySGD) -> list[torch.nn.Parameter]:
    return [p for group in optimizer.param_groups for p in group["params"]]


@pytest.mark.parametrize(("bound", "is_met"), [(0.3, "often"), (1e9, "never")])
def test_steps_are_those_of_the_equations_while_the_rate_changes(bound: float, is_met: str) -> None:
    optimizer, values, gradients = made(bound)
    run(optimizer, gradients)
    for parameter, value, gradient, decay in zip(
        parameters_of(optimizer), values, gradients, (DECAY, 0.0), strict=True
    ):
        expected, met = in_numpy(value, gradient, decay=decay, bound=bound)
        np.testing.assert_allclose(parameter.detach().numpy(), expected[-1], rtol=0, atol=1e-13)
        assert (met > value.size) if is_met == "often" else met == 0


def test_at_a_constant_rate_and_without_a_bound_it_is_torchs_sgd() -> None:
    optimizer, values, gradients = made(1e9)
    theirs = [torch.nn.Parameter(torch.tensor(value)) for value in values]
    groups = [{"params": theirs[:1], "weight_decay": DECAY}, {"params": theirs[1:]}]
    sgd = torch.optim.SGD(groups, lr=0.1, momentum=MOMENTUM)
    for step in range(len(RATES)):
        for each, parameters in ((optimizer, parameters_of(optimizer)), (sgd, theirs)):
            for group in each.param_groups:
                group["lr"] = 0.1
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = torch.tensor(gradient[step])
            each.step()
    for ours, other in zip(parameters_of(optimizer), theirs, strict=True):
        torch.testing.assert_close(ours, other, rtol=0, atol=1e-13)


def test_a_parameter_without_a_gradient_is_left_alone() -> None:
    used, unused = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = VelocitySGD([used, unused], lr=0.1, momentum=0.9, clip_velocity=1, weight_decay=1)
    for _ in range(2):
        used.grad = torch.ones(2)
        optimizer.step()
    assert torch.equal(unused, torch.ones(2))
    assert unused not in optimizer.state
    assert bool((used < 1).all())


def test_a_restored_state_goes_on_to_the_last_bit() -> None:
    whole, _, gradients = made(0.3)
    run(whole, gradients)
    cut, _, _ = made(0.3)
    for step in range(3):
        for group in cut.param_groups:
            group["lr"] = RATES[step]
        for parameter, gradient in zip(parameters_of(cut), gradients, strict=True):
            parameter.grad = torch.tensor(gradient[step])
        cut.step()
    again, _, _ = made(0.3)
    again.load_state_dict(cut.state_dict())
    with torch.no_grad():
        for new, old in zip(parameters_of(again), parameters_of(cut), strict=True):
            new.copy_(old)
    run(again, gradients, first=3)
    for resumed, undisturbed in zip(parameters_of(again), parameters_of(whole), strict=True):
        assert torch.equal(resumed, undisturbed)


def test_a_closure_is_asked_for_the_gradients_and_its_loss_is_given_back() -> None:
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = VelocitySGD([weight], lr=0.25, momentum=0.0, clip_velocity=10.0)

    def closure() -> float:
        optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == 4.0
    assert weight.item() == 1.0  # 2 - 0.25 * (2 * 2)
