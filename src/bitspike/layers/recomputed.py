"""A product and its neurons, computed again in the backward pass instead of being kept.

For each step, input and neuron about 1/8 byte is kept where the input is spikes (and states every sqrt(T) steps)
instead of 4 bytes for the input, 4 for the current and 4 per value the neuron's adjoint needs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bitspike.errors import refuse
from bitspike.kernels.dtypes import computing, computing_dtype
from bitspike.kernels.recompute import recompute
from bitspike.layers.norm import TemporalBatchNorm
from bitspike.layers.product import FewBitLinear
from bitspike.layers.stepwise import Stepwise
from bitspike.neurons.base import Neuron
from bitspike.neurons.recordings import Note, Undo, run_watched
from bitspike.neurons.stochastic import Stochastic


class Recomputed(nn.Module):
    """`neuron(layer(x))` with little memory: x (T, B, *features) to spikes (T, B, *units).

    layer: any module that treats every step alike (weights, scale, pooling). Batch statistics over time do not fit:
    a segment does not know them. segment: steps computed again at a time; see `kernels.recompute`.
    """

    def __init__(self, layer: nn.Module, neuron: Neuron, segment: int | None = None) -> None:
        super().__init__()
        for name, part in layer.named_modules():
            if isinstance(part, TemporalBatchNorm | nn.modules.batchnorm._BatchNorm):
                came = f"{type(part).__name__} '{name}'"
                refuse("recomputed layer", came, "layers that treat every time step by itself")
            if isinstance(part, Stochastic | nn.modules.dropout._DropoutNd) and getattr(part, "p", 1) > 0:
                came = f"{type(part).__name__} '{name}', which draws other numbers the second time"
                refuse("recomputed layer", came, "layers without draws of their own")
        self.layer, self.neuron, self.segment = layer, neuron, segment

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (T, B, *units), from rest."""
        return self.run(x)[0]

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """As `forward`, from a given state; returns the spikes and the state after the last step."""
        if not x.is_floating_point():
            x = computing(x)
        with torch.no_grad():
            current = self.layer(x[:1])[0]
        dtype = current.dtype if current.is_floating_point() else computing_dtype(current.dtype)
        state = self.neuron.initial(current) if state is None else state
        if torch.compiler.is_compiling():
            # A compiler chooses itself what to compute again.
            return self.neuron.run(self.layer(x), state)
        kind = type(state)
        first = self.layer.layer if isinstance(self.layer, Stepwise) else None
        int8 = isinstance(first, FewBitLinear) and first.x_kind == "spikes" and not x.requires_grad

        def function(part: Tensor, before: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
            y, after = self.neuron.run(self.layer(part), kind(*before))
            return y, tuple(after)

        def into(y: Tensor, part: Tensor, before: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return tuple(self.neuron.run_into(y, self.layer(part), kind(*before)))

        y, last = recompute(
            function, x, tuple(state), list(self.parameters()), self.segment, into, int8, dtype, self._read
        )
        return y, kind(*last)

    def _read(self) -> list[Tensor]:
        return [*self.parameters(), *self.buffers()]

    def watch(self, note: Note) -> Undo:
        """See `neurons.recordings`."""
        return run_watched(self, note)
