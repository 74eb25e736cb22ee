"""Units without time or state, y = f(x): what an ordinary network has between its layers.

They train a network that is then made spiking (`bitspike.hybridise`), and are its limit of fine quantisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bitspike.errors import check_name
from bitspike.kernels.dtypes import computing, once
from bitspike.neurons.recordings import outputs_alone
from bitspike.products.kinds import Kind

STATIC: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "silu": nn.functional.silu,
    "gelu": nn.functional.gelu,
}


class Static(nn.Module):
    """A nonlinearity by name (`STATIC`) at every step of x (T, B, *features)."""

    is_spiking: ClassVar[bool] = False
    emits: ClassVar[Kind] = "real"
    watch = outputs_alone

    def __init__(self, kind: str = "relu") -> None:
        super().__init__()
        check_name("static nonlinearity", kind, STATIC)
        self.kind = kind

    @classmethod
    def from_options(cls, options: Any) -> Static:
        """The nonlinearity that a recipe's neuron names."""
        return cls(options.kind)

    def forward(self, x: Tensor) -> Tensor:
        """f(x); an input that does not change over time is computed once."""
        return once(STATIC[self.kind], x if x.is_floating_point() else computing(x))

    def extra_repr(self) -> str:
        """The nonlinearity's name."""
        return repr(self.kind)
