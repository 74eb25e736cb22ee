"""Recurrent networks that read a sequence and answer at its end: LMU (also hybrid), LSTM, GRU.

A cell turns x (T, B, F) into hidden states; their mean over the `read` final steps goes through one dense read-out.
"""

from __future__ import annotations

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from bitspike.draws import Key, generator
from bitspike.errors import refuse
from bitspike.kernels.run import Choice
from bitspike.layers.gated_scan import gated_scan
from bitspike.layers.without_graph import check_back_end, choose

GATED = {"lstm": nn.LSTM, "gru": nn.GRU}


class Cell(Protocol):
    """What `SequenceNetwork` needs of a recurrent layer: `hidden` units, and their states at the final steps."""

    hidden: int

    def __call__(self, x: Tensor, last: int | None = None) -> Tensor:
        """Hidden states (last, B, hidden) of x (T, B, F)."""
        ...


class Gated(nn.Module):
    """PyTorch's LSTM or GRU as a cell; weights uniform in +-1/sqrt(hidden), as there, from a named draw.

    back_end: "reference" (PyTorch's own loop), "cpu" (`layers.gated_scan` in training, PyTorch's elsewhere), "auto".
    products: "exact", or "fast" (bfloat16 in the loop of training; evaluation stays exact).
    """

    def __init__(
        self,
        kind: str,
        inputs: int,
        hidden: int,
        keys: tuple[Key, ...] = (0, "init"),
        back_end: str = "auto",
        products: str = "exact",
    ) -> None:
        super().__init__()
        if kind not in GATED:
            refuse("gated cell", repr(kind), " or ".join(map(repr, GATED)))
        check_back_end("gated", back_end)
        self.kind, self.hidden, self.back_end, self.products = kind, hidden, back_end, products
        self.layer = GATED[kind](inputs, hidden)
        with torch.no_grad():
            for name, weight in self.layer.named_parameters():
                weight.uniform_(-(hidden**-0.5), hidden**-0.5, generator=generator(*keys, name))

    def run(self, x: Tensor, state: Any = None, last: int | None = None) -> tuple[Tensor, Any]:
        """Hidden states (last, B, hidden) and the layer's own state."""
        y, state = self.layer(x, state)
        return y[len(y) - (last or len(y)) :], state

    def forward(self, x: Tensor, last: int | None = None) -> Tensor:
        """Hidden states (last, B, hidden)."""
        last = len(x) if last is None else last
        if not self.training or self.choice(x).back_end == "reference":
            return self.run(x, last=last)[0]
        layer, low = self.layer, torch.bfloat16 if self.products == "fast" else x.dtype
        weights = (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0)
        return gated_scan(self.kind, x, weights, last, low)

    def choice(self, x: Tensor) -> Choice:
        """The back end that trains on x and why: the one asked for, or an error that says why not."""
        return choose("gated", self.back_end, x, "layers.gated_scan")


class SequenceNetwork(nn.Module):
    """x (T, B, F) to one answer (1, B, outputs), from the mean hidden state of the `read` final steps.

    The read-out starts Glorot-uniform, its bias at 0.
    """

    def __init__(self, cell: nn.Module, outputs: int, read: int = 1, keys: tuple[Key, ...] = (0, "init")) -> None:
        super().__init__()
        if read < 1:
            refuse("model read", read, "1 step or more")
        self.cell, self.read = cell, read
        hidden = cast(Cell, cell).hidden
        self.readout = nn.Linear(hidden, outputs)
        with torch.no_grad():
            bound = (6 / (hidden + outputs)) ** 0.5
            self.readout.weight.uniform_(-bound, bound, generator=generator(*keys, "readout"))
            self.readout.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Read-out at the end of the sequence, (1, B, outputs)."""
        if self.read > len(x):
            refuse("model read", self.read, f"at most the {len(x)} steps of the input")
        h: Tensor = self.cell(x, last=self.read)
        answer: Tensor = self.readout(h.mean(0, keepdim=True))
        return answer
