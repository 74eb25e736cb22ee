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

from bitspike.checks import check_finite, check_share
from bitspike.convert.entrance import computing_dtype, is_half, ordinary, plain_words, taken, without_listings
from bitspike.convert.fold import fold
from bitspike.convert.relu.graph import relu_graph
from bitspike.convert.relu.rate_network import RateNetwork
from bitspike.convert.relu.rate_units import Setting
from bitspike.convert.relu.rules import FIELD, spiking_nodes, units_of
from bitspike.convert.relu.weights_file import State, load_weights
from bitspike.convert.soft.plain import plain
from bitspike.errors import check_name, refuse

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

    What clips (ReLU6, hardtanh, clamp, maximum) fires at most as often as its clip allows; a ReLU that never answers on
    the data gives silent neurons (`silent` of what is returned names it). A network of half precision is computed in
    float32. What cannot be a rate (other nonlinearities, recurrent layers, attention, products of activations) is
    refused with its path. The folded network is compared with the model on the first batch.
    """
    check_name(f"{FIELD} scale", scale, SCALES, " or ".join(map(repr, SCALES)))
    check_name(f"{FIELD} pools", pools, POOLS, " or ".join(map(repr, POOLS)))
    check_share(f"{FIELD} percentile", percentile, "a share of the activations, such as 0.999, or 1")
    check_share(f"{FIELD} start", start, "a share of the threshold, 0 to 1", least=True)
    made = _made(model)
    if state is not None:
        load_weights(made, state)
    for name, value in made.state_dict().items():
        check_finite(f"{FIELD} model {name}", value)
    if any(is_half(value) for value in (*made.parameters(), *made.buffers())):
        made = made.float()
    made = plain(made).eval().requires_grad_(False)
    setting = Setting()
    net, end, swapped = relu_graph(made, setting, pools)
    batches = _batches(data, computing_dtype(made))
    first = next(batches, None)
    if first is None:
        refuse(f"{FIELD} data", "no batch", "images that set the thresholds")
    largest, unfolded = _fold(net, made, first, end)
    _measure(net, setting, first, batches, scale, percentile)
    units = units_of(net)
    highest = {name: unit.highest() for name, unit in units.items()}
    silent = [name for name, most in highest.items() if not most > 0]
    if len(silent) == len(units):
        refuse(f"{FIELD} {silent[0]}", "activations that are all 0 on the data given", "data it answers to")
    for unit in units.values():
        unit.settle(start, max(highest.values()))
    if swapped:
        warnings.warn(
            f"means stand for the max pools {', '.join(swapped)}: another network, whose accuracy is lower",
            stacklevel=2,
        )
    notes = {"average_pools": swapped, "unfolded": unfolded, "silent": silent, "end": end}
    network = RateNetwork(net, setting, largest, dtype=computing_dtype(made), **notes)
    _try(network, first)
    return network


def _made(model: Any) -> nn.Module:
    """A copy of a module, or what a function makes."""
    model = ordinary(f"{FIELD} model", model)
    if isinstance(model, nn.Module):
        try:
            return copy.deepcopy(model)
        except (RuntimeError, TypeError, ValueError) as error:
            came = f"{type(model).__name__}, which cannot be copied ({plain_words(error)})"
            refuse(f"{FIELD} model", came, "a module whose weights are its own, or a function that makes it")
    made = ordinary(f"{FIELD} model", model()) if callable(model) else model
    if not isinstance(made, nn.Module):
        refuse(f"{FIELD} model", type(made).__name__, "a module, or a function that makes one")
    return made


def _batches(data: Iterable[Any] | Tensor, dtype: torch.dtype | None) -> Any:
    if not isinstance(data, Iterable):
        refuse(f"{FIELD} data", type(data).__name__, "images (B, *shape), or batches of them")
    for batch in data.split(ROWS) if isinstance(data, Tensor) and data.ndim else data:
        x = batch[0] if isinstance(batch, tuple | list) and batch else batch
        if not isinstance(x, Tensor) or x.ndim < 2:
            came = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            refuse(f"{FIELD} data", came, "images (B, *shape), or batches of them")
        check_finite(f"{FIELD} data", x)
        if len(x):
            yield taken(f"{FIELD} data", x, dtype)


@torch.no_grad()
def _try(network: RateNetwork, x: Tensor) -> None:
    """Two steps of some images: whatever cannot run row by row is refused before anybody waits for it."""
    try:
        with without_listings():
            network(x[:2], 2)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        came = f"code that does not run step by step ({plain_words(error)})"
        refuse(f"{FIELD} model", came, "the batch as the first dimension throughout")
    network.forget_counts()


@torch.no_grad()
def _fold(net: fx.GraphModule, model: nn.Module, x: Tensor, end: nn.Module | None) -> tuple[int, list[str]]:
    """Fold the batch norms; returns the size of one example's largest activation and the paths of those that stay."""
    try:
        with without_listings():
            want = model(x)
            ShapeProp(net).propagate(x)
    except (RuntimeError, ValueError, IndexError) as error:
        came = f"images {tuple(x.shape)} that the model does not take ({plain_words(error)})"
        refuse(f"{FIELD} data", came, "its own input")
    if not isinstance(want, Tensor):
        refuse(f"{FIELD} model", f"an output of type {type(want).__name__}", "one tensor of scores (B, classes)")
    shapes = [n.meta["tensor_meta"].shape for n in spiking_nodes(net) if hasattr(n.meta.get("tensor_meta"), "shape")]
    largest = max(shape.numel() // len(x) for shape in shapes)
    kept = fold(net)
    got = net(x)
    got = got if end is None else end(got)
    far = _far(got, want)
    if not far < 1e-3:
        came = f"read-outs {far:.1g} of the largest away from the model's"
        refuse(f"{FIELD} model", came, "code that computes the same in every call in evaluation")
    _check_rows(net, x)
    return largest, kept


def _far(got: Tensor, want: Tensor) -> float:
    return float((got - want).abs().max() / want.abs().max().clamp_min(1e-12)) if want.numel() else 0.0


def _check_rows(net: fx.GraphModule, x: Tensor) -> None:
    """An image's answer may not depend on the others of its batch, whose place steps will take."""
    if len(x) == 1:
        return
    want = net(x)
    some = range(len(x) - 1, -1, -2) if len(x) > 3 else range(len(x) - 1, -1, -1)
    rows = torch.tensor(list(some), device=x.device)
    try:
        with without_listings():
            got = net(x[rows])
        far = _far(got, want[rows]) if got.ndim == want.ndim and len(got) == len(rows) else float("inf")
    except (RuntimeError, ValueError, IndexError) as error:
        refuse(f"{FIELD} model", f"code for batches of one size ({plain_words(error)})", "code for batches of any size")
    if not far < 1e-3:
        came = "an answer that depends on the other images of its batch"
        refuse(f"{FIELD} model", came, "the batch as the first dimension throughout")


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
