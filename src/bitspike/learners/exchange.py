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

from bitspike.checks import all_finite
from bitspike.errors import check_name, refuse
from bitspike.kernels.cpu.buffers import empty
from bitspike.weights import binary_parametrizations

Roles = dict[str, dict[str, Tensor]]
Given = Mapping[str, Mapping[str, Tensor]]


class Places:
    """Where the tensors of a model that are exchanged lie. Its modules are walked once; tensors are looked up anew."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters: list[tuple[str, str, nn.Module, str]] = []
        latents = {id(latent): name for name, _, latent in binary_parametrizations(model)}
        for full, parameter in model.named_parameters():
            path, _, own = full.rpartition(".")
            name = latents.get(id(parameter))
            self._parameters.append(
                ("real" if name is None else "latent", name or full, model.get_submodule(path), own)
            )
        drawn = any(precision.is_drawn for _, precision, _ in binary_parametrizations(model))
        modes = ("running", "map") if drawn else ("running",)
        self._norms = [
            (f"{path}.{mode}" if path else mode, module, mode)
            for path, module in model.named_modules() for mode in modes
            if f"{mode}_mean" in module._buffers and f"{mode}_var" in module._buffers
        ]  # fmt: skip
        self._given: list[tuple[str, str, Tensor, int]] = []
        self._taken: list[Tensor] = []

    def parameters(self) -> dict[str, dict[str, Tensor]]:
        """Latent and real parameters that are trained, by name."""
        found: dict[str, dict[str, Tensor]] = {"latent": {}, "real": {}}
        for role, name, module, own in self._parameters:
            parameter = module._parameters.get(own)
            if parameter is not None and parameter.requires_grad:
                found[role][name] = parameter
        return found

    def statistics(self) -> dict[str, tuple[Tensor, Tensor]]:
        """(mean, variance) of every normalisation by name; those under MAP weights only where weights are drawn."""
        found = {}
        for name, module, mode in self._norms:
            mean, var = module._buffers[f"{mode}_mean"], module._buffers[f"{mode}_var"]
            if mean is not None and var is not None:
                found[name] = mean, var
        return found

    def exchanged(self) -> Roles:
        """Copies of what is sent, by role and name."""
        sent: Roles = {role: dict(zip(some, copies(list(some.values())), strict=True))
                       for role, some in self.parameters().items()}  # fmt: skip
        sent["statistic"] = {}
        for name, (mean, var) in self.statistics().items():
            m = mean.double()
            sent["statistic"][name] = torch.stack([torch.ones_like(m), m, var.double(), m.square()])
        return sent

    @torch.no_grad()
    def receive(self, sent: Given) -> None:
        """Take over tensors in the form of `exchanged`; roles and names left out stay as they are.

        Another name, shape or a number that is not finite is refused before anything is changed. What came last time,
        and has not been written to since, is not checked again.
        """
        places: dict[str, Mapping[str, Tensor | tuple[Tensor, Tensor]]] = {**self.parameters()}
        places["statistic"] = self.statistics()
        for role in sent:
            check_name("received role", role, places, ", ".join(places))
        given = [
            (role, name, tensor, -1 if tensor.is_inference() else tensor._version)
            for role, some in sent.items() for name, tensor in some.items()
        ]  # fmt: skip
        if not self._known(given, places):
            self._given, self._taken = [], []
            self._taken = _checked(sent, places)
            self._given = given
        into: list[Tensor] = []
        for role, name, *_ in given:
            place = places[role][name]
            into += place if isinstance(place, tuple) else [place]
        if into:
            torch._foreach_copy_(into, self._taken)

    def _known(self, given: list[tuple[str, str, Tensor, int]], places: Mapping[str, Mapping[str, object]]) -> bool:
        """Whether this is what came last time."""
        return len(given) == len(self._given) and all(
            one[2] is other[2] and one[:2] == other[:2] and one[3] == other[3] >= 0 and one[1] in places[one[0]]
            for one, other in zip(given, self._given, strict=True)
        )


@torch.no_grad()
def copies(tensors: list[Tensor]) -> list[Tensor]:
    """Copies of tensors, in one piece of memory that is used again where they are of one dtype in main memory."""
    if not tensors or any(t.device.type != "cpu" or t.dtype != tensors[0].dtype for t in tensors):
        return [t.detach().clone() for t in tensors]
    sizes = [t.numel() for t in tensors]
    whole = empty((sum(sizes),), tensors[0].dtype)
    made = [part.view(t.shape) for part, t in zip(whole.split(sizes), tensors, strict=True)]
    torch._foreach_copy_(made, tensors)
    return made


def _checked(sent: Given, places: Mapping[str, Mapping[str, Tensor | tuple[Tensor, Tensor]]]) -> list[Tensor]:
    """What is written to each place: one tensor, or the mean and the variance of a statistic."""
    taken: list[Tensor] = []
    for role, some in sent.items():
        for name, tensor in some.items():
            if (place := places[role].get(name)) is None:
                refuse(f"received {role}", repr(name), "a name that `exchanged` gives")
            shape = (4, *place[0].shape) if isinstance(place, tuple) else tuple(place.shape)
            if (came := tuple(tensor.shape)) != shape or not all_finite(tensor):
                said = came if came != shape else "numbers that are not finite"
                refuse(f"received {role} '{name}'", said, f"finite numbers {shape}")
            if not isinstance(place, tuple):
                taken.append(tensor)
                continue
            count, mean, var, square = tensor.double()
            if not bool((count > 0).all()):
                refuse(f"received {role} '{name}'", "a sum of no weight", "sums over one sender or more")
            mean, between = mean / count, square / count - (mean / count).square()
            both = [mean, (var / count + between).clamp_min(0)]
            if not all(all_finite(part.to(place[0].dtype)) for part in both):
                refuse(f"received {role} '{name}'", f"numbers beyond {place[0].dtype}", f"finite numbers {shape}")
            taken += both
    return taken


def kept(model: nn.Module, statistics: bool = False) -> dict[str, Tensor]:
    """What of the `state_dict` is not exchanged, by name (views): what is fixed, and calibrated once.

    statistics: True gives the running statistics alone, which clients may keep to themselves.
    """
    places = Places(model)
    sent = [tensor for some in places.parameters().values() for tensor in some.values()]
    running = {tensor.data_ptr() for pair in places.statistics().values() for tensor in pair}
    known = {tensor.data_ptr() for tensor in sent} | running
    state = model.state_dict().items()
    return {name: tensor for name, tensor in state if tensor.data_ptr() in running or tensor.data_ptr() not in known
            if (tensor.data_ptr() in running) == statistics}  # fmt: skip
