"""Batch normalisation as it is in evaluation, folded into the layer before it.

    y = g (W x + b - mean) / sqrt(var + eps) + c  =  W' x + b',   k = g / sqrt(var + eps)
    W' = k W  (per output channel),   b' = k (b - mean) + c

Computed in float64. A normalisation with no layer before it, or one whose layer has other readers, stays what it is: a
gain and an offset per channel at every step. `fold` is for graphs of torch's modules, `fold_chains` for our networks,
where a gain and an offset per channel (`ChannelScale`) is folded too.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from bitspike.convert.swap import swapped
from bitspike.layers import ChannelScale, Fused, Local2d, Stepwise, TemporalBatchNorm
from bitspike.layers.fused import called

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LAYERS = (nn.Linear, *CONVOLUTIONS)
# Their weights have the outputs second; those of groups lie side by side, and are left alone.
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
LOCAL = (*LAYERS, Local2d)
OURS = (TemporalBatchNorm, ChannelScale)
# Modules that call their children one after the other.
CHAINS = (nn.Sequential.forward, Fused.forward)


def fold(graph: fx.GraphModule) -> list[str]:
    """Fold every normalisation that can be; returns the paths of those that stay.

    The nodes' shapes must be known (`torch.fx.passes.shape_prop`): a normalisation behind a linear layer is of its
    outputs only where these are (B, F).
    """
    kept = []
    calls: dict[str, int] = {}
    for node in graph.graph.nodes:
        if node.op == "call_module":
            calls[str(node.target)] = calls.get(str(node.target), 0) + 1
    for node in list(graph.graph.nodes):
        norm: Any = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
        if not isinstance(norm, NORMS):
            continue
        before = node.all_input_nodes[0]
        layer: Any = graph.get_submodule(str(before.target)) if before.op == "call_module" else None
        dense = isinstance(layer, nn.Linear) and len(before.meta["tensor_meta"].shape) != 2
        foldable = isinstance(layer, LAYERS) or (isinstance(layer, TRANSPOSED) and layer.groups == 1)
        if not foldable or len(before.users) > 1 or dense:
            kept.append(str(node.target))
            continue
        path = str(before.target)
        if calls[path] > 1:
            path = f"{path}_folded_{node.name}".replace(".", "_")
        graph.add_submodule(path, folded(layer, norm))
        before.target = path
        node.replace_all_uses_with(before)
        graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.graph.lint()
    graph.recompile()
    return kept


def fold_chains(model: nn.Module) -> nn.Module:
    """`model` with the norms that stand right behind weight layers in chains folded into copies of these.

    Modules without one are shared with `model`. Few-bit weights would not stay so: theirs are not folded.
    """

    def visit(_: str, module: nn.Module) -> nn.Module | None:
        if not isinstance(module, nn.Sequential) or type(module).forward not in CHAINS:
            return None
        if not any(isinstance(child, OURS) for child in module.children()):
            return None
        children: dict[str, nn.Module] = {}
        last = ""
        for name, child in called(module):
            before: Any = children.get(last)
            layer = before.layer if isinstance(before, Stepwise) else before
            foldable = isinstance(layer, LOCAL) and not parametrize.is_parametrized(layer)
            if isinstance(child, OURS) and foldable:
                plain = folded(layer, child)
                children[last] = Stepwise(plain) if isinstance(before, Stepwise) else plain
            else:
                children[name], last = swapped(child, visit), name
        twin = copy.copy(module)
        twin.__dict__["_modules"] = children
        return twin

    return swapped(model, visit)


@torch.no_grad()
def folded(layer: Any, norm: Any) -> nn.Module:
    """A layer that gives norm(layer(x)) in evaluation; both stay as they are."""
    weight: Tensor = layer.weight.detach()
    wide = weight.double()
    k, c = _affine(norm)
    # A plain layer of the same sizes with a bias, whatever sets the weights of the one given.
    kind: Any = next(kind for kind in (*LOCAL, *TRANSPOSED) if isinstance(layer, kind))
    sizes = [name for name in inspect.signature(kind).parameters if name not in ("bias", "device", "dtype")]
    made: Any = kind(**{name: getattr(layer, name) for name in sizes}).to(weight)
    outputs = 2 if isinstance(layer, Local2d) else 0
    scale = k.view(-1, *(1,) * (wide.ndim - 1 - outputs))
    made.weight.copy_(wide * (scale.transpose(0, 1) if isinstance(layer, TRANSPOSED) else scale))
    places = (-1, *(1,) * (made.bias.ndim - 1))
    k, c = k.view(places), c.view(places)
    made.bias.copy_(c if layer.bias is None else k * layer.bias.double() + c)
    plain: nn.Module = made
    return plain


def _affine(norm: Any) -> tuple[Tensor, Tensor]:
    """Gain and offset of each channel, float64."""
    if isinstance(norm, ChannelScale):
        return norm.weight.double(), norm.bias.double()
    statistics = norm.statistics() if isinstance(norm, TemporalBatchNorm) else (norm.running_mean, norm.running_var)
    mean, var = (each.double() for each in statistics)
    k = (var + norm.eps).rsqrt()
    if norm.weight is not None:
        k = k * norm.weight.double()
    return k, (0.0 if norm.bias is None else norm.bias.double()) - k * mean
