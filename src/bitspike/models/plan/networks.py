"""Which nodes stand for recurrent cells, the networks around them, and BiSNN's network of the online rule."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bitspike.cells import LMU, ParallelLMU
from bitspike.cells.legendre import discrete
from bitspike.cells.lmu_cell import Weights as LMUWeights
from bitspike.kernels import Recurrence, Spike
from bitspike.layers.scale import NoState
from bitspike.models.local import LocalLayer, LocalNetwork
from bitspike.models.own import OwnNetwork
from bitspike.models.plan.answers import Latest
from bitspike.models.plan.build import Builder, planner
from bitspike.models.plan.cells import Gates, Legendre, Memory
from bitspike.models.plan.nodes import Flatten, Join, Node, Pool, Scale
from bitspike.models.plan.planned_units import quantiser, quantiser_of
from bitspike.models.plan.planners import fixed
from bitspike.models.plan.units import Step
from bitspike.models.plan.weighing import Weights
from bitspike.models.sequence import Gated, SequenceNetwork
from bitspike.neurons.bisnn import BiSNNConstants, Refractory, Traces, fire_step, trace_step
from bitspike.neurons.static import Static


def at(name: str, part: str) -> str:
    """The path of a part."""
    return f"{name}.{part}" if name else part


@planner(OwnNetwork)
def own(builder: Builder, network: Any, name: str, source: str) -> str:
    """The person's module, under its own names."""
    return builder.module(network.module, name, source)


@planner(SequenceNetwork)
def sequence(builder: Builder, network: Any, name: str, source: str) -> str:
    """The cell, the mean of its latest states, the read-out."""
    source = builder.module(network.cell, at(name, "cell"), source)
    if network.read > 1:
        source = builder.add(Latest(name=at(name, "latest"), inputs=(source,), read=network.read))
    return builder.module(network.readout, at(name, "readout"), source)


@planner(Gated)
def gated(builder: Builder, cell: Any, name: str, source: str) -> Node:
    """LSTM or GRU."""
    layer = cell.layer
    w, u, b, c = (
        fixed(getattr(layer, tensor)) for tensor in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    )
    return Gates(cell=cell.kind, w=w, u=u, b=b, c=c)


@planner(LMU)
def lmu(builder: Builder, cell: Any, name: str, source: str) -> Node:
    """The cell with its quantisers."""
    units = cell.signals * cell.order
    parts: dict[str, Any] = {}
    for part, layer, size in (("memory", cell.memory, units), ("hidden", cell.spikes, cell.hidden)):
        if layer is not None:
            if layer.examples is not None:
                builder.refuse(name, "a quantiser whose draws are named by examples")
            parts[part] = quantiser_of(layer, at(name, "memory" if part == "memory" else "spikes"), source, (size,))
            bound = layer.bound(layer.final.dtype)
            parts[f"{part}_bound"] = None if bound is None else fixed(bound)
    matrices = LMUWeights(*(fixed(w) for w in cell.weights()))
    return Legendre(a=fixed(cell.a), b=fixed(cell.b), matrices=matrices, leak=fixed(cell.leak(cell.a)), **parts)


@planner(ParallelLMU)
def parallel(builder: Builder, cell: Any, name: str, source: str) -> str:
    """Signals, the memory step by step, its quantiser, and two products that meet in the hidden units."""
    a, b = discrete(cell.order, cell.window)
    u = builder.module(cell.to_signal, at(name, "to_signal"), source)
    m = builder.add(Memory(name=at(name, "legendre"), inputs=(u,), a=a, b=b, signals=cell.signals))
    m = builder.add(Scale(name=at(name, "scale"), inputs=(m,), gain=fixed(cell.scale)))
    if cell.memory is not None:
        m = quantiser(builder, cell.memory, at(name, "memory"), m)
    read = [
        builder.module(cell.from_memory, at(name, "from_memory"), m),
        builder.module(cell.from_input, at(name, "from_input"), source),
    ]
    current = builder.add(Join(name=at(name, "current"), inputs=tuple(read)))
    if cell.spikes is not None:
        return quantiser(builder, cell.spikes, at(name, "spikes"), current)
    return builder.module(Static(cell.nonlinearity), at(name, cell.nonlinearity), current)


def times(gain: float, source: str, name: str, like: Tensor) -> Scale:
    """One factor for all units."""
    return Scale(name=name, inputs=(source,), gain=torch.full((1,), gain, dtype=like.dtype))


def presynaptic_step(x: Any, state: Traces, p: BiSNNConstants, spike: Spike) -> tuple[Any, Traces]:
    """The slow trace of an input line."""
    after = trace_step(x, state, p)
    return after.P, after


def refractory_step(x: Any, state: Refractory, p: BiSNNConstants, spike: Spike) -> tuple[Any, Refractory]:
    """The spikes of a drive."""
    s, _, after = fire_step(x, state, p, spike)
    return s, after


def potential_step(x: Any, state: Refractory, p: BiSNNConstants, spike: Spike) -> tuple[Any, Refractory]:
    """The membrane of a drive, for a pool behind it; the refractory term is that of the spikes before the pool."""
    _, u, after = fire_step(x, state, p, spike)
    return u, after


def threshold_step(x: Any, state: NoState, p: NoState, spike: Spike) -> tuple[Any, NoState]:
    """1 where x >= 0."""
    return spike(x), state


@planner(LocalNetwork)
def online(builder: Builder, network: Any, name: str, source: str) -> str:
    """Layer by layer; of the read-outs, which training needs at every layer, the last."""
    layers = [layer for layer in network.layers if isinstance(layer, LocalLayer)]
    for number, layer in enumerate(layers):
        source = _layer(builder, layer, at(name, f"layers.{number}"), source)
    last, path = layers[-1], at(name, f"layers.{len(layers) - 1}")
    flat = builder.add(Flatten(name=f"{path}.flatten", inputs=(source,), emits="spikes"))
    signs = Weights(
        name=f"{path}.readout", inputs=(flat,), form="dense", weight=fixed(last.readout), bits=1.0, weight_kind="signs"
    )  # fmt: skip
    return builder.add(times(last.readout_gain, builder.add(signs), f"{path}.readout_gain", last.readout))


def _layer(builder: Builder, layer: LocalLayer, name: str, source: str) -> str:
    """Traces of the input lines, weights, gain, spikes; with a pool, the spikes of the largest membranes."""
    dense = isinstance(layer.weights, nn.Linear)
    if dense and len(builder.like(source).shape) > 2:
        source = builder.add(Flatten(name=f"{name}.flatten", inputs=(source,), emits=builder.emits(source)))

    def step(part: str, run: Any, start: Any, source: str, constants: Any = layer.constants) -> str:
        like = builder.like(source)
        state = start(*(torch.zeros_like(like) for _ in start._fields))
        recurrence = Recurrence(run, start, type(constants), layer.spike)
        fires = run in (refractory_step, threshold_step)
        node = Step(
            name=f"{name}.{part}", inputs=(source,), emits="spikes" if fires else "real", label=part,
            recurrence=recurrence, constants=constants, start=state,
        )  # fmt: skip
        return builder.add(node)

    source = step("traces", presynaptic_step, Traces, source)
    before, builder.rows = builder.rows, True
    source = builder.module(layer.weights, f"{name}.weights", source)
    builder.rows = before
    source = builder.add(times(layer.gain, source, f"{name}.gain", layer.weights.weight))
    if layer.pool == 1:
        return step("spikes", refractory_step, Refractory, source)
    source = step("potential", potential_step, Refractory, source)
    pooled = Pool(name=f"{name}.pool", inputs=(source,), largest=True, size=layer.pool, stride=layer.pool)
    return step("spikes", threshold_step, NoState, builder.add(pooled), NoState())
