"""Bits a network ships, and bits its activations carry.

A parameter with a parametrization has that parametrization's `bits` per value; any other real number that
inference reads has 32. A buffer of -1 and +1 (a fixed random read-out) has 1. An ensemble of R draws ships
its binary and drawn parameters R times and everything else once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from bitspike.energy.counts import REAL_BITS, Counts, tensor_bits
from bitspike.errors import check_whole


def _buffers(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Real-valued buffers that inference reads: of two sets of statistics, the one of the mode in use."""
    for prefix, module in model.named_modules():
        unused = {True: "running_", False: "map_"}.get(getattr(module, "map", None))  # type: ignore[arg-type]
        for name, buffer in module.named_buffers(recurse=False):
            shipped = buffer.is_floating_point() and name not in module._non_persistent_buffers_set
            if shipped and not (unused and name.startswith(unused)):
                yield f"{prefix}.{name}" if prefix else name, buffer


def _is_signs(x: Tensor) -> bool:
    # Both signs must occur: a variance that was never updated is all ones.
    return bool((x.abs() == 1).all()) and bool((x == 1).any()) and bool((x == -1).any())


def weight_bits(model: nn.Module, *, draws: int = 1, steps: int = 1) -> dict[str, Any]:
    """Bits to ship `model` as an ensemble of `draws` draws (MAP and a single draw: 1).

    Of weights that are drawn at each of `steps` time steps, as many more, or the number that they are drawn by.
    weights_stored: total bits; binary_weights: number of 1-bit parameters of one draw; fixed_signs: number
    of values in buffers of -1 and +1; real_values: number of all others; by_tensor: name to [count, bits],
    summing to weights_stored.
    """
    check_whole("draws", draws)
    check_whole("steps", steps)
    by_tensor: dict[str, list[float]] = {}
    numbers = {"binary_weights": 0, "fixed_signs": 0, "real_values": 0}
    seen: set[int] = set()
    for prefix, module in model.named_modules(remove_duplicate=True):
        if isinstance(module, parametrize.ParametrizationList):
            continue
        names = [name for name, _ in module.named_parameters(recurse=False)]
        if parametrize.is_parametrized(module):
            names += list(module.parametrizations)
        for name in names:
            latent = parametrize.is_parametrized(module, name)
            value: Tensor = module.parametrizations[name].original if latent else getattr(module, name)
            if id(value) in seen:
                continue
            seen.add(id(value))
            width = tensor_bits(module, name)
            binary = width == 1.0
            numbers["binary_weights" if binary else "real_values"] += value.numel()
            chain: Any = module.parametrizations[name] if latent else ()
            drawn = any(getattr(each, "is_drawn", False) for each in chain)
            total = value.numel() * width * (draws if binary or drawn else 1)
            if drawn and steps > 1 and any(getattr(each, "each_step", False) for each in chain):
                total = min(total * steps, value.numel() * REAL_BITS)
            by_tensor[f"{prefix}.{name}" if prefix else name] = [value.numel(), total]
    for name, buffer in _buffers(model):
        signs = _is_signs(buffer)
        numbers["fixed_signs" if signs else "real_values"] += buffer.numel()
        by_tensor[name] = [buffer.numel(), buffer.numel() * (1.0 if signs else 32.0)]
    stored = sum(total for _, total in by_tensor.values())
    return {"weights_stored": stored, **numbers, "by_tensor": by_tensor}


def activation_bits(counts: Counts) -> dict[str, float]:
    """average, significant and spikes_per_neuron of what ran; 0 where the model has no spiking neurons.

    average: mean bits to write one activation down (1 for a spike or none; whole numbers up to m take
    ceil(log2(m + 1)) and a sign bit if any is negative; 32 otherwise). significant: mean over neurons and
    time of log2(1 + |n|), the spike rate of binary neurons. spikes_per_neuron: sum of |n| per neuron and
    presentation.
    """
    values = sum(layer.values for layer in counts.neurons)
    neurons = sum(layer.neurons for layer in counts.neurons)
    if not values or not neurons:
        return {"average": 0.0, "significant": 0.0, "spikes_per_neuron": 0.0}
    return {
        "average": sum(layer.bits for layer in counts.neurons) / values,
        "significant": sum(layer.significant for layer in counts.neurons) / values,
        "spikes_per_neuron": sum(layer.spikes for layer in counts.neurons) / neurons,
    }


def bits(model: nn.Module, counts: Counts, *, draws: int = 1, steps: int = 1) -> dict[str, Any]:
    """The `bits` of result.json: `weight_bits` and `activation_bits` together."""
    return {**weight_bits(model, draws=draws, steps=steps), **activation_bits(counts)}
