"""Dropout: its scale, its freshness, and its independence of the number of ranks."""

from __future__ import annotations

import pytest
import torch

from models.dropout import Dropout, drop_each


def seeded(ratio, *, batch_size, rows=slice(None), seed=0):
    return Dropout(ratio, torch.Generator().manual_seed(seed), batch_size=batch_size, rows=rows)


def test_what_is_kept_is_scaled_and_the_expectation_stays():
    ones_TBD = torch.ones(10, 20, 500)
    dropped_TBD = seeded(0.3, batch_size=20)(ones_TBD)
    kept = dropped_TBD != 0
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.01)
    torch.testing.assert_close(dropped_TBD[kept], torch.full_like(dropped_TBD[kept], 1 / 0.7))
    assert dropped_TBD.mean().item() == pytest.approx(1.0, abs=0.01)


def test_masks_are_fresh_for_every_step_sequence_feature_and_call():
    dropout = seeded(0.5, batch_size=4)
    first_TBD, second_TBD = dropout(torch.ones(3, 4, 50)), dropout(torch.ones(3, 4, 50))
    assert not torch.equal(first_TBD[0], first_TBD[1])
    assert not torch.equal(first_TBD[:, 0], first_TBD[:, 1])
    assert not torch.equal(first_TBD[:, :, 0], first_TBD[:, :, 1])
    assert not torch.equal(first_TBD, second_TBD)


def test_equal_generators_give_equal_masks_in_either_precision():
    ones_TBD = torch.ones(3, 4, 5)
    first_TBD = seeded(0.5, batch_size=4)(ones_TBD)
    torch.testing.assert_close(seeded(0.5, batch_size=4)(ones_TBD), first_TBD, rtol=0, atol=0)
    double_TBD = seeded(0.5, batch_size=4)(ones_TBD.double())
    assert double_TBD.dtype == torch.float64
    torch.testing.assert_close(double_TBD.float(), first_TBD)
    assert not torch.equal(seeded(0.5, batch_size=4, seed=1)(ones_TBD), first_TBD)


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_a_ranks_rows_are_those_of_the_global_batch(num_ranks):
    x_TBD = torch.randn(5, 6, 7)
    whole = seeded(0.4, batch_size=6)
    expected = [whole(x_TBD), whole(x_TBD)]
    share = 6 // num_ranks
    for rank in range(num_ranks):
        rows = slice(rank * share, (rank + 1) * share)
        own = seeded(0.4, batch_size=6, rows=rows)
        for call in range(2):  # the second call too: all ranks stay in step
            dropped_TBD = own(x_TBD[:, rows])
            torch.testing.assert_close(dropped_TBD, expected[call][:, rows], rtol=0, atol=0)


def test_ratio_zero_returns_the_input_and_draws_nothing():
    dropout = seeded(0.0, batch_size=4)
    before = dropout.generator.get_state()
    x_TBD = torch.randn(2, 4, 3)
    assert dropout(x_TBD) is x_TBD
    assert torch.equal(dropout.generator.get_state(), before)


def test_the_gradient_passes_through_the_same_mask():
    x_TBD = torch.ones(2, 3, 4, requires_grad=True)
    dropped_TBD = seeded(0.5, batch_size=3)(x_TBD)
    dropped_TBD.sum().backward()
    torch.testing.assert_close(x_TBD.grad, dropped_TBD.detach())


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, float("nan")])
def test_a_ratio_out_of_range_is_refused(ratio):
    with pytest.raises(ValueError, match="0 <= ratio < 1"):
        seeded(ratio, batch_size=1)


def test_a_batch_that_is_not_the_ranks_share_is_refused():
    with pytest.raises(ValueError, match="4 sequences, but rows"):
        seeded(0.5, batch_size=4, rows=slice(0, 2))(torch.ones(2, 4, 3))


def test_each_of_several_is_dropped_with_its_own_mask() -> None:
    x_RTBD = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(9))

    def made() -> list[Dropout]:
        return [Dropout(0.4, torch.Generator().manual_seed(r), batch_size=5) for r in range(3)]

    one, several = made(), made()
    for _ in range(2):  # the generators go on alike
        dropped_RTBD = drop_each(several, x_RTBD)
        for r in range(3):
            assert torch.equal(dropped_RTBD[r], one[r](x_RTBD[r]))


def test_several_have_one_ratio_and_a_ratio_of_zero_drops_nothing() -> None:
    x_RTBD = torch.ones(2, 1, 1, 1)
    masks = [torch.Generator().manual_seed(r) for r in range(2)]
    nothing = [Dropout(0.0, each, batch_size=1) for each in masks]
    assert drop_each(nothing, x_RTBD) is x_RTBD
    with pytest.raises(ValueError, match="cannot be applied at once"):
        drop_each([nothing[0], Dropout(0.5, masks[1], batch_size=1)], x_RTBD)
