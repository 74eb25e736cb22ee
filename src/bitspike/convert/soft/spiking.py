"""A network of soft firing rates run as spikes: the same weights, spiking neurons, synaptic filters.

    y_l = W_l (h * s_{l-1}) + b_l          h: the synapse, on what reaches every weight layer, the image too
    s_l = neuron(gain y_l + bias)          spikes of height amplitude / dt: `ExactLIF` or `ExactIF`

Pools of means stay what they are; dropout does nothing; norms behind weight layers are folded into W_l and b_l. State
is kept from call to call, so that a presentation may begin where the last one ended, and a long one may be run in
chunks. Source: Hunsberger & Eliasmith 2016.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from bitspike.cells import LMU, ParallelLMU
from bitspike.checks import check_finite
from bitspike.convert.entrance import MOST_STEPS, computing_dtype, is_half, taken
from bitspike.convert.fold import CHAINS, fold_chains
from bitspike.convert.nonlinearities import CLOSED, MODULES
from bitspike.convert.soft.watch import Watch
from bitspike.convert.swap import swapped
from bitspike.errors import check_name, check_whole, refuse
from bitspike.kernels.cpu.exact_lif import ALPHA, DIRECT, FIRST_ORDER
from bitspike.layers import Local2d, Stepwise, Synapse, SynapticLayer
from bitspike.layers.memory_format import dim_order, from_memory_format, inverse, run_in_memory_format, to_memory_format
from bitspike.layers.modes import evaluating
from bitspike.layers.synapse import TURNS
from bitspike.neurons import ExactIF, ExactLIF, Neuron, SoftNeuron, Static
from bitspike.neurons.exact_lif_fused import run, takes
from bitspike.neurons.recordings import Note, States, Undo, after_each, replaced

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, Local2d)
# Weights of torch without a synapse before them.
UNFILTERED = (nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Bilinear, nn.Embedding)
CHUNK = 20  # steps
SHORTEST, LONGEST = 1e-7, 100.0  # seconds of a step, of a synapse
Products = Literal["float32", "dense", "bfloat16"]
PRODUCTS: tuple[Products, ...] = get_args(Products)


class SpikingUnit(nn.Module):
    """Spiking neurons in the place of soft rates; state and counts are kept from call to call.

    spikes: since the last `forget_counts`; updates: neurons times steps. neurons: of one example, 0 before the first
    call.
    """

    def __init__(self, unit: SoftNeuron, dt: float) -> None:
        super().__init__()
        rate = unit.rate
        make = ExactIF if rate.curve == "if" else ExactLIF
        self.neuron: ExactLIF = make(dt, rate.tau_rc, rate.tau_ref, rate.amplitude)
        self.height = rate.amplitude / dt
        offset = rate.bias - 1 if rate.curve == "if" else rate.bias
        self.current = (torch.tensor(rate.gain), torch.tensor(offset))
        self.state: Any = None
        # A layer that has left its synapse to this unit, until the unit has run.
        self.behind: SynapticLayer | None = None
        self.spikes, self.updates, self.neurons = 0.0, 0, 0
        self.training = False
        self.turns: deque[int] = deque(maxlen=2)
        """As of `SynapticLayer`."""

    def reset(self) -> None:
        """Back to rest."""
        self.state = None

    def keep(self, rows: int) -> None:
        """Go on with the first `rows` examples of the batch alone."""
        if self.state is not None:
            self.state = type(self.state)(*(part[:rows] for part in self.state))

    def forget_counts(self) -> None:
        """Count from 0."""
        self.spikes, self.updates = 0.0, 0

    def takes(self, x: Tensor) -> bool:
        """Whether a synapse on input x, of which this unit is told by `behind`, can be left to it."""
        return takes(self.neuron, x)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (T, B, *features) for inputs of that shape."""
        self.turns.append(next(TURNS))
        before, self.behind = self.behind, None
        y, self.state, spikes = self._run(x, self.state, before)
        self.spikes += spikes
        self.updates += y.numel()
        self.neurons = y[0, 0].numel() if y.numel() else 0
        return y

    def _run(self, x: Tensor, state: Any, before: SynapticLayer | None = None) -> tuple[Tensor, Any, int]:
        """Spikes, the state after them (the one given may be changed in place) and their number."""
        if self.takes(x):
            return self._fused(x, state, before)
        y, state = run_in_memory_format(self.neuron, x, state, self.current)
        return y, state, round(float(y.sum()) / self.height)

    def watch(self, note: Note) -> Undo:
        """See `neurons.recordings`."""
        run = self._run

        def copied(state: Any) -> Any:
            return None if state is None else type(state)(*(part.clone() for part in state))

        def told(x: Tensor, state: Any, before: SynapticLayer | None = None) -> tuple[Tensor, Any, int]:
            start, filtered = copied(state), None if before is None else copied(before.state)
            found = run(x, state, before)

            def states() -> States:
                if before is None:
                    return after_each(lambda x, state: run(x, state)[:2], x, start)
                # A synapse that is left to this unit goes through the same steps again, and back to its end.
                end, before.state = before.state, filtered
                seen = after_each(lambda x, state: run(x, state, before)[:2], x, start)
                before.state = end
                return seen

            note(found[0], states)
            return found

        return replaced(self, "_run", told)

    def report_operations(self, tally: Any, given: tuple[Any, ...], output: Tensor) -> None:
        """For the energy account (`energy.tally`)."""
        tally.fires(output, self.neuron, (output / self.height).round())

    def _fused(self, x: Tensor, state: Any, before: SynapticLayer | None) -> tuple[Tensor, Any, int]:
        """One kernel for the synapse before this unit, if it was left to it, the gain, the neurons and the count."""
        order = dim_order(x)
        gain, offset = (float(v) for v in self.current)
        synapse: tuple[int, float, float] = (DIRECT, 0.0, 0.0)
        filtered: Any = ()
        if before is not None and before.synapse is not None:
            kind, p = ALPHA if before.synapse.synapse == "alpha" else FIRST_ORDER, before.synapse.constants()
            synapse, filtered = (kind, p.a, p.ratio), to_memory_format(before.state, order)
            before.state = from_memory_format(filtered, order)
        state = None if state is None else to_memory_format(state, order)
        y, state, spikes = run(self.neuron, x.permute(order), state, gain, offset, synapse, filtered)
        return y.permute(inverse(order)), from_memory_format(state, order), spikes

    def __getstate__(self) -> dict[str, Any]:
        """A copy or a pickle begins anew."""
        return {**self.__dict__, "state": None, "behind": None}


class Spiking(nn.Module):
    """The spiking run of `model`, whose parameters it uses where no norm was folded into them. Made by `spiking`."""

    def __init__(self, model: nn.Module, net: nn.Module, dt: float, reset: bool, chunk: int) -> None:
        super().__init__()
        # Not a child: its parameters are those of `net`, listed once.
        self.__dict__["model"] = model
        self.net, self.dt, self.resets, self.chunk = net, dt, reset, chunk
        self.dtype = computing_dtype(model)
        self.looked_into = False
        self._pair()
        # Layers that the model shares keep its mode; they run in evaluation.
        self.training = False

    def _pair(self) -> None:
        """Tell weight layers of the unit right behind them in a chain."""
        for chain in self.net.modules():
            if isinstance(chain, nn.Sequential) and type(chain).forward in CHAINS:
                for layer, unit in itertools.pairwise(chain):
                    if isinstance(layer, SynapticLayer) and isinstance(unit, SpikingUnit):
                        # Not a child: it stands behind the layer, not in it.
                        layer.__dict__["unit"] = unit

    def units(self) -> dict[str, SpikingUnit]:
        """The spiking neurons by the path of the unit they stand for, in the order of the model."""
        return {name: m for name, m in self.net.named_modules() if isinstance(m, SpikingUnit)}

    def _stateful(self) -> Iterator[SpikingUnit | SynapticLayer]:
        for module in self.net.modules():
            if isinstance(module, SpikingUnit | SynapticLayer):
                yield module

    def reset(self) -> None:
        """Neurons at rest, synapses empty."""
        for module in self._stateful():
            module.reset()

    def _begin(self) -> None:
        if self.resets:
            self.reset()
        for module in self.net.modules():
            if isinstance(module, SynapticLayer):
                module.refresh()

    def by_events(self) -> list[str]:
        """Paths of the weight layers whose last product was a sum over the spikes that reached them."""
        layers = ((name, m) for name, m in self.net.named_modules() if isinstance(m, SynapticLayer))
        return [name for name, m in layers if m.events is not None and m.events.used]

    def keep(self, rows: int) -> None:
        """Go on with the first `rows` examples of the batch alone."""
        for module in self._stateful():
            module.keep(rows)

    def forget_counts(self) -> None:
        """Count spikes from 0."""
        for unit in self.units().values():
            unit.forget_counts()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Outputs (T, B, C) at every step for inputs (T, B, *shape), in chunks; a constant image is best a view."""
        x = taken("spiking input", x, self.dtype)
        if x.ndim < 2 or 0 in x.shape:
            refuse("spiking input", f"shape {tuple(x.shape)}", "(T, B, *shape), one step and one example or more")
        check_finite("spiking input", x[:1] if x.stride(0) == 0 else x)
        self._begin()
        return torch.cat([self._run(part) for part in x.split(self.chunk)])

    def _run(self, x: Tensor) -> Tensor:
        """A chunk of steps; the first one is watched for what cannot be spikes."""
        with evaluating(self.net), nullcontext() if self.looked_into else self._watched():
            y: Tensor = self.net(x)
        self.looked_into = True
        return y

    @torch.no_grad()
    def present(self, x: Tensor, time: float, windows: Sequence[tuple[float, float]] | None = None) -> Tensor:
        """Mean outputs (W, B, C) over each window (start, end] of a presentation of images x (B, *shape).

        time, windows: seconds; the default window is the second half. Begins where the last call ended, unless the
        network resets.
        """
        x = taken("spiking images", x, self.dtype)
        if x.ndim < 1 or 0 in x.shape:
            refuse("spiking images", f"shape {tuple(x.shape)}", "(B, *shape), one image or more")
        steps = self.steps_in(time, "spiking time")
        spans = [self.span_of(window, steps) for window in windows or [(time / 2, time)]]
        check_finite("spiking images", x)
        self._begin()
        sums: list[Any] = [0.0] * len(spans)
        if x.ndim == 4:
            # The order in which convolutions and pools are fastest; what follows keeps it.
            x = x.contiguous(memory_format=torch.channels_last)
        for first in range(0, steps, self.chunk):
            long = min(self.chunk, steps - first)
            y = self._run(x.unsqueeze(0).expand(long, *x.shape))
            for number, (start, end) in enumerate(spans):
                part = y[max(start - first, 0) : max(end - first, 0)]
                sums[number] = sums[number] + part.sum(0)
        return torch.stack([total / (end - start) for total, (start, end) in zip(sums, spans, strict=True)])

    def _watched(self) -> Watch:
        stateful = {name: m for name, m in self.net.named_modules() if isinstance(m, SpikingUnit | SynapticLayer)}
        return Watch(self.net, stateful, list(self.units().values()))

    def steps_in(self, time: float, field: str) -> int:
        """How many steps `time` seconds are; refused if not a whole number of 1 or more."""
        steps = round(time / self.dt) if 0 < time <= MOST_STEPS * self.dt else 0
        if steps < 1 or abs(steps * self.dt - time) > 1e-6 * max(time, self.dt):
            refuse(field, f"{time:g} s", f"a whole number of steps of {self.dt:g} s, at most {MOST_STEPS:,}")
        return steps

    def span_of(self, window: tuple[float, float], steps: int) -> tuple[int, int]:
        """First and last step of a window (start, end] in seconds; refused if it does not lie within `steps` steps."""
        start, end = window
        if not 0 <= start < end:
            refuse("spiking window", f"{start:g} to {end:g} s", f"a span within 0 to {steps * self.dt:g} s")
        first = self.steps_in(start, "spiking window") if start else 0
        last = self.steps_in(end, "spiking window")
        if not first < last <= steps:
            refuse("spiking window", f"{start:g} to {end:g} s", f"a span within 0 to {steps * self.dt:g} s")
        return first, last


def spiking(
    model: nn.Module,
    dt: float = 0.001,
    synapse: str | None = "alpha",
    tau_s: float = 0.005,
    reset: bool = False,
    chunk: int = CHUNK,
    products: Products = "float32",
) -> Spiking:
    """The spiking run of a network of soft rates (`SoftNeuron`) that puts time first.

    dt: seconds per step. synapse: "alpha", "first-order" or None, with time constant tau_s (seconds; 0 is None), on
    the input of every weight layer. reset: every presentation starts from rest; else where the last one ended.
    chunk: steps that are computed layer by layer at a time; memory grows with it. products: "float32" sums the weights
    of spikes where these are few and multiplies elsewhere, "dense" always multiplies: the same but for the order of
    sums. "bfloat16" multiplies and rounds weights, and the sums of each step, to 8 binary digits (spikes are exact
    where amplitude / dt is). What cannot be run as spikes is refused with its path; what only a run shows (calls of
    functions, a layer that is called twice) in the first run.
    """
    if (half := next((v.dtype for v in (*model.parameters(), *model.buffers()) if is_half(v)), None)) is not None:
        refuse("spiking model", half, "float32 or float64 (model.float())")
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor):
            check_finite(f"spiking model {name}", value)
    check_name("spiking products", products, PRODUCTS)
    if not SHORTEST <= dt <= LONGEST:
        refuse("spiking dt", f"{dt:g} s", f"{SHORTEST:g} to {LONGEST:g} s")
    if not 0 <= tau_s <= LONGEST:
        refuse("spiking tau_s", f"{tau_s:g} s", f"0 to {LONGEST:g} s")
    if synapse is not None:
        Synapse(synapse, tau_s or SHORTEST, dt)
    check_whole("spiking chunk", chunk, "a whole number of steps, 1 or more")
    found = 0

    def visit(path: str, module: nn.Module) -> nn.Module | None:
        nonlocal found
        if isinstance(module, SoftNeuron):
            found += 1
            return SpikingUnit(module, dt)
        inner = module.layer if isinstance(module, Stepwise) else module
        if isinstance(inner, WEIGHTED):
            if inner is module and not isinstance(module, nn.Linear):
                refuse(f"spiking {path or 'model'}", type(module).__name__, "bitspike.layers.Stepwise around it")
            filter = Synapse(synapse, tau_s, dt) if synapse is not None and tau_s else None
            return SynapticLayer(module, filter, products)
        if isinstance(module, Stepwise) and any(isinstance(m, (*WEIGHTED, SoftNeuron)) for m in inner.modules()):
            refuse(f"spiking {path}", f"a Stepwise around {type(inner).__name__}", "Stepwise around single layers")
        if isinstance(inner, UNFILTERED):
            refuse(f"spiking {path or 'model'}", type(inner).__name__, f"weight layers {_named(WEIGHTED)}")
        if isinstance(module, (*MODULES, *CLOSED, Static, Neuron, LMU, ParallelLMU)):
            refuse(f"spiking {path or 'model'}", type(module).__name__, "units of soft rates (SoftNeuron)")
        return None

    net = swapped(fold_chains(model), visit)
    if not found:
        refuse("spiking model", f"{type(model).__name__} without soft rates", "units of kind soft-lif or soft-if")
    return Spiking(model, net, dt, reset, chunk)


def _named(kinds: Sequence[type]) -> str:
    return ", ".join(kind.__name__ for kind in kinds)
