"""The tensors of a model by the role they have in learning, sent and received: what a federation averages.

    latent      what few-bit weights are made of
    real        the other parameters that are trained
    statistic   running statistics of normalisation, as sums (4, *shape): 1, mean, variance and mean^2

Nothing that is fixed is among them. Weighted sums over senders of all three mean something: a latent and a real
parameter are divided by the sum of the weights by whoever sums, a statistic divides itself, by its first row. Its
variance is that of all the senders' examples together: mean of the variances plus variance of the means.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bitspike.errors import check_name, refuse
from bitspike.weights import binary_parametrizations

Roles = dict[str, dict[str, Tensor]]
Given = Mapping[str, Mapping[str, Tensor]]


def _parameters(model: nn.Module) -> dict[str, dict[str, nn.Parameter]]:
    """Latent and real parameters that are trained, by name."""
    latents = {name: latent for name, _, latent in binary_parametrizations(model) if latent.requires_grad}
    known = {id(latent) for latent in latents.values()}
    trained = ((name, p) for name, p in model.named_parameters() if p.requires_grad)
    return {"latent": latents, "real": {name: p for name, p in trained if id(p) not in known}}


def _statistics(model: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """(mean, variance) of every normalisation by name; those under MAP weights only where weights are drawn."""
    drawn = any(precision.is_drawn for _, precision, _ in binary_parametrizations(model))
    found = {}
    for path, module in model.named_modules():
        buffers = dict(module.named_buffers(recurse=False))
        for mode in ("running", "map") if drawn else ("running",):
            mean, var = buffers.get(f"{mode}_mean"), buffers.get(f"{mode}_var")
            if mean is not None and var is not None:
                found[f"{path}.{mode}" if path else mode] = mean, var
    return found


def exchanged(model: nn.Module) -> Roles:
    """Copies of what is sent, by role and name."""
    sent: Roles = {role: {n: p.detach().clone() for n, p in some.items()} for role, some in _parameters(model).items()}
    sums = {name: (mean.double(), var.double()) for name, (mean, var) in _statistics(model).items()}
    stacked = {name: torch.stack([torch.ones_like(m), m, var, m.square()]) for name, (m, var) in sums.items()}
    return {**sent, "statistic": stacked}


@torch.no_grad()
def receive(model: nn.Module, sent: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Take over tensors in the form of `exchanged`; roles and names left out stay as they are.

    Another name, shape or a number that is not finite is refused before anything is changed.
    """
    places: dict[str, Mapping[str, Tensor | tuple[Tensor, Tensor]]] = {**_parameters(model)}
    places["statistic"] = _statistics(model)
    taken: list[tuple[Tensor, Tensor]] = []
    for role, some in sent.items():
        check_name("received role", role, places, ", ".join(places))
        for name, tensor in some.items():
            if (place := places[role].get(name)) is None:
                refuse(f"received {role}", repr(name), "a name that `exchanged` gives")
            shape = (4, *place[0].shape) if isinstance(place, tuple) else tuple(place.shape)
            if (came := tuple(tensor.shape)) != shape or not bool(torch.isfinite(tensor).all()):
                said = came if came != shape else "numbers that are not finite"
                refuse(f"received {role} '{name}'", said, f"finite numbers {shape}")
            if not isinstance(place, tuple):
                taken.append((place, tensor))
                continue
            count, mean, var, square = tensor.double()
            if not bool((count > 0).all()):
                refuse(f"received {role} '{name}'", "a sum of no weight", "sums over one sender or more")
            mean, between = mean / count, square / count - (mean / count).square()
            taken += [(place[0], mean), (place[1], (var / count + between).clamp_min(0))]
    for place, tensor in taken:
        place.copy_(tensor)


def kept(model: nn.Module, statistics: bool = False) -> dict[str, Tensor]:
    """What of the `state_dict` is not exchanged, by name (views): what is fixed, and calibrated once.

    statistics: True gives the running statistics alone, which clients may keep to themselves.
    """
    sent = [tensor for some in _parameters(model).values() for tensor in some.values()]
    running = {tensor.data_ptr() for pair in _statistics(model).values() for tensor in pair}
    known = {tensor.data_ptr() for tensor in sent} | running
    state = model.state_dict().items()
    return {name: tensor for name, tensor in state if tensor.data_ptr() in running or tensor.data_ptr() not in known
            if (tensor.data_ptr() in running) == statistics}  # fmt: skip
