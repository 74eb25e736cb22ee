"""Operations of recurrent cells, whose weights are no layers of their own: LSTM and GRU of PyTorch, and the LMU.

Every product of a cell is told to the counter as a layer: what it multiplies at each step (T B rows) and how many
weights one value meets. A quantised state is told as its whole numbers n = dt y.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bitspike.layers import LMU, ParallelLMU
from bitspike.layers.legendre import discrete
from bitspike.neurons import TemporalQuantiser

GATED = (nn.LSTM, nn.GRU, nn.RNN)


class Product(NamedTuple):
    """Part of a cell: its name, a weight for size and kind, inputs (T, B, I), weights that one of them meets."""

    name: str
    weight: Tensor
    x: Tensor
    reach: float


def gated_products(cell: nn.Module, x: Tensor, h: Tensor) -> Iterator[Product]:
    """Products of a one-layer, one-direction recurrent layer of PyTorch: input x (T, B, F), states h (T, B, H)."""
    for name, weight, rows in (("input", cell.weight_ih_l0, x), ("feedback", cell.weight_hh_l0, _before(h))):
        assert isinstance(weight, Tensor)
        yield Product(name, weight, rows, float(weight.shape[0]))


def lmu_products(cell: LMU, x: Tensor, m: Tensor, h: Tensor) -> Iterator[Product]:
    """Products of an LMU: input x (T, B, F), memory m (T, B, K d) and hidden states h (T, B, H).

    The signal into the memory, and what own_leak holds back, are real: one multiply-add for each of their weights.
    """
    n_m, n_h = counts(cell.memory, m), counts(cell.spikes, h)
    signals, hidden = float(cell.signals), float(cell.hidden)
    yield Product("input", torch.cat([cell.e_x, cell.w_x]), x, signals + hidden)
    yield Product("signal", cell.b.unsqueeze(1), x.new_full((*x.shape[:2], cell.signals), 0.5), float(cell.order))
    yield Product("memory", torch.cat([cell.a.flatten(), cell.e_m.flatten()]), _before(n_m), cell.order + signals)
    yield Product("to_hidden", cell.w_m, n_m, hidden)
    yield Product("feedback", torch.cat([cell.w_h, cell.e_h]), _before(n_h), hidden + signals)
    if cell.own_leak and cell.memory is not None:
        yield Product("leak", cell.a.diagonal(), torch.full_like(m, 0.5), 1.0)


def memory_products(cell: ParallelLMU, x: Tensor) -> Iterator[Product]:
    """Products of a feed-forward LMU that are no layers: its memory as a recurrence, all real-valued."""
    steps = x.new_full((*x.shape[:2], cell.signals), 0.5)
    a, b = discrete(cell.order, cell.window)
    yield Product("signal", b.unsqueeze(1), steps, float(cell.order))
    yield Product("memory", a, steps.repeat_interleave(cell.order, -1), float(cell.order))


def counts(quantiser: TemporalQuantiser | None, y: Tensor) -> Tensor:
    """The whole numbers behind y where it is quantised, else y."""
    return y if quantiser is None or quantiser.step_size() is None else quantiser.counts(y)


def _before(states: Tensor) -> Tensor:
    """What the step before left: zeros, then all states but the last."""
    return torch.cat([torch.zeros_like(states[:1]), states[:-1]])
