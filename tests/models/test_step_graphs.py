"""When loops are recorded and replayed, by a recorder that needs no GPU: it notes a function and calls it again."""

from __future__ import annotations

import pytest
import torch

from models.step_graphs import StepGraphs, addresses


class Recorder:
    """Stands in for CUDA: a replay does what was recorded, to the memory that it was recorded with."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, launches):
        self.recorded += 1

        def replay():
            self.replayed += 1
            launches()

        return replay


def adding(graphs, numbers, amount):
    """Add to the numbers in place, by scratch space."""

    def launches(scratch):
        scratch[0].fill_(amount)
        numbers.add_(scratch[0])

    key = (amount, addresses([numbers]))
    return graphs.run(key, lambda: (torch.empty(1),), launches)


def test_a_loop_is_launched_once_then_recorded_then_replayed():
    recorder = Recorder()
    graphs, numbers = StepGraphs(recorder), torch.zeros(3)
    counts = []
    for _ in range(4):
        adding(graphs, numbers, 2.0)
        counts.append((recorder.recorded, recorder.replayed))
    assert counts == [(0, 0), (1, 1), (1, 2), (1, 3)]
    assert numbers.tolist() == [8.0] * 3  # each call did it once, the recorded one too


def test_other_memory_is_another_loop():
    recorder = Recorder()
    graphs, first, second = StepGraphs(recorder), torch.zeros(3), torch.zeros(3)
    for _ in range(3):
        adding(graphs, first, 1.0)
    adding(graphs, second, 1.0)
    assert first.tolist() == [3.0] * 3
    assert second.tolist() == [1.0] * 3
    assert recorder.recorded == len(graphs) == 1


@pytest.mark.parametrize(
    "other",
    [
        lambda x: x[:2],
        lambda x: x.view(torch.int32),
        lambda x: x[::2],
    ],
)
def test_the_same_address_seen_otherwise_is_another_key(other):
    numbers = torch.zeros(4)
    assert addresses([numbers]) != addresses([other(numbers)])
    assert addresses([numbers]) == addresses([numbers.view(4)])


def test_graphs_are_no_more_than_allowed_and_the_rest_is_launched():
    recorder = Recorder()
    graphs = StepGraphs(recorder, at_most=2)
    several = [torch.zeros(1) for _ in range(4)]
    for _ in range(3):
        for numbers in several:
            adding(graphs, numbers, 1.0)
    assert [each.item() for each in several] == [3.0] * 4
    assert recorder.recorded == len(graphs) == 2


def test_what_was_seen_long_ago_is_forgotten():
    recorder = Recorder()
    graphs = StepGraphs(recorder, remembered=2)
    several = [torch.zeros(1) for _ in range(3)]
    for _ in range(3):  # three in turn, and two are remembered: none is ever seen twice
        for numbers in several:
            adding(graphs, numbers, 1.0)
    assert recorder.recorded == 0


def test_a_device_that_cannot_record_says_so_once_and_goes_on():
    def refuse(launches):
        raise RuntimeError("operation not permitted when stream is capturing")

    graphs, numbers = StepGraphs(refuse), torch.zeros(1)
    adding(graphs, numbers, 1.0)
    with pytest.warns(UserWarning, match="no CUDA graphs from now on.*not permitted"):
        adding(graphs, numbers, 1.0)
    adding(graphs, numbers, 1.0)  # and here a second warning would be an error
    assert numbers.item() == 3.0


def test_each_graph_has_scratch_space_of_its_own():
    graphs, first, second = StepGraphs(Recorder()), torch.zeros(1), torch.zeros(1)
    for _ in range(2):
        (of_first,) = adding(graphs, first, 1.0)
        (of_second,) = adding(graphs, second, 5.0)
    assert of_first.item() == 1.0
    assert of_second.item() == 5.0


def test_forgotten_graphs_are_recorded_anew():
    recorder = Recorder()
    graphs, numbers = StepGraphs(recorder), torch.zeros(1)
    for _ in range(2):
        adding(graphs, numbers, 1.0)
    graphs.clear()
    assert len(graphs) == 0
    for _ in range(2):
        adding(graphs, numbers, 1.0)
    assert recorder.recorded == 2
    assert numbers.item() == 4.0
