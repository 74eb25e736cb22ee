"""From a trained ReLU network to spikes whose rates are its activations.

    W' h + b'          batch norms folded into the layers before them (`convert.fold`)
    theta              per layer or channel, a high percentile of max(W' h + b', 0) over data
    RateIF             in the place of each ReLU: spikes of height theta, 0 or theta at each step

so that nothing need be rescaled where branches meet: a ReLU behind a sum is a neuron whose current is the sum. Biases
are currents at every step, the image is a constant current. What remains after long time is that activations beyond
theta are cut off; before that, a rate is known to 1/T only.

Sources: Cao, Chen & Khosla 2015; Diehl et al. 2015 (scales from data); Rueckauer et al. 2017 (percentiles, reset by
subtraction, biases, batch norm).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from bitspike.convert.checks import check_finite
from bitspike.convert.fold import fold
from bitspike.convert.plain import plain
from bitspike.convert.rate_network import RateNetwork
from bitspike.convert.rate_units import Setting
from bitspike.convert.relu_graph import relu_graph
from bitspike.convert.relu_rules import FIELD, spiking_nodes, units_of
from bitspike.convert.weights_file import State, load_weights
from bitspike.errors import refuse

SCALES, POOLS = ("layer", "channel"), ("exact", "average")
ROWS = 250  # examples at a time where data come as one tensor


def relu_to_spiking(
    model: nn.Module | Callable[[], nn.Module],
    data: Iterable[Any] | Tensor,
    *,
    state: State | None = None,
    scale: str = "layer",
    percentile: float = 0.999,
    start: float = 0.5,
    pools: str = "exact",
) -> RateNetwork:
    """The spiking network of a ReLU network on images (B, *shape) -> (B, classes); `model` stays as it is.

    model: a module, or a function that makes one. state: a `state_dict` or its file, loaded into it (`load_weights`).
    data: images that set the thresholds, a tensor or batches (or pairs with targets); some hundreds are enough.
    scale: one threshold per "layer", or one per "channel". percentile: the share of activations below the threshold,
    the mean over batches; 1: the largest seen. start: the first membrane in thresholds; 1/2 rounds rates, 0 cuts them
    off. pools: "exact", max pools of the sums so far, or "average", means in their place, as hardware without such
    pools needs it; the accuracy then falls, and a warning names them.

    What cannot be a rate (other nonlinearities, recurrent layers, attention, products of activations) is refused with
    its path. The folded network is compared with the model on the first batch.
    """
    if scale not in SCALES:
        refuse(f"{FIELD} scale", repr(scale), " or ".join(map(repr, SCALES)))
    if pools not in POOLS:
        refuse(f"{FIELD} pools", repr(pools), " or ".join(map(repr, POOLS)))
    if not 0 < percentile <= 1:
        refuse(f"{FIELD} percentile", percentile, "a share of the activations, such as 0.999, or 1")
    if not 0 <= start <= 1:
        refuse(f"{FIELD} start", start, "a share of the threshold, 0 to 1")
    made = copy.deepcopy(model) if isinstance(model, nn.Module) else model()
    if not isinstance(made, nn.Module):
        refuse(f"{FIELD} model", type(made).__name__, "a module, or a function that makes one")
    if state is not None:
        load_weights(made, state)
    for name, value in made.state_dict().items():
        check_finite(f"{FIELD} model {name}", value)
    made = plain(made).eval().requires_grad_(False)
    setting = Setting()
    net, end, swapped = relu_graph(made, setting, pools)
    batches = _batches(data)
    first = next(batches, None)
    if first is None:
        refuse(f"{FIELD} data", "no batch", "images that set the thresholds")
    largest, unfolded = _fold(net, made, first, end)
    _measure(net, setting, first, batches, scale, percentile)
    for unit in units_of(net).values():
        unit.settle(start)
    if swapped:
        warnings.warn(
            f"means stand for the max pools {', '.join(swapped)}: another network, whose accuracy is lower",
            stacklevel=2,
        )
    return RateNetwork(net, setting, largest, average_pools=swapped, unfolded=unfolded, end=end)


def _batches(data: Iterable[Any] | Tensor) -> Any:
    for batch in data.split(ROWS) if isinstance(data, Tensor) else data:
        x = batch[0] if isinstance(batch, tuple | list) else batch
        if not isinstance(x, Tensor) or x.ndim < 2:
            refuse(f"{FIELD} data", type(x).__name__, "images (B, *shape), or batches of them")
        check_finite(f"{FIELD} data", x)
        if len(x):
            yield x


@torch.no_grad()
def _fold(net: fx.GraphModule, model: nn.Module, x: Tensor, end: nn.Module | None) -> tuple[int, list[str]]:
    """Fold the batch norms; returns the size of one example's largest activation and the paths of those that stay."""
    try:
        want = model(x)
        ShapeProp(net).propagate(x)
    except (RuntimeError, ValueError, IndexError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        refuse(f"{FIELD} data", f"images {tuple(x.shape)} that the model does not take ({line})", "its own input")
    shapes = [n.meta["tensor_meta"].shape for n in spiking_nodes(net) if hasattr(n.meta.get("tensor_meta"), "shape")]
    largest = max(shape.numel() // len(x) for shape in shapes)
    kept = fold(net)
    got = net(x)
    got = got if end is None else end(got)
    far = float((got - want).abs().max() / want.abs().max().clamp_min(1e-12))
    if not far < 1e-3:
        came = f"read-outs {far:.1g} of the largest away from the model's"
        refuse(f"{FIELD} model", came, "code that computes the same in every call in evaluation")
    return largest, kept


@torch.no_grad()
def _measure(
    net: fx.GraphModule, setting: Setting, first: Tensor, rest: Iterable[Tensor], scale: str, percentile: float
) -> None:
    for unit in units_of(net).values():
        unit.per, unit.percentile = scale, percentile
    setting.now = "measure"
    net(first)
    for x in rest:
        net(x)
    setting.now = "given"
