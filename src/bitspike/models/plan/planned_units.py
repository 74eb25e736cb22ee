"""Which nodes stand for neurons, quantisers and nonlinearities."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from bitspike.kernels import Recurrence, no_spike
from bitspike.layers import Recomputed, Recurrent
from bitspike.models.plan.build import Builder, planner
from bitspike.models.plan.cells import Feedback
from bitspike.models.plan.nodes import Activity, Node
from bitspike.models.plan.planners import fixed, weights
from bitspike.models.plan.units import Quantiser, Step, frozen_constants
from bitspike.neurons import Neuron, SoftNeuron, Static, TemporalQuantiser
from bitspike.neurons.soft_lif import RateConstants
from bitspike.neurons.soft_lif_noise import NoNoise, RateStep

ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.GELU, nn.Hardtanh, nn.LeakyReLU, nn.ELU, nn.Softplus,
)  # fmt: skip


@planner(Static, *ACTIVATIONS)
def activity(builder: Builder, layer: Any, name: str, source: str) -> Node:
    """A nonlinearity."""
    label = layer.kind if isinstance(layer, Static) else type(layer).__name__.lower()
    return Activity(function=copy.deepcopy(layer), label=label)


def unit(neuron: Any, name: str, source: str, like: Tensor) -> Step:
    """A neuron's step."""
    start, constants = neuron.initial(like), frozen_constants(neuron.constants())
    recurrence = Recurrence(neuron.step, type(start), type(constants), neuron.spike)
    return Step(
        name=name, inputs=(source,), shape=tuple(like.shape[1:]), emits=neuron.emits,
        label=getattr(neuron, "kind", type(neuron).__name__), recurrence=recurrence, constants=constants, start=start,
    )  # fmt: skip


@planner(Neuron)
def neuron(builder: Builder, layer: Any, name: str, source: str) -> Node:
    """A step with its constants."""
    builder.check_time(layer, name)
    return unit(layer, name, source, builder.like(source))


@planner(SoftNeuron)
def soft(builder: Builder, layer: Any, name: str, source: str) -> Node:
    """The noiseless rate."""
    rate = layer.rate
    step = Recurrence(RateStep(rate.curve, "none"), NoNoise, RateConstants, no_spike)
    return Step(label=f"soft-{rate.curve}", recurrence=step, constants=rate.constants(), start=NoNoise())


@planner(TemporalQuantiser)
def quantiser(builder: Builder, layer: Any, name: str, source: str) -> str:
    """The activity, clipped, and its whole numbers."""
    builder.check_time(layer, name)
    if layer.examples is not None:
        builder.refuse(name, "a quantiser whose draws are named by examples")
    source = builder.add(activity_of(layer, name, source))
    made = quantiser_of(layer, name, source, tuple(builder.like(source).shape[1:]))
    return source if made is None else builder.add(made)


def activity_of(layer: Any, name: str, source: str) -> Activity:
    """What is quantised."""
    f = layer.nonlinearity
    label = getattr(f, "__name__", type(f).__name__) if f is not None else "clip"
    bound = layer.bound(layer.final.dtype)
    function = copy.deepcopy(f) if isinstance(f, nn.Module) else f
    return Activity(
        name=f"{name}.activity" if name else "activity", inputs=(source,), function=function, label=label,
        bound=None if bound is None else fixed(bound),
    )  # fmt: skip


def quantiser_of(layer: Any, name: str, source: str, shape: tuple[int, ...]) -> Quantiser | None:
    """The quantiser itself; None where it is asked to be static."""
    dt = layer.step_size()
    if dt is None:
        return None
    keys = layer.keys if layer.drawn is None else layer.drawn
    return Quantiser(name=name, inputs=(source,), shape=shape, dt=fixed(dt), keys=keys, mode=layer.mode)


@planner(Recurrent)
def recurrent(builder: Builder, layer: Any, name: str, source: str) -> Node:
    """Neurons that feed one another."""
    if type(layer.neuron).run is not Neuron.run:
        builder.refuse(name, f"{type(layer.neuron).__name__} in a loop of its own, with feedback")
    inner = unit(layer.neuron, f"{name}.neuron", source, builder.like(source))
    feedback = weights(layer.feedback)
    given = {key: feedback[key] for key in ("weight", "bits", "weight_kind")}
    return Feedback(unit=inner, emits=inner.emits, gain=None if layer.gain is None else fixed(layer.gain), **given)


@planner(Recomputed)
def recomputed(builder: Builder, layer: Any, name: str, source: str) -> str:
    """The layer, then its neurons."""
    source = builder.module(layer.layer, f"{name}.layer" if name else "layer", source)
    return builder.module(layer.neuron, f"{name}.neuron" if name else "neuron", source)
