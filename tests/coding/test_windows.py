"""A series seen through a moving window."""

from __future__ import annotations

import pytest
import torch

from bitspike.coding import Sequence, Windows
from bitspike.errors import BitspikeError

WHO = torch.arange(1)
X = torch.arange(1.0, 8.0).view(1, 7, 1)


def test_each_step_sees_the_last_values_in_their_order() -> None:
    encoder = Windows(7, width=4, stride=3)
    seen = encoder(X, WHO)
    assert encoder.steps == 3
    assert encoder.reads == 7
    assert encoder.features((1,)) == (4, 1)
    assert seen[:, 0, :, 0].tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 0, 0]]
    # Sequences of 1 to 7 steps are seen whole after so many steps of the network.
    assert encoder.ends(torch.arange(1, 8)).tolist() == [1, 1, 1, 2, 2, 2, 3]


def test_a_window_of_one_step_is_the_sequence_itself() -> None:
    x = torch.randn(3, 7, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Windows(7, width=1)(x, WHO)[:, :, 0], Sequence(7)(x, WHO))


def test_no_step_sees_what_comes_later() -> None:
    x = torch.randn(2, 9, 2, generator=torch.Generator().manual_seed(1))
    later = x.clone()
    later[:, 4:] = 7.0
    for stride in (1, 2):
        encoder = Windows(9, width=3, stride=stride)
        assert torch.equal(encoder(x, WHO)[: 4 // stride], encoder(later, WHO)[: 4 // stride])


@pytest.mark.parametrize(("width", "stride"), [(0, 1), (8, 1), (2, 3), (3, 0)])
def test_windows_that_leave_steps_out_are_refused(width: int, stride: int) -> None:
    with pytest.raises(BitspikeError, match=r"encoder (width|stride): got \d, wanted"):
        Windows(7, width, stride)
    with pytest.raises(BitspikeError, match="windows length: got 7, wanted 9 steps"):
        Windows(9, 3)(X, WHO)


def test_whole_numbers_are_real_ones_to_the_network() -> None:
    x = torch.arange(42).view(2, 7, 3)
    seen = Windows(7, 3, 2)(x, torch.arange(2))
    assert seen.dtype == torch.float32
    assert torch.equal(seen, Windows(7, 3, 2)(x.float(), torch.arange(2)))
