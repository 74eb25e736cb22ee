"""Operations of recurrent cells, whose weights are no layers of their own: LSTM and GRU of PyTorch, and the LMU.

Every product of a cell is told to the counter as a layer: what it multiplies at each step (T B rows) and how many
weights one value meets. A quantised state is told as its whole numbers n = dt y.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bitspike.cells import LMU, ParallelLMU
from bitspike.cells.legendre import discrete
from bitspike.neurons import TemporalQuantiser

GATED = (nn.LSTM, nn.GRU, nn.RNN)


class Product(NamedTuple):
    """Part of a cell: its name, a weight for size and kind, inputs (T, B, I), weights that one of them meets."""

    name: str
    weight: Tensor
    x: Tensor
    reach: float


def gated_products(cell: nn.Module, x: Tensor, h: Tensor) -> Iterator[Product]:
    """Products of a recurrent layer of PyTorch: input x (T, B, F), states h (T, B, D H) of D directions.

    Those of further layers and of the second direction are told as if every input were active.
    """
    assert isinstance(cell, nn.RNNBase)
    hidden = cell.proj_size or cell.hidden_size
    single = cell.num_layers == 1 and not cell.bidirectional
    for layer in range(cell.num_layers):
        for back in ("", "_reverse")[: 2 if cell.bidirectional else 1]:
            suffix = f"_l{layer}{back}"
            own = "" if suffix == "_l0" else suffix
            inputs, states = getattr(cell, f"weight_ih{suffix}"), getattr(cell, f"weight_hh{suffix}")
            rows = x if layer == 0 else _active(x, inputs.shape[1])
            yield Product(f"input{own}", inputs, rows, float(inputs.shape[0]))
            before = _before(h) if single else _active(x, hidden)
            yield Product(f"feedback{own}", states, before, float(states.shape[0]))
            if cell.proj_size:
                made = getattr(cell, f"weight_hr{suffix}")
                yield Product(f"projection{own}", made, _active(x, made.shape[1]), float(made.shape[0]))


def step_products(cell: nn.RNNCellBase, x: Tensor, h: Tensor | None) -> Iterator[Product]:
    """Products of one step of a recurrent cell: input x (B, F), state h (B, H) or none, which is zeros."""
    state = x.new_zeros(len(x), cell.hidden_size) if h is None else h
    for name, weight, rows in (("input", cell.weight_ih, x), ("feedback", cell.weight_hh, state)):
        assert isinstance(weight, Tensor)
        yield Product(name, weight, rows.unsqueeze(0), float(weight.shape[0]))


def _active(x: Tensor, inputs: int) -> Tensor:
    return x.new_full((*x.shape[:2], inputs), 0.5)


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
