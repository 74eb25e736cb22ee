"""Give the weights of a model a precision, draw them, and find their latents."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from bitspike.draws import Key, generator
from bitspike.errors import refuse
from bitspike.weights.precision import Precision, binary_sign

WEIGHTED = (
    nn.Linear, nn.Bilinear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
CELLS = (nn.RNNCell, nn.LSTMCell, nn.GRUCell)
NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.PReLU)
TAKEN = "Linear, Bilinear, convolutions, transposed or local ones, and recurrent cells"


def quantise(
    model: nn.Module,
    make: Callable[[], Precision],
    *keys: Key,
    biases: bool = False,
    start: Literal["signs", "draw"] = "signs",
    leave: Collection[str] = (),
) -> nn.Module:
    """Give every weight (and bias, if `biases`) of `model`'s layers a precision of its own. Returns `model`.

    make: returns a new parametrization; keys: name of the draw of the initial latents.
    start: "signs" keeps the sign of every weight, 0 as +1: what a network has learned goes on from there, though the
    sizes of its weights are lost (+-1 has none), so that it is to be trained further; latents have the sizes drawn.
    "draw" draws the signs too, for weights that have learned nothing.
    leave: layers that keep their weights, by name, with all in them.
    Refused by name, before anything is changed: a layer with weights that cannot be made binary (nn.LSTM, nn.GRU,
    attention, embeddings, an LMU, parameters of a module of one's own) and is not left; a model in which nothing is.
    """
    if start not in ("signs", "draw"):
        refuse("quantise start", repr(start), "'signs' or 'draw'")
    found = _quantised(model, biases, leave)
    for layer, tensor, name in found:
        precision = make()
        weight = getattr(layer, tensor).data
        signs = binary_sign(weight) if start == "signs" else None
        precision.initialise(weight, generator(*keys, name))
        if signs is not None:
            # A latent of 0 would count as +1.
            weight.abs_().clamp_min_(torch.finfo(weight.dtype).tiny).mul_(signs)
        # unsafe: no trial call, which would need a draw before training.
        parametrize.register_parametrization(layer, tensor, precision, unsafe=True)
    return model


def _quantised(model: nn.Module, biases: bool, leave: Collection[str]) -> list[tuple[nn.Module, str, str]]:
    """(layer, name of its tensor, full name) of all that becomes binary; refuses what cannot."""
    names = {name for name, _ in model.named_modules()}
    if unknown := set(leave) - names:
        refuse("quantise leave", sorted(unknown), "names of modules of the model")
    found = []
    for name, layer in model.named_modules():
        if any(name == left or name.startswith(f"{left}.") for left in leave):
            continue
        tensors = _tensors(layer, biases)
        for tensor in tensors:
            full = f"{name}.{tensor}"
            if parametrize.is_parametrized(layer, tensor):
                refuse(full, "a tensor that already has a precision", "a plain parameter")
            value = getattr(layer, tensor)
            if value is None:
                continue
            if tensor not in layer._parameters or isinstance(value, UninitializedParameter):
                refuse(full, "a tensor made of others, or not made yet", "a plain parameter")
            if not bool(value.isfinite().all()):
                refuse(full, "values that are not finite", "numbers, which have a sign")
            found.append((layer, tensor, full))
        # Norms, scales and neurons have parameters that are no weights, and say so.
        if not tensors and not isinstance(layer, NORMS) and getattr(layer, "weighted", True):
            # Of one dimension: gains and offsets, which meet no product of their own.
            wide = [own for own, p in layer.named_parameters(recurse=False) if p.ndim > 1]
            if wide and not parametrize.is_parametrized(layer):
                came = f"{type(layer).__name__} with {', '.join(wide[:3])}"
                refuse(f"quantise {name or 'model'}", came, f"{TAKEN}; or its name in leave=")
    if not found:
        refuse("quantise model", f"{type(model).__name__} without a layer to make binary", TAKEN)
    return found


def _tensors(layer: nn.Module, biases: bool) -> tuple[str, ...]:
    """The tensors of a layer that become binary."""
    if isinstance(layer, CELLS):
        return ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if biases else ("weight_ih", "weight_hh")
    if isinstance(layer, WEIGHTED) or getattr(layer, "weighted", False):
        return ("weight", "bias") if biases else ("weight",)
    return ()


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
    """Draw every weight that is drawn anew; the draw is named by `keys` and the weight's name.

    Of weights that are drawn at each step it is the draw of the first one.
    """
    for name, precision, latent in binary_parametrizations(model):
        if precision.is_drawn:
            precision.keys = (*keys, name)
            precision.draw(latent, generator(*precision.keys, device=latent.device))


def stored_dtype(layer: nn.Module) -> torch.dtype:
    """The dtype of a layer's weight; to ask the weight itself would make it of its latent once more."""
    if parametrize.is_parametrized(layer, "weight"):
        chains: Any = layer.parametrizations
        latent: Tensor = chains.weight.original
        return latent.dtype
    weight: Any = layer.weight
    found: torch.dtype = weight.dtype
    return found


def drawn_each_step(model: nn.Module) -> bool:
    """Whether a weight of this model or layer is to be drawn anew at each step of the next pass."""
    precisions = (module for module in model.modules() if isinstance(module, Precision))
    return any(precision.each_step and precision.is_drawn and not precision.map for precision in precisions)


def at_step(model: nn.Module, step: int) -> None:
    """Draw what is drawn at each step for step `step` of the pass that `redraw` named."""
    for _, precision, latent in binary_parametrizations(model):
        if precision.each_step and precision.is_drawn and not precision.map and precision.keys:
            # The first draw is that of a whole pass.
            more = ("step", step) if step else ()
            precision.draw(latent, generator(*precision.keys, *more, device=latent.device))


def use_map(model: nn.Module, on: bool) -> None:
    """Use the most probable weights sign(w_r) (on) or draws (off), also for statistics kept per mode."""
    for module in model.modules():
        if hasattr(module, "map") and isinstance(module.map, bool):
            module.map = on


def histograms(model: nn.Module, bins: int) -> dict[str, Tensor]:
    """Counts (bins,) of each weight's probability of +1, by name, for the weights that have one."""
    found = {name: precision.histogram(latent, bins) for name, precision, latent in binary_parametrizations(model)}
    return {name: counts for name, counts in found.items() if counts is not None}
