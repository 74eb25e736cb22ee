from __future__ import annotations

import pytest
import torch

from bitspike.errors import BitspikeError
from bitspike.neurons import STATIC, Static


@pytest.mark.parametrize("kind", STATIC)
def test_every_step_is_the_nonlinearity_and_a_constant_input_stays_a_view(kind: str) -> None:
    x = torch.randn(3, 2, 5)
    unit = Static(kind)
    assert torch.equal(unit(x), STATIC[kind](x))
    given = x[:1].expand(4, 2, 5)
    y = unit(given)
    assert y.stride(0) == 0
    assert torch.equal(y, STATIC[kind](given))


def test_values_by_hand_and_no_spikes() -> None:
    assert Static("relu")(torch.tensor([[[-1.0, 2.0]]])).tolist() == [[[0.0, 2.0]]]
    assert not Static().is_spiking
    assert not list(Static().parameters())


def test_another_name_is_refused() -> None:
    with pytest.raises(BitspikeError, match=r"^static nonlinearity: got 'step', wanted one of relu, tanh"):
        Static("step")
