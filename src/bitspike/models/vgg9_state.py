"""VGG9's state under the names that FedSNN's code gives it, and back.

    convI.weight, fc1.weight, fc2.weight
    bnttI.t.weight, bntt_fc.t.weight, and .running_mean, .running_var, .num_batches_tracked     one norm for each step t

Here a norm holds all its steps at once. The counters of batches, which nothing reads while the momentum is fixed, are
not kept: they are written as 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from bitspike.errors import refuse
from bitspike.layers import BNTT

KEPT = ("weight", "running_mean", "running_var")
COUNTER = "num_batches_tracked"


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Weight layers and norms by their published names."""
    parts = dict(model.named_children())
    numbers = {"conv": 0, "dense": 0}
    for name, part in parts.items():
        kind = name.rstrip("0123456789")
        if kind in numbers:
            numbers[kind] += 1
            norm = parts.get(f"norm_{name}")
            if not isinstance(norm, BNTT):
                refuse("published state", f"{type(norm).__name__} behind {name}", "a network with norm = 'bntt'")
            yield f"{'conv' if kind == 'conv' else 'fc'}{numbers[kind]}", cast(nn.Module, part.layer)
            yield f"bntt{numbers[kind] if kind == 'conv' else '_fc'}", norm
        elif name == "readout":
            yield f"fc{numbers['dense'] + 1}", cast(nn.Module, part.layer)


def published_state(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the state of a model of kind "vgg9" with BNTT, by the published names."""
    found: dict[str, Tensor] = {}
    for name, part in _layers(model):
        if not isinstance(part, BNTT):
            found[f"{name}.weight"] = cast(Tensor, part.weight).detach().clone()
            continue
        for step in range(part.steps):
            for kept in KEPT:
                found[f"{name}.{step}.{kept}"] = getattr(part, kept)[step].detach().clone()
            found[f"{name}.{step}.{COUNTER}"] = torch.tensor(0)
    return found


@torch.no_grad()
def load_published_state(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Take over a state in the form of `published_state`; another name, shape or number of steps is refused first."""
    places: dict[str, list[Tensor]] = {}
    for name, part in _layers(model):
        if not isinstance(part, BNTT):
            places[f"{name}.weight"] = [cast(Tensor, part.weight)]
            continue
        for step in range(part.steps):
            for kept in KEPT:
                # Nothing was ever normalised by most probable weights: they have the same statistics.
                both = (kept, kept.replace("running", "map")) if kept != "weight" else (kept,)
                places[f"{name}.{step}.{kept}"] = [getattr(part, each)[step] for each in both]
    given = {name: tensor for name, tensor in state.items() if not name.endswith(COUNTER)}
    for name in (*places, *given):
        if name not in places or name not in given:
            wanted = "a name of this network's" if name not in places else "all names of this network's"
            refuse("published state", f"{'no ' * (name in places)}'{name}'", wanted)
        came, shape = given[name], tuple(places[name][0].shape)
        if not isinstance(came, Tensor) or tuple(came.shape) != shape or not bool(torch.isfinite(came).all()):
            said = tuple(came.shape) if isinstance(came, Tensor) else type(came).__name__
            refuse(f"published state '{name}'", said, f"finite numbers {shape}")
    for name, some in places.items():
        for place in some:
            place.copy_(given[name])
