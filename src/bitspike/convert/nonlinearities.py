"""Which modules and functions are nonlinearities: what `hybridise` swaps.

All act on each value alone. Softmax and pools look at several values and stay as they are; gated units (GLU) and
random slopes (RReLU) hold a nonlinearity that cannot be swapped, and are refused.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from bitspike.errors import refuse
from bitspike.neurons import Static

MODULES: tuple[type[nn.Module], ...] = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.Mish, nn.PReLU,
    nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink,
    nn.Threshold, nn.LogSigmoid, Static,
)  # fmt: skip
# Modules of torch that apply a nonlinearity in code of their own, where none can be put in its place.
CLOSED: tuple[type[nn.Module], ...] = (
    nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.Transformer, nn.RReLU, nn.GLU,
)  # fmt: skip

_NAMES = (
    "celu", "elu", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "prelu", "relu",
    "relu6", "selu", "silu", "sigmoid", "softplus", "softshrink", "softsign", "tanh", "tanhshrink", "threshold",
    "logsigmoid",
)  # fmt: skip

# What built-in functions, whose signatures Python does not know, call the settings that they take by position.
BUILT_IN: Mapping[str, tuple[str, ...]] = {
    "softplus": ("beta", "threshold"), "softshrink": ("lambd",), "hardshrink": ("lambd",), "prelu": ("weight",),
    "logsigmoid": (),
}  # fmt: skip


def _spelled(names: Iterable[str]) -> dict[Any, str]:
    """Every function and method of torch by one of these names, changing its input or not."""
    homes = (torch, F, Tensor)
    spellings = {spelling: name for name in names for spelling in (name, f"{name}_")}
    return {getattr(home, s): name for s, name in spellings.items() for home in homes if hasattr(home, s)}


# Every function and method of torch that computes a nonlinearity, with its name; and those that cannot be swapped.
FUNCTIONS: Mapping[Any, str] = {**_spelled(_NAMES), torch.special.expit: "sigmoid"}
CLOSED_FUNCTIONS: Mapping[Any, str] = _spelled(("rrelu", "glu"))


def pure(module: nn.Module) -> nn.Module:
    """The module; if it works in place, a copy with the same parameters that does not."""
    if not getattr(module, "inplace", False):
        return module
    twin = copy.copy(module)
    twin.inplace = False  # type: ignore[assignment]
    return twin


class Function(nn.Module):
    """A function of torch with its settings, as a module."""

    def __init__(self, name: str, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        super().__init__()
        self.name = name
        self.function: Callable[..., Tensor] = getattr(F, name)
        self.settings = bound(self.function, arguments, options)

    def check(self, place: str) -> None:
        """Refuse settings that are computed by the network: they are no part of a function of one value."""
        for key, value in self.settings.items():
            if isinstance(value, fx.Node):
                refuse(f"hybridise {place}", f"{self.name} with a {key} that is computed", "numbers, or a module of it")

    def forward(self, x: Tensor) -> Tensor:
        """f(x)."""
        return self.function(x, **self.settings)

    def extra_repr(self) -> str:
        """Name and settings."""
        return ", ".join([self.name, *(f"{key}={value!r}" for key, value in self.settings.items())])


def bound(function: Any, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a call by name, `inplace` left out; positional ones are named as the function names them."""
    try:
        names = list(inspect.signature(function).parameters)[1:]
    except ValueError:
        names = list(BUILT_IN.get(getattr(function, "__name__", ""), ()))
    if len(arguments) > len(names):
        said = getattr(function, "__name__", str(function))
        refuse(f"{said} settings", f"{len(arguments)} by position", "settings by name")
    settings = {**dict(zip(names, arguments, strict=False)), **options}
    return {key: value for key, value in settings.items() if key not in ("inplace", "input")}
