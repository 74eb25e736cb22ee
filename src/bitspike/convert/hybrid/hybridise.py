"""From an ordinary network to one that computes with few-bit spikes, and back.

    f(x)  becomes  n / dt,  n = floor(v + dt f(x)),  v carried from step to step        (`neurons.quantiser`)

in every layer, and dt = counts / scale: `counts` is n at the layer's (or channel's) typical |f(x)|, a percentile over
data, so that one number means the same everywhere. An input is presented T times and the read-out averaged; as the
carry begins uniform on [0, 1), the first quantised layer is right on average at once and to 1 / (T dt) after T steps.
Conversion of trained networks by replacing units: Cao, Chen & Khosla 2015 (rates), Rueckauer et al. 2017 (percentile
scales); the quantiser: Voelker, Rasmussen & Eliasmith 2020.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.checks import check_finite, check_share
from bitspike.convert.entrance import ordinary, plain_words, without_listings
from bitspike.convert.hybrid.alike import check_alike, check_presentations
from bitspike.convert.hybrid.build import Builder
from bitspike.convert.hybrid.hybrid import Hybrid, checked_steps
from bitspike.convert.hybrid.units import Presented, Probe, Stepped, over_time
from bitspike.draws import Key
from bitspike.errors import BitspikeError, check_name, refuse
from bitspike.layers.modes import evaluating
from bitspike.neurons import TemporalQuantiser

Counts = float | Tensor
SCALES = ("layer", "channel")


def hybridise(
    model: nn.Module,
    counts: Counts | Mapping[str, Counts] = 8.0,
    *,
    steps: int | None = 4,
    layers: str | Sequence[str] | None = None,
    data: Iterable[Any] | Tensor | None = None,
    scale: str = "layer",
    percentile: float = 0.999,
    mode: str = "carry",
    limit: int | None = None,
    keys: tuple[Key, ...] = (0, "carry"),
) -> Hybrid:
    """A network with the layers of `model` and quantisers in the place of its nonlinearities; `model` stays as it is.

    counts: n at the typical |f(x)|, one value or one per layer by name or pattern ("features.*"); a name goes before
    patterns, these in their order, and "*" comes last. steps: T, how often
    an input (B, ...) is presented; none for a model that steps through a sequence itself, in which each call of a
    nonlinearity is one step. layers: names or patterns of what to swap; all if left out. data: batches (or pairs with
    targets) on which typical values are measured, per "layer" or "channel"; without, they are 1 and counts is dt; a
    layer that never answers on them is named in `silent` of what is returned, and on the first of them the network
    is compared with the model before anything is quantised, and presentations with one another: where an input's rows
    (B, ...) mix, as in a sequence (L, B, ...), they would mix too, which is refused. Without data nothing is compared.
    mode, limit: as in `TemporalQuantiser`.
    keys: name the draws of the carry. A model of half precision is computed in float32.

    Nonlinearities are modules (nn.ReLU, ...) and calls of functions (F.relu, torch.tanh, x.sigmoid()), these where
    torch.fx can trace the code they are in; nn.RNN, nn.GRU, nn.LSTM and their cells are opened. What cannot be swapped
    is refused by name; clamps and arithmetic stay what they are. A max pool should come before its nonlinearity (the
    same where f is monotone): the largest of several spike trains is more than the largest value on average.
    """
    if steps is not None:
        steps = checked_steps(steps)
    check_name("hybridise scale", scale, SCALES, " or ".join(map(repr, SCALES)))
    check_share("hybridise percentile", percentile, "a share of the values, such as 0.999")
    if isinstance(model, Hybrid):
        refuse("hybridise model", "a hybrid", "the network it was made of: dehybridise(model)")
    model = ordinary("hybridise model", model)
    if not isinstance(model, nn.Module):
        refuse("hybridise model", type(model).__name__, "a module")
    for name, value in model.state_dict().items():
        if isinstance(value, Tensor):
            check_finite(f"hybridise model {name}", value)
    patterns = _in_order(counts)
    if layers is not None and not (isinstance(layers, str) or _all_of(layers, str)):
        refuse("hybridise layers", repr(layers), "a name or pattern, or several")
    builder = Builder(model, steps, layers)
    scales: dict[str, Tensor] = {}
    silent: list[str] = []
    first: Any = None
    if data is not None:
        lead = 2 if builder.time_first else 1
        probes: dict[str, Probe] = {}

        def probe(name: str, nonlinearity: nn.Module) -> nn.Module:
            return probes.setdefault(name, Probe(nonlinearity, lead, percentile, scale))

        first = _measure(builder.build(probe), model, data)
        scales = {name: made.scale(name) for name, made in probes.items()}
        most = max((float(found.max()) for found in scales.values()), default=0.0)
        silent = [name for name, found in scales.items() if not float(found.max()) > 0]
        if silent and not most > 0:
            refuse(f"hybridise layer {silent[0]!r}", "values that are all 0", "data on which it answers")
        # A layer that never answered counts in units of the layer that answers most.
        scales |= {name: torch.full_like(scales[name], most) for name in silent}
    made: dict[str, nn.Module] = {}
    used: set[str] = set()

    def unit(name: str, nonlinearity: nn.Module) -> nn.Module:
        if name not in made:
            fitting = [pattern for pattern in patterns if fnmatchcase(name, pattern)]
            if not fitting:
                refuse("hybridise counts", f"nothing for layer {name!r}", "a number for each, or a pattern '*'")
            used.add(fitting[0])
            dt = patterns[fitting[0]] / scales.get(name, torch.ones(()))
            f = over_time(nonlinearity) if builder.clock is not None else nonlinearity
            quantiser = TemporalQuantiser(dt, f, (*keys, name), mode=mode, limit=limit)
            placed: nn.Module = quantiser
            if not builder.time_first:
                placed = Stepped(quantiser) if builder.clock is None else Presented(quantiser, builder.clock)
            placed.training = quantiser.training = model.training
            made[name] = placed
        return made[name]

    hybrid = builder.build(unit)
    if unused := [pattern for pattern in patterns if pattern not in used and pattern != "*"]:
        came = f"{', '.join(map(repr, unused))}, by which no layer goes"
        refuse("hybridise counts", came, f"names or patterns among {', '.join(made)}, of which each is used")
    hybrid.silent = tuple(silent)
    if isinstance(first, Tensor) and hybrid.clock is not None and not hybrid.time_first:
        check_presentations(hybrid, first)
    return hybrid


def _in_order(counts: Any) -> dict[str, Counts]:
    """Counts by pattern, in the order in which these are looked through: names, patterns, and "*"."""
    given = dict(counts) if isinstance(counts, Mapping) else {"*": counts}
    for pattern, value in given.items():
        if not isinstance(pattern, str) or isinstance(value, bool) or not isinstance(value, int | float | Tensor):
            refuse("hybridise counts", repr(counts), "a number or tensor, or some by name or pattern")
    return dict(sorted(given.items(), key=lambda item: (item[0] == "*", not set("*?[").isdisjoint(item[0]))))


def _all_of(values: Any, kind: type) -> bool:
    return isinstance(values, Sequence) and all(isinstance(value, kind) for value in values)


def dehybridise(model: nn.Module) -> nn.Module:
    """The network that a hybrid was made of, with the same layers and tensors."""
    if not isinstance(model, Hybrid):
        refuse("dehybridise", type(model).__name__, "what hybridise gave")
    original: nn.Module = model.__dict__["original"]
    return original


@torch.no_grad()
def _measure(hybrid: Hybrid, model: nn.Module, data: Iterable[Any] | Tensor) -> Any:
    """Show the data to a network of probes, in evaluation; on the first batch, which is returned, it has to answer as
    the model does."""
    first, batches, asked = None, 0, hybrid.steps
    with evaluating(hybrid):
        if asked is not None:
            hybrid.steps = 1
        for batch in [data] if isinstance(data, Tensor) else data:
            x = batch[0] if isinstance(batch, tuple | list) and batch else batch
            if isinstance(x, Tensor):
                check_finite("hybridise data", x)
                if x.ndim and not len(x):
                    continue
            try:
                with without_listings():
                    answer = hybrid(x) if hybrid.clock is None else hybrid.readouts(x)
            except (RuntimeError, ValueError, IndexError, TypeError, AttributeError) as error:
                came = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
                refuse("hybridise data", f"{came} that the model does not take ({plain_words(error)})", "its own input")
            if not batches:
                first = x
                check_alike(hybrid, model, x, answer)
            batches += 1
    if asked is not None:
        # Both networks share their clock.
        hybrid.steps = asked
    if not batches:
        raise BitspikeError("hybridise data: got no batch, wanted at least one")
    return first
