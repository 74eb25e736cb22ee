"""LIF layers over time: ours and the other libraries', each by its fastest path on a processor.

The same equation, surrogate and detached reset for all (see `reference`), with what cannot be the same written into
each layer's `equation`: Norse scales its input by (1 - beta); snnTorch subtracts a soft reset one step late, which
is the same as a drop of theta / beta. Where a person writes the time loop (snnTorch, Norse), `x.unbind(0)` is the
fast way; the documented `x[t]`, which builds a gradient of full size per step, is measured as "..., x[t]".
"""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.reference import Equation, surrogate
from bitspike.errors import BitspikeError
from bitspike.neurons import LIF, Surrogate

TAU = 5.0
BETA = float(LIF(TAU).constants().beta)
PEERS = ("SpikingJelly", "snnTorch", "Norse", "Sinabs")


@dataclass(frozen=True)
class Layer:
    """A layer: `run` maps currents to spikes, (T, B, *features), or (B, T, *features) if `batch_first`."""

    name: str
    run: Callable[[Tensor], Tensor]
    equation: Equation
    batch_first: bool = False

    def arranged(self, x: Tensor) -> Tensor:
        """(T, B, *features) in the layer's own order, or back."""
        return x.transpose(0, 1).contiguous() if self.batch_first else x


def make(name: str, reset: str = "hard") -> Layer:
    """A new layer with state of its own, by the name of its library or of one of our back ends."""
    if name.startswith("bitspike"):
        return ours(name, reset)
    kind, _, way = name.partition(", ")
    makers: dict[str, Callable[[str, bool], tuple[Callable[[Tensor], Tensor], dict[str, float]]]] = {
        "SpikingJelly": _spikingjelly, "snnTorch": _snntorch, "Norse": _norse, "Sinabs": _sinabs,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their imports warn about themselves
        run, differs = makers[kind](reset, way == "x[t]")
    return Layer(name, run, Equation(BETA, 1.0, reset, **differs), batch_first=kind == "Sinabs")


def ours(name: str, reset: str = "hard") -> Layer:
    """`bitspike` (the back end it chooses itself) or `bitspike BACKEND`."""
    layer = neuron(name.partition(" ")[2] or "auto", reset)
    return Layer(name, layer, Equation(BETA, 1.0, reset))


def neuron(back_end: str = "auto", reset: str = "hard") -> LIF:
    """Our LIF module on a back end."""
    layer = LIF(TAU, reset=reset, surrogate=Surrogate("fast-sigmoid"))
    layer.back_end = back_end
    return layer


def own_names() -> tuple[str, ...]:
    """Our back ends that run here: the compiled one, if it can, and always the reference."""
    try:
        neuron("cpu")(torch.zeros(2, 1, 8))
    except BitspikeError:
        return ("bitspike reference",)
    return ("bitspike cpu", "bitspike reference")


def installed() -> tuple[str, ...]:
    """The other libraries that can be imported here, in the order of PEERS."""
    return tuple(_importable())


def _importable() -> Iterator[str]:
    for name in PEERS:
        try:
            make(name)
        except ImportError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
        else:
            yield name


def _spikingjelly(reset: str, _: bool) -> tuple[Callable[[Tensor], Tensor], dict[str, float]]:
    from spikingjelly.activation_based import functional, neuron, surrogate

    # Multi-step mode: its own operator with a hand-written backward pass. H = V - V/tau + X.
    layer = neuron.LIFNode(
        1 / (1 - BETA), decay_input=False, v_reset=0.0 if reset == "hard" else None,
        surrogate_function=surrogate.SuperSpike(alpha=1.0), detach_reset=True, step_mode="m",
    )  # fmt: skip

    def run(x: Tensor) -> Tensor:
        functional.reset_net(layer)
        out: Tensor = layer(x)
        return out

    return run, {}


def _snntorch(reset: str, indexed: bool) -> tuple[Callable[[Tensor], Tensor], dict[str, float]]:
    import snntorch
    from snntorch import surrogate

    mechanism = "zero" if reset == "hard" else "subtract"
    layer = snntorch.Leaky(beta=BETA, spike_grad=surrogate.fast_sigmoid(slope=1), reset_mechanism=mechanism)

    def run(x: Tensor) -> Tensor:
        memory, out = torch.zeros_like(x[0]), []
        for x_t in _slices(x, indexed):
            spike, memory = layer(x_t, memory)
            out.append(spike)
        return torch.stack(out)

    return run, {} if reset == "hard" else {"drop": 1 / BETA}


def _norse(reset: str, indexed: bool) -> tuple[Callable[[Tensor], Tensor], dict[str, float]]:
    _stub("nir", "nirtorch")
    from norse.torch import LIFBoxCell
    from norse.torch.functional.lif_box import LIFBoxFeedForwardState, LIFBoxParameters
    from norse.torch.functional.reset import reset_subtract, reset_value

    back = reset_value if reset == "hard" else reset_subtract

    def detached(z: Tensor, v: Tensor, value: Tensor, threshold: Tensor) -> Tensor:
        out: Tensor = back(z.detach(), v, value, threshold)
        return out

    tensor = torch.as_tensor
    constants = LIFBoxParameters(tau_mem_inv=tensor(1 - BETA), method="super", alpha=1.0, reset_method=detached)
    cell = LIFBoxCell(constants, dt=1.0)

    def run(x: Tensor) -> Tensor:
        state, out = LIFBoxFeedForwardState(torch.zeros_like(x[0])), []
        for x_t in _slices(x, indexed):
            spike, state = cell(x_t, state)
            out.append(spike)
        return torch.stack(out)

    return run, {"gain": 1 - BETA}


def _sinabs(reset: str, _: bool) -> tuple[Callable[[Tensor], Tensor], dict[str, float]]:
    _stub("nir", "nirtorch")
    from sinabs.activation import MembraneReset, SingleSpike
    from sinabs.layers import LIF as SinabsLIF

    def subtract(spike: Tensor, state: dict[str, Tensor], threshold: Tensor) -> dict[str, Tensor]:
        return {**state, "v_mem": state["v_mem"] - spike.detach() * threshold}

    layer = SinabsLIF(
        TAU, spike_fn=SingleSpike, reset_fn=MembraneReset() if reset == "hard" else subtract,
        surrogate_grad_fn=lambda v, threshold: surrogate(v - threshold), norm_input=False,
    ).requires_grad_(False)  # fmt: skip

    def run(x: Tensor) -> Tensor:
        layer.reset_states()
        out: Tensor = layer(x)
        return out

    return run, {}


def _slices(x: Tensor, indexed: bool) -> Any:
    return (x[t] for t in range(len(x))) if indexed else x.unbind(0)


def _stub(*names: str) -> None:
    """Empty modules where Norse and Sinabs import an exchange format only to name its types in annotations."""

    class Stub(types.ModuleType):
        def __getattr__(self, name: str) -> type:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

    for name in names:
        sys.modules.setdefault(name, Stub(name))
