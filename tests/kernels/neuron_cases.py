"""Every neuron with every reset, inputs that make it spike, and one run of it with all its gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.kernels import Recurrence, run
from bitspike.neurons import (
    LIF,
    ExactIF,
    ExactLIF,
    Integrator,
    Neuron,
    Surrogate,
    TemporalQuantiser,
    with_steps,
)
from bitspike.registry import names, options

RESETS = ("soft", "hard", "none")
UNLIKE_DEFAULTS = {"tau": 3.0, "strength": 0.3}


def _registered() -> Iterator[tuple[str, Callable[..., Neuron]]]:
    """Every neuron of the registry that has a step, own ones too, with each reset that it knows."""
    for name, model in with_steps().items():
        if name in names("neuron"):
            known = options("neuron", name).model_fields
            given = {key: value for key, value in UNLIKE_DEFAULTS.items() if key in known}
            for reset in RESETS if "reset" in known else ():
                yield f"{name}-{reset}", partial(model, reset=reset, **given)
            if "reset" not in known:
                yield name, partial(model, **given)


SPIKING: dict[str, Callable[..., Neuron]] = {
    **dict(_registered()),
    **{f"refractory-{reset}": partial(LIF, tau=3.0, reset=reset, refractory=2) for reset in RESETS},
}
EXACT: dict[str, Callable[..., Neuron]] = {
    "exact": partial(ExactLIF, tau_rc=0.005, tau_ref=0.0015, amplitude=0.002),
    "exact-if": partial(ExactIF, tau_rc=0.005, tau_ref=0.0015, amplitude=0.002),
}
SILENT: dict[str, Callable[..., Neuron]] = {"integrator": Integrator, "quantiser": partial(TemporalQuantiser, dt=1.5)}
ARITHMETIC = {**SPIKING, **SILENT}
MODELS = {**SPIKING, **EXACT, **SILENT}
NAMES = tuple(names("surrogate"))
# Constants that have a gradient: not a step width, a refractory period or time.
WITHOUT_GRADIENT = {"dt", "period", "tau_ref"}


class Run(NamedTuple):
    """Result of one run: output, final state, gradients by name (x, each state as s_NAME, each constant)."""

    y: Tensor
    last: tuple[Tensor, ...]
    grads: dict[str, Tensor]


class Case(NamedTuple):
    """A recurrence with its input, initial state, constants and the gradients of what comes out."""

    recurrence: Recurrence
    x: Tensor
    state: Any
    constants: Any
    gy: Tensor
    carries: Any

    @property
    def wanted(self) -> tuple[str, ...]:
        """The constants whose gradient is asked for."""
        return tuple(name for name in self.constants._fields if name not in WITHOUT_GRADIENT)


def make(name: str, surrogate: str) -> Neuron:
    """The neuron called `name` with that surrogate of width 0.7."""
    spike = Surrogate(surrogate, 0.7, 1.2)
    return MODELS[name]() if name in SILENT else MODELS[name](surrogate=spike)


def currents(name: str, shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Currents around what makes the neuron spike, some on a grid so that membranes meet the threshold exactly."""
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=source, dtype=torch.float64) * 0.7 + 0.3
    x = torch.where(torch.rand(shape, generator=source) < 0.4, (x * 4).round() / 4, x)
    return (3 * x + 1 if name == "exact" else x).to(dtype)


def case(
    name: str, surrogate: str, dtype: torch.dtype, per_neuron: bool = False, shape: tuple[int, ...] = (25, 3, 15)
) -> Case:
    """Neuron `name` on random currents from a random state; per_neuron: its learned constants differ by neuron."""
    neuron, source = make(name, surrogate), torch.Generator().manual_seed(1)

    def draw(*size: int) -> Tensor:
        return torch.rand(size, generator=source, dtype=torch.float64)

    x = currents(name, shape, dtype)
    state, p = neuron.initial(x[0]), neuron.constants()
    state = type(state)(*((0.5 * draw(*shape[1:])).to(dtype) for _ in state))
    if name.startswith("refractory"):
        state = state._replace(r=(4 * draw(*shape[1:])).floor().to(dtype))
    values = {}
    for key, value in p._asdict().items():
        value = torch.as_tensor(value, dtype=dtype)
        scale = (0.8 + 0.2 * draw(shape[-1])).to(dtype) if per_neuron else 1
        values[key] = value if key in WITHOUT_GRADIENT else value * scale
    carries = type(state)(*((draw(*shape[1:]) - 0.5).to(dtype) for _ in state))
    recurrence = Recurrence(neuron.step, type(state), type(p), neuron.spike)
    return Case(recurrence, x, state, type(p)(**values), (draw(*shape) - 0.5).to(dtype), carries)


def execute(c: Case, back_end: str) -> Run:
    """Output, final state and every gradient of `c` on a back end."""
    x = c.x.detach().requires_grad_()
    state = type(c.state)(*(s.clone().requires_grad_() for s in c.state))
    # detach: an input or constant that is a view stays one.
    p = {key: value.detach().requires_grad_(key in c.wanted) for key, value in c.constants._asdict().items()}
    y, last = run(c.recurrence, x, state, type(c.constants)(**p), back_end)
    loss = (y * c.gy).sum() + sum((s * g).sum() for s, g in zip(last, c.carries, strict=True))
    leaves = {"x": x, **{f"s_{k}": v for k, v in state._asdict().items()}, **{k: p[k] for k in c.wanted}}
    if not loss.requires_grad:
        return Run(y.detach(), tuple(s.detach() for s in last), {k: torch.zeros_like(v) for k, v in leaves.items()})
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    grads = {k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(leaves.items(), found, strict=True)}
    return Run(y.detach(), tuple(s.detach() for s in last), grads)


@lru_cache
def ran(name: str, surrogate: str, dtype: torch.dtype, per_neuron: bool, back_end: str) -> Run:
    """`execute` of a case, once per test session."""
    return execute(case(name, surrogate, dtype, per_neuron), back_end)


def distance(found: Tensor, wanted: Tensor, least: float = 0.0) -> float:
    """|found - wanted| / |wanted| (norms of the whole tensor); a |wanted| below `least` counts as that."""
    scale = max(float(wanted.double().norm()), least, 1e-30)
    return float((found.double() - wanted.double()).norm()) / scale
