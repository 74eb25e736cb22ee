"""A static network of this package as plain torch modules: without time, images (B, *shape) to read-outs (B, C)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from bitspike.convert.swap import joined, swapped
from bitspike.layers import ChannelScale, Dropout, Fused, Stepwise, TemporalBatchNorm
from bitspike.layers.fused import called
from bitspike.models.feedforward import Flatten
from bitspike.neurons import Static


def plain(model: nn.Module) -> nn.Module:
    """`model` with torch's modules in the place of ours; one without ours as it is."""

    def visit(path: str, module: nn.Module) -> nn.Module | None:
        if isinstance(module, Fused):
            inside = [(name, swapped(child, visit, joined(path, name))) for name, child in called(module)]
            return nn.Sequential(OrderedDict(inside))
        if isinstance(module, Stepwise):
            return module.layer
        if isinstance(module, Static) and module.kind == "relu":
            return nn.ReLU()
        if isinstance(module, Flatten):
            return nn.Flatten(1)
        if isinstance(module, Dropout):
            return nn.Dropout(module.p)
        if isinstance(module, TemporalBatchNorm):
            mean, var = module.statistics()
            return _norm(module.weight, module.bias, mean, var, module.eps)
        if isinstance(module, ChannelScale):
            one = torch.ones_like(module.weight)
            return _norm(module.weight, module.bias, torch.zeros_like(one), one, 0.0)
        return None

    return swapped(model, visit)


class _Norm(nn.BatchNorm2d):
    """Of features or of images, whichever comes."""

    def _check_input_dim(self, input: Any) -> None:
        pass


def _norm(weight: Any, bias: Any, mean: Any, var: Any, eps: float) -> nn.Module:
    made = _Norm(len(weight), eps)
    made.weight, made.bias = nn.Parameter(weight.detach().clone()), nn.Parameter(bias.detach().clone())
    made.running_mean, made.running_var = mean.detach().clone(), var.detach().clone()
    return made
