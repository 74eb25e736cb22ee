"""How many weights the output of each quantiser meets before the next one: the fan-out of its units.

With every weight set to 1 and no path through another layer, the fan-out of a unit is the derivative of the sum of
all next layers' outputs with respect to the unit. Reshapes, sums and average pools are then counted as they are, a
max pool lets its winner through; padding, stride and groups are exact.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.layers.modes import evaluating
from bitspike.neurons.quantiser_control import at_step, quantisers

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d)


def fan_outs(model: nn.Module, x: Any) -> dict[str, Tensor]:
    """Fan-out (*features) of every quantiser by its path, a mean over the inputs x that `model` is called with.

    Multiplications outside of linear layers and convolutions are not seen; a quantiser that no layer reads gives 0.
    """
    outputs: dict[str, list[Tensor]] = {}
    sums: list[Tensor] = []

    def begin(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, y: Tensor) -> Tensor:
            leaf = y.detach().contiguous().requires_grad_()
            outputs.setdefault(name, []).append(leaf)
            return leaf

        return hook

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if inputs[0].requires_grad:
            ones = {name: torch.full_like(p, float(name == "weight")) for name, p in module.named_parameters()}
            # Looked up on the class: the hook must not see this call.
            kind = next(kind for kind in LAYERS if isinstance(module, kind))
            twin = kind.__new__(kind)
            twin.__dict__.update(module.__dict__, _forward_pre_hooks={}, _forward_hooks={})
            sums.append(torch.func.functional_call(twin, ones, inputs[:1]).sum())
        return (inputs[0].detach(), *inputs[1:])

    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, LAYERS):
                hooks.enter_context(module.register_forward_pre_hook(note))
        for name, quantiser in quantisers(model):
            hooks.enter_context(quantiser.register_forward_hook(begin(name)))
        with evaluating(model), torch.enable_grad(), at_step(model, None):
            model(x)
    leaves = [leaf for found in outputs.values() for leaf in found]
    grads: Any = [None] * len(leaves)
    if sums and leaves:
        grads = torch.autograd.grad(torch.stack(sums).sum(), leaves, allow_unused=True)
    of_leaf = dict(zip(map(id, leaves), grads, strict=True))
    reach = {}
    for name, found in outputs.items():
        parts = [torch.zeros_like(leaf) if (g := of_leaf[id(leaf)]) is None else g for leaf in found]
        reach[name] = torch.stack([part.flatten(0, 1).mean(0) for part in parts]).mean(0)
    return reach
