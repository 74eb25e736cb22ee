"""Batch normalisation as it is in evaluation, folded into the layer before it.

    y = g (W x + b - mean) / sqrt(var + eps) + c  =  W' x + b',   k = g / sqrt(var + eps)
    W' = k W  (per output channel),   b' = k (b - mean) + c

Computed in float64. A normalisation with no layer before it, or one whose layer has other readers, stays what it is: a
gain and an offset per channel at every step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


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
        if not isinstance(layer, LAYERS) or len(before.users) > 1 or dense:
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


@torch.no_grad()
def folded(layer: Any, norm: Any) -> nn.Module:
    """A layer that gives norm(layer(x)) in evaluation; both stay as they are."""
    weight: Tensor = layer.weight.detach()
    wide = weight.double()
    mean, var = norm.running_mean.double(), norm.running_var.double()
    k = (var + norm.eps).rsqrt()
    if norm.weight is not None:
        k = k * norm.weight.double()
    b = (0.0 if layer.bias is None else layer.bias.double()) - mean
    b = k * b + (0.0 if norm.bias is None else norm.bias.double())
    made: Any = _like(layer, weight)
    made.weight.copy_(wide * k.view(-1, *(1,) * (wide.ndim - 1)))
    made.bias.copy_(b)
    plain: nn.Module = made
    return plain


def _like(layer: Any, weight: Tensor) -> nn.Module:
    """A plain layer of the same sizes with a bias, whatever sets the weights of the one given."""
    where: dict[str, Any] = {"bias": True, "device": weight.device, "dtype": weight.dtype}
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, layer.out_features, **where)
    kind = nn.Conv1d if isinstance(layer, nn.Conv1d) else nn.Conv2d
    sizes = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return kind(*sizes, layer.groups, padding_mode=layer.padding_mode, **where)
