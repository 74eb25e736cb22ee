"""Recurrent networks that read a sequence and answer at its end: LMU (also hybrid), LSTM, GRU.

A cell turns x (T, B, F) into hidden states; their mean over the `read` final steps goes through one dense read-out.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from bitspike import registry
from bitspike.cells.gated_scan import gated_scan
from bitspike.cells.without_graph import (
    check_back_end,
    check_products,
    check_sizes,
    checked_last,
    choice_for,
    products_here,
)
from bitspike.draws import Key, generator
from bitspike.errors import check_name, refuse
from bitspike.kernels.dtypes import computing, given_back
from bitspike.kernels.run import Choice
from bitspike.layers.ends import lengths_for
from bitspike.models.setting import Setting
from bitspike.neurons.recordings import Note, Undo, cell_watched

GATED = {"lstm": nn.LSTM, "gru": nn.GRU}
INPUT, KEEPS = 0, 1  # gates by their place in PyTorch's i, f, g, o and r, z, n


class Gated(nn.Module):
    """PyTorch's LSTM or GRU as a cell; weights uniform in +-1/sqrt(hidden), as there, from a named draw.

    The gate that keeps is the LSTM's forget gate and the GRU's z (PyTorch's h = (1 - z) n + z h_{t-1}); without input
    its state decays over 1 / (1 - s(b)) = 1 + exp(b) steps, b being the sum of PyTorch's two biases. Uniform ones are
    near 0, and two steps are remembered. forget_bias: b of every unit. chrono: b = log u, u uniform in [1, chrono - 1]
    from a named draw, so that units remember 2 to `chrono` steps, evenly; the LSTM's input gate gets -b, so that what
    comes in is averaged over them (Tallec & Ollivier, "Can recurrent neural networks warp time?", ICLR 2018).

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
        forget_bias: float | None = None,
        chrono: float | None = None,
    ) -> None:
        super().__init__()
        check_name("gated cell", kind, GATED, " or ".join(map(repr, GATED)))
        check_back_end("gated", back_end)
        check_products("gated", products)
        check_sizes("gated", inputs=inputs, hidden=hidden)
        if forget_bias is not None and chrono is not None:
            refuse("gated chrono", f"{chrono} beside forget_bias {forget_bias}", "one of the two")
        if chrono is not None and not 2 <= chrono < math.inf:
            refuse("gated chrono", chrono, "2 steps or more")
        if forget_bias is not None and not math.isfinite(forget_bias):
            refuse("gated forget_bias", forget_bias, "a number")
        self.kind, self.hidden, self.back_end, self.products = kind, hidden, back_end, products
        self.layer = GATED[kind](inputs, hidden)
        with torch.no_grad():
            for name, weight in self.layer.named_parameters():
                weight.uniform_(-(hidden**-0.5), hidden**-0.5, generator=generator(*keys, name))
            if forget_bias is not None:
                self._gate(KEEPS, torch.full((hidden,), float(forget_bias)))
            elif chrono is not None:
                u = torch.rand(hidden, generator=generator(*keys, "chrono"), dtype=torch.float64)
                b = (1 + (chrono - 2) * u).log()
                self._gate(KEEPS, b)
                if kind == "lstm":
                    self._gate(INPUT, -b)

    def _gate(self, number: int, b: Tensor) -> None:
        """Set both of PyTorch's biases of a gate, whose sum is b (hidden,)."""
        part = slice(number * self.hidden, (number + 1) * self.hidden)
        self.layer.bias_ih_l0[part] = b.to(self.layer.bias_ih_l0)
        self.layer.bias_hh_l0[part] = 0

    @classmethod
    def from_options(cls, options: Any, inputs: int, setting: Setting) -> Gated:
        """The cell of a recipe."""
        return cls(
            options.kind, inputs, options.hidden, (setting.seed, "init"), setting.back_end,
            products_here(setting.products), options.forget_bias, options.chrono,
        )  # fmt: skip

    def run(self, x: Tensor, state: Any = None, last: int | None = None) -> tuple[Tensor, Any]:
        """Hidden states (last, B, hidden) and the layer's own state."""
        last = checked_last(last, x, self.layer.input_size, "gated")
        dtype = self.layer.weight_ih_l0.dtype
        # Under autocast too: PyTorch would keep the states in its few bits.
        with torch.autocast(x.device.type, enabled=False):
            y, state = self.layer(x.to(dtype), state)
        return given_back(y[len(y) - last :], x.dtype), state

    def forward(self, x: Tensor, last: int | None = None) -> Tensor:
        """Hidden states (last, B, hidden)."""
        last, given, x = checked_last(last, x, self.layer.input_size, "gated"), x.dtype, computing(x)
        if not self.training or x.shape[1] == 0 or self.choice(x).back_end == "reference":
            return given_back(self.run(x, last=last)[0], given)
        layer, low = self.layer, torch.bfloat16 if self.products == "fast" else x.dtype
        weights = (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0, layer.bias_hh_l0)
        with torch.autocast(x.device.type, enabled=False):
            y = gated_scan(self.kind, x, tuple(w.to(x.dtype) for w in weights), last, low)
        return given_back(y, given)

    def watch(self, note: Note) -> Undo:
        """See `neurons.recordings`: hidden states of all steps."""
        return cell_watched(self, note)

    def choice(self, x: Tensor) -> Choice:
        """The back end that trains on x and why: the one asked for, or an error that says why not."""
        return choice_for("gated", self.back_end, x, "layers.gated_scan")


class SequenceNetwork(nn.Module):
    """x (T, B, F) to one answer (1, B, outputs), from the mean hidden state of the `read` final steps.

    cell: a module of `hidden` units, called with (x, last=W) for their states (W, B, hidden) at the W final steps.
    The read-out starts Glorot-uniform, its bias at 0.
    """

    def __init__(self, cell: Any, outputs: int, read: int = 1, keys: tuple[Key, ...] = (0, "init")) -> None:
        super().__init__()
        if read < 1:
            refuse("model read", read, "1 step or more")
        self.cell, self.read = cell, read
        hidden = cell.hidden
        self.readout = nn.Linear(hidden, outputs)
        with torch.no_grad():
            bound = (6 / (hidden + outputs)) ** 0.5
            self.readout.weight.uniform_(-bound, bound, generator=generator(*keys, "readout"))
            self.readout.bias.zero_()

    @classmethod
    def from_options(cls, options: Any, setting: Setting, **given: Any) -> SequenceNetwork:
        """The network of a recipe: a cell by its own options, and the read-out."""
        if len(setting.shape) != 1:
            came = f"'{options.kind}' on inputs of shape {setting.shape}"
            refuse("model.kind", came, "one vector per time step")
        cell = registry.imported(options.cell).from_options(options, setting.shape[0], setting)
        return cls(cell, setting.outputs, options.read, (setting.seed, "init"))

    def forward(self, x: Tensor) -> Tensor:
        """Read-out at the end of the sequence, (1, B, outputs)."""
        if self.read > len(x):
            refuse("model read", self.read, f"at most the {len(x)} steps of the input")
        answer: Tensor = self.readout(self._final(x))
        return answer

    def fan_out(self) -> dict[str, float]:
        """Weights that one count of a hidden unit meets where only the read-out hears it."""
        quantised = getattr(self.cell, "spikes", None) is not None
        heard = "spikes" in self.cell.fan_out() if quantised else True
        return {} if heard else {"cell.spikes": self.readout.out_features}

    def over_time(self, x: Tensor) -> Tensor:
        """Read-outs (T, B, outputs) after each step, from the `read` states up to it, or all there are by then."""
        if getattr(self.cell, "begins_where_read", False):
            parts = (self.cell(x[: step + 1], last=min(self.read, step + 1)) for step in range(len(x)))
        else:
            h: Tensor = self.cell(x, last=len(x))
            parts = (h[max(0, step + 1 - self.read) : step + 1] for step in range(len(h)))
        # Step by step, as `forward` computes the last one: the sums of a larger product may end in other bits.
        return torch.cat([self.readout(part.mean(0, keepdim=True)) for part in parts])

    def _final(self, x: Tensor) -> Tensor:
        """The mean hidden state (1, B, hidden) of the `read` final steps of each sequence (see `layers.ends`)."""
        lengths = lengths_for(x)
        if lengths is None:
            return cast(Tensor, self.cell(x, last=self.read)).mean(0, keepdim=True)
        shortest = int(lengths.min())
        if self.read > shortest:
            refuse("model read", self.read, f"at most the {shortest} steps of the shortest sequence")
        h: Tensor = self.cell(x, last=len(x) - shortest + self.read)
        step = torch.arange(len(x) - len(h), len(x), device=x.device).unsqueeze(1)
        final = (step < lengths) & (step >= lengths - self.read)
        # Chosen, not multiplied by 0: a state behind an end may be anything.
        return torch.where(final.unsqueeze(-1), h, torch.zeros_like(h)).sum(0, keepdim=True) / self.read
