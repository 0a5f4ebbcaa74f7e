"""Logistic regression on single frames."""

from __future__ import annotations

import torch

from models.single_frame import SingleFrameClassifier


def test_it_starts_uniform():
    classifier = SingleFrameClassifier(6, 4)
    probabilities_NC = classifier(torch.randn(5, 6)).softmax(1)
    torch.testing.assert_close(probabilities_NC, torch.full((5, 4), 0.25))


def test_logits_are_linear_in_the_frame(randomised):
    classifier = randomised(SingleFrameClassifier(6, 4))
    frames_ND = torch.randn(5, 6, dtype=torch.float64)
    expected_NC = frames_ND @ classifier.readout.weight.T + classifier.readout.bias
    torch.testing.assert_close(classifier(frames_ND), expected_NC)


def test_it_learns_from_zero():
    classifier = SingleFrameClassifier(3, 3)
    frames_ND, labels_N = torch.eye(3), torch.tensor([2, 0, 1])
    optimiser = torch.optim.SGD(classifier.parameters(), lr=1.0)
    for _ in range(50):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(classifier(frames_ND), labels_N).backward()
        optimiser.step()
    assert torch.equal(classifier(frames_ND).argmax(1), labels_N)
