"""Paired differences: by hand, and how often the interval holds what it should."""

from __future__ import annotations

import pytest
import torch

from bitspike.draws import generator
from bitspike.errors import BitspikeError
from bitspike.metrics.paired import paired_difference


def test_the_difference_by_hand() -> None:
    a = torch.tensor([[1, 1, 0, 1], [1, 0, 0, 1]]).bool()
    b = torch.tensor([[0, 1, 0, 1], [1, 0, 1, 0]]).bool()
    found = paired_difference(a, b)
    assert found.seeds == (0.25, 0.0)
    assert found.difference == 0.125
    assert found.low <= 0.125 <= found.high
    assert paired_difference(a, b) == found
    assert paired_difference(b, a).difference == -0.125


def test_what_never_varies_has_no_spread() -> None:
    ones = torch.ones(3, 50)
    found = paired_difference(ones, torch.zeros(3, 50))
    assert (found.low, found.difference, found.high) == (1, 1, 1)
    # The same examples are lost with every seed and by both: their difficulty cancels.
    hard = (torch.arange(50) % 2).expand(3, 50)
    found = paired_difference(hard, hard)
    assert (found.low, found.difference, found.high) == (0, 0, 0)


def test_one_seed_is_the_bootstrap_over_examples() -> None:
    values = torch.rand(1, 400, generator=generator("test")).double()
    found = paired_difference(values, torch.zeros(1, 400), resamples=4000)
    error = values.std().item() / 20
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.06)


def test_seeds_that_differ_widen_the_interval() -> None:
    source = generator("test")
    noise = torch.randn(6, 300, generator=source)
    apart = noise + torch.tensor([-2.0, -1, 0, 0, 1, 2]).view(6, 1)
    narrow, wide = (paired_difference(x, torch.zeros(6, 300)) for x in (noise, apart))
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"b": torch.ones(2, 4)}, "paired values: got .*wanted two equal shapes"),
        ({"a": torch.ones(0, 3), "b": torch.ones(0, 3)}, "paired values: got"),
        ({"level": 1.0}, "paired level: got 1.0"),
        ({"resamples": 0}, "paired resamples: got 0"),
    ],
)
def test_wrong_values_are_refused(options, message) -> None:
    with pytest.raises(BitspikeError, match=f"^{message}"):
        paired_difference(**{"a": torch.ones(2, 3), "b": torch.ones(2, 3), **options})
