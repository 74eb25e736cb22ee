"""Constants of a neuron: fixed or learned, shared or one per neuron, and positive while they are learned.

    hold(self, {"tau": tau, "theta": theta}, learn=("tau",), shape=(64,))
    held(self, "tau")

A fixed constant is kept as it is. A learned one is kept as its logarithm, the parameter `log_NAME`, so that no
step of an optimiser makes it negative; its gradient is dL/dlog(c) = c dL/dc.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from bitspike.errors import refuse
from bitspike.kernels.dtypes import at_least_single

Constant = float | Tensor


def positive(value: Constant, field: str, wanted: str = "a positive number") -> Tensor:
    """`value` in float64; refuses what is not positive and finite, also where float32 rounds it to 0 or infinity."""
    try:
        if isinstance(value, Tensor) and value.is_complex():
            raise TypeError
        number = torch.as_tensor(value, dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError):
        refuse(field, repr(value), wanted)
    if number.numel() == 0:
        refuse(field, f"no value, of shape {tuple(number.shape)}", wanted)
    single = number.float()
    fits = torch.isfinite(single) & (single > 0)
    if not bool(fits.all()):
        word = "a least value" if bool((number <= 0).any()) else "a value"
        refuse(field, f"{word} of {number[~fits].min():g}" if number.ndim else value, wanted)
    return number


def one_positive(value: Constant, field: str, wanted: str = "a positive number") -> float:
    """`value`, which all neurons share; refuses as `positive` does, and one value per neuron."""
    number = positive(value, field, wanted)
    if number.numel() != 1:
        refuse(field, f"values of shape {tuple(number.shape)}", f"{wanted}, one for all neurons")
    return float(number)


def constant(value: Constant, learn: bool, shape: tuple[int, ...] = (), field: str = "neuron constant") -> Tensor:
    """A neuron constant of `shape` in the default dtype: a parameter, or fixed and not in the `state_dict`."""
    number = torch.as_tensor(value).detach().to(torch.get_default_dtype())
    try:
        start = number.expand(shape or number.shape).clone()
    except RuntimeError:
        refuse(field, f"values of shape {tuple(number.shape)}", f"one value, or {shape}")
    if learn:
        return nn.Parameter(start)
    # Values per neuron move with the module to a device; a scalar is cheapest on the host.
    return nn.Buffer(start, persistent=False) if start.ndim else start


def hold(module: nn.Module, values: Mapping[str, Constant], learn: Collection[str], shape: tuple[int, ...]) -> None:
    """Keep the constants `values` in the module, those in `learn` trained; see above."""
    if unknown := set(learn) - set(values):
        refuse("neuron learn", sorted(unknown), f"names among {', '.join(values)}")
    for name, value in values.items():
        start, field = positive(value, f"neuron {name}"), f"neuron {name}"
        if name in learn:
            setattr(module, f"log_{name}", constant(start.log(), True, shape, field))
        elif shape or start.ndim:
            setattr(module, name, constant(start, False, shape, field))
        else:
            # In float64: it promotes no tensor, and a run in float64 has all its digits.
            setattr(module, name, start.clone())


def held(module: nn.Module, name: str) -> Tensor:
    """The constant `name`, with its gradient if it is learned."""
    fixed = hasattr(module, name)
    value: Tensor = at_least_single(getattr(module, name if fixed else f"log_{name}"))
    return value if fixed else value.exp()


def decay(tau: Tensor) -> Tensor:
    """What is left after one step: exp(-1/tau) for a time constant in steps."""
    return torch.exp(-1 / tau)
