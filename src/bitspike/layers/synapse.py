"""Synaptic filters on spikes or currents, exact for an input that is constant within each time step.

    first-order   tau s' = x - s                                      impulse response exp(-t/tau) / tau
    alpha         tau r' = x - r,  tau s' = r - s                     impulse response t exp(-t/tau) / tau^2

Over one step of dt, with a = exp(-dt/tau):

    first-order   s <- x + a (s - x)
    alpha         s <- x + a ((s - x) + (dt/tau) (r - x)),  r <- x + a (r - x)

y_t = s at the end of step t. Both leave the mean as it is: an input that has always been c gives c. dt, tau: seconds.
A synapse is linear and the same for all its inputs, so it may stand before or behind weights: `SynapticLayer`.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from bitspike.errors import check_name
from bitspike.kernels import Spike
from bitspike.kernels.cpu.buffers import unchanging
from bitspike.kernels.dtypes import computing, rest
from bitspike.layers.by_events import EventLayer
from bitspike.layers.fused import hooked_anywhere, plain
from bitspike.layers.memory_format import run_in_memory_format
from bitspike.layers.stepwise import Stepwise
from bitspike.neurons.base import Neuron
from bitspike.neurons.constants import one_positive
from bitspike.neurons.recordings import Note, Undo
from bitspike.products.kinds import Kind

SYNAPSES = ("first-order", "alpha")
PRODUCTS = ("float32", "dense", "bfloat16")
TURNS = itertools.count()  # calls of layers with a state, in their order


class FirstOrderState(NamedTuple):
    """s: output of the last step, (B, *features)."""

    s: Any


class AlphaState(NamedTuple):
    """r: first stage, s: output of the last step. Both (B, *features)."""

    r: Any
    s: Any


class SynapseConstants(NamedTuple):
    """a: what is left after one step; ratio: dt / tau."""

    a: Any
    ratio: Any


def first_order_step(x: Any, state: FirstOrderState, p: SynapseConstants, spike: Spike) -> tuple[Any, FirstOrderState]:
    """One step of the first-order filter."""
    s = x + p.a * (state.s - x)
    return s, FirstOrderState(s)


def alpha_step(x: Any, state: AlphaState, p: SynapseConstants, spike: Spike) -> tuple[Any, AlphaState]:
    """One step of the alpha filter."""
    behind = state.r - x
    s = x + p.a * ((state.s - x) + p.ratio * behind)
    return s, AlphaState(x + p.a * behind, s)


class Synapse(Neuron):
    """A filter over time, x (T, B, *features) to the same shape. kind: "alpha" or "first-order"."""

    is_spiking: ClassVar[bool] = False
    emits: ClassVar[Kind] = "real"

    def __init__(self, kind: str = "alpha", tau: float = 0.005, dt: float = 0.001) -> None:
        super().__init__()
        check_name("synapse", kind, SYNAPSES)
        self.synapse = kind
        self.step = alpha_step if kind == "alpha" else first_order_step
        self.tau = one_positive(tau, "synapse tau", "a positive number of seconds")
        self.dt = one_positive(dt, "synapse dt", "a positive number of seconds")

    def initial(self, like: Tensor) -> FirstOrderState | AlphaState:
        """The state of an input that has always been 0."""
        return self.settled(rest(like))

    def settled(self, value: Tensor) -> FirstOrderState | AlphaState:
        """The state of an input that has always been `value` (B, *features)."""
        return AlphaState(value, value) if self.synapse == "alpha" else FirstOrderState(value)

    def constants(self) -> SynapseConstants:
        """Decay and ratio per step."""
        return SynapseConstants(math.exp(-self.dt / self.tau), self.dt / self.tau)

    def extra_repr(self) -> str:
        """Kind and times."""
        return f"{self.synapse!r}, tau={self.tau:g}, dt={self.dt:g}"


class SynapticLayer(nn.Module):
    """A synapse on the input of a weight layer, computed where there are fewer values, its state kept between calls.

    layer: affine, (T, B, *) to (T, B, *), the same at every step. Behind it, the filter starts from what the layer
    makes of an input that has always been 0 (its bias), which is the same thing. products: of inputs that change over
    time, before they are filtered: spikes, unlike what a filter makes of them, are few and have few digits. "float32":
    sums over them where that is faster (`by_events`); "dense": the layer as it is; "bfloat16": the layer in bfloat16.

    unit: stands right behind this layer; where nobody watches either of the two, a filter behind the weights is left to
    it, which is told so (`behind`) and filters its input with this layer's synapse and state.
    """

    unit: Any = None
    reports_parts: ClassVar[bool] = True

    def __init__(self, layer: Callable[[Tensor], Tensor], synapse: Synapse | None, products: str = "dense") -> None:
        super().__init__()
        check_name("synaptic layer products", products, PRODUCTS, ", ".join(PRODUCTS))
        self.layer, self.synapse, self.rounded = layer, synapse, products == "bfloat16"
        inner = layer.layer if isinstance(layer, Stepwise) else layer
        self.events = EventLayer.make(inner) if products == "float32" else None
        self.behind: bool | None = None
        self.state: Any = None
        self.turns: deque[int] = deque(maxlen=2)
        """When this layer was called last, among all that count so."""

    def reset(self) -> None:
        """Forget what came before."""
        self.state, self.behind = None, None

    def refresh(self) -> None:
        """Use the layer's weights as they are now; call it before a run."""
        if self.events is not None:
            self.events.refresh()

    def keep(self, rows: int) -> None:
        """Go on with the first `rows` examples of the batch alone."""
        if self.state is not None:
            self.state = type(self.state)(*(part[:rows] for part in self.state))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output for the filtered x; goes on from the last call's state."""
        self.turns.append(next(TURNS))
        if self.synapse is None:
            y = self._weigh(x)
            # A loop of the unit's own reads few bits as they lie; any other would answer in them.
            return computing(y) if self.rounded and not self._leaves_it(y) else y
        if self.behind is None or self.behind or self.rounded:
            y = self._weigh(x)
            if self.behind is None:
                few = self.events is not None and self.events.used
                self.behind = self.rounded or few or unchanging(x) or y[0].numel() <= x[0].numel()
            if self.behind:
                if self.state is None:
                    # Not rounded: the state is kept in full.
                    start = self.layer(torch.zeros_like(x[:1, :1]))[0].expand_as(y[0])
                    self.state = self.synapse.settled(start)
                    self.state = type(self.state)(*(part.clone() for part in self.state))
                if self._leaves_it(y):
                    self.unit.behind = self
                    return y
                # The filter's output is not rounded again.
                y, self.state = run_in_memory_format(self.synapse, computing(y) if self.rounded else y, self.state)
                return y
        filtered, self.state = run_in_memory_format(self.synapse, x, self.state)
        return self.layer(filtered)

    def watch(self, note: Note) -> Undo:
        """See `neurons.recordings`: neurons are recorded, not the filters between them."""
        return lambda: None

    def _leaves_it(self, y: Tensor) -> bool:
        """Whether the unit behind this layer filters its input y."""
        if self.unit is None or not self.unit.takes(y) or hooked_anywhere():
            return False
        return plain(self) and plain(self.unit)

    def _weigh(self, x: Tensor) -> Tensor:
        if unchanging(x):
            return self.layer(x)
        if not self.rounded:
            y = self._by_events(x)
            return self.layer(x) if y is None else y
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.layer(x)

    def _by_events(self, x: Tensor) -> Tensor | None:
        if self.events is None or (isinstance(self.layer, Stepwise) and not plain(self.layer)):
            return None
        y = self.events(x.flatten(0, 1))
        return None if y is None else y.unflatten(0, x.shape[:2])

    def report_operations(self, tally: Any, given: tuple[Any, ...], output: Tensor) -> None:
        """For the energy account (`energy.tally`): one filter per unit, and the products of the layer."""
        if self.synapse is not None:
            tally.filters_input(output, self.synapse)
        layer: Any = self.layer
        tally.weighs_over_time(layer.layer if isinstance(layer, Stepwise) else layer, given[0], output)

    def __getstate__(self) -> dict[str, Any]:
        """A copy or a pickle begins anew."""
        return {**self.__dict__, "state": None, "behind": None}
