"""Give the weights of a model a precision, draw them, and find their latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bitspike.draws import Key, generator
from bitspike.errors import refuse
from bitspike.weights.bayesian import BayesianBinary
from bitspike.weights.precision import Precision
from bitspike.weights.straight_through import StraightThrough

PRECISIONS: dict[str, type[Precision]] = {
    "full": Precision,
    "straight-through": StraightThrough,
    "bayesian": BayesianBinary,
}
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)


def quantise(model: nn.Module, make: Callable[[], Precision], *keys: Key, biases: bool = False) -> nn.Module:
    """Give every Linear and Conv weight (and bias, if `biases`) of `model` a precision of its own.

    make: returns a new parametrization; keys: name of the draw of the initial latents. Returns `model`.
    """
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, WEIGHTED)]
    for name, layer in layers:
        for tensor in ("weight", "bias") if biases else ("weight",):
            if parametrize.is_parametrized(layer, tensor):
                refuse(f"{name}.{tensor}", "a tensor that already has a precision", "a plain parameter")
            if getattr(layer, tensor) is None:
                continue
            precision = make()
            precision.initialise(getattr(layer, tensor).data, generator(*keys, f"{name}.{tensor}"))
            # unsafe: no trial call, which would need a draw before training.
            parametrize.register_parametrization(layer, tensor, precision, unsafe=True)
    return model


def binary_parametrizations(model: nn.Module) -> Iterator[tuple[str, Precision, nn.Parameter]]:
    """(name, parametrization, latent) of every tensor with a precision, in the model's order."""
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            for tensor, chain in module.parametrizations.items():
                for precision in chain:
                    if isinstance(precision, Precision):
                        yield f"{name}.{tensor}" if name else tensor, precision, chain.original


def latent_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The latent tensor of every weight with a precision, by name."""
    return {name: latent for name, _, latent in binary_parametrizations(model)}


def redraw(model: nn.Module, *keys: Key) -> None:
    """Draw every Bayesian weight anew; the draw is named by `keys` and the weight's name."""
    for name, precision, latent in binary_parametrizations(model):
        if isinstance(precision, BayesianBinary):
            precision.draw(latent, generator(*keys, name, device=latent.device))


def use_map(model: nn.Module, on: bool) -> None:
    """Use the most probable weights sign(w_r) (on) or draws (off), also for statistics kept per mode."""
    for module in model.modules():
        if hasattr(module, "map") and isinstance(module.map, bool):
            module.map = on


def probability_histogram(latent: Tensor, bins: int = 40) -> Tensor:
    """Counts (bins,) of p(w = +1) = sigmoid(2 w_r) over equal bins of [0, 1]."""
    p = torch.sigmoid(2 * latent.detach().double())
    return torch.histc(p.cpu(), bins=bins, min=0, max=1).to(torch.int64)
