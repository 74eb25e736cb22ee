"""Batch normalisation over time, batch and space, synchronised over processes.

    y = g (x - mean) / sqrt(var + eps) + b        per channel; mean and var over (T, B, *space)

Sampled binary weights and their MAP weights put different variances into a channel, so a network that is
tested both ways keeps two sets of running statistics; `map` chooses (see `weights.use_map`).
Source: Ioffe & Szegedy 2015; statistics over time as in tdBN (Zheng et al. 2021), without its threshold factor.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.errors import refuse
from bitspike.kernels.dtypes import computing, given_back
from bitspike.kernels.transforms import transformed
from bitspike.layers.ends import inside, lengths_for
from bitspike.layers.filled import examples_there
from bitspike.layers.stepwise import stepwise

_APART: ContextVar[bool] = ContextVar("apart", default=False)


@contextmanager
def apart() -> Iterator[None]:
    """In the block each process is alone: what it sees, the others see too."""
    token = _APART.set(True)
    try:
        yield
    finally:
        _APART.reset(token)


def several_processes() -> bool:
    """True inside a group of two or more processes."""
    return not _APART.get() and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def batch_norm(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor | None, training: bool, momentum: float,
    eps: float,
) -> Tensor:  # fmt: skip
    """`F.batch_norm` of x (B, C, *space) in its computing dtype, whatever the parameters are kept in.

    Nothing is made of no examples, and no statistics of them. Refuses to train on one value per channel.
    """
    z, there = computing(x), examples_there() if training else None
    if there is not None:
        return given_back(_of_examples(z, there.to(z.dtype), mean, var, weight, bias, momentum, eps), x.dtype)
    if z.numel() == 0 or (training and z.numel() == z.shape[1]):
        if z.numel():
            refuse("normalisation input", f"{tuple(x.shape)} in training", "two values per channel or more")
        return given_back(z * weight.sum().to(z.dtype), x.dtype)
    # A mapped statistic that is not contiguous would be updated in a copy, and stay as it was.
    if mean.dtype == z.dtype == weight.dtype and not (training and transformed()):
        y: Tensor = F.batch_norm(z, mean, var, weight, bias, training, momentum, eps)
        return given_back(y, x.dtype)
    wide_mean, wide_var = mean.to(z.dtype, copy=True), var.to(z.dtype, copy=True)
    wide_bias = None if bias is None else bias.to(z.dtype)
    y = F.batch_norm(z, wide_mean, wide_var, weight.to(z.dtype), wide_bias, training, momentum, eps)
    if training:
        with torch.no_grad():
            mean.copy_(wide_mean)
            var.copy_(wide_var)
    return given_back(y, x.dtype)


def _of_examples(
    z: Tensor, there: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor | None, momentum: float,
    eps: float,
) -> Tensor:  # fmt: skip
    """As `batch_norm` in training of the rows of z that are examples: there (B,) is 1 for these, z (n B, C, *space)."""
    steps, axes = len(z) // len(there), [d for d in range(z.ndim) if d != 1]
    counted, shape = there.repeat(steps).view(-1, *(1,) * (z.ndim - 1)), (1, -1, *(1,) * (z.ndim - 2))
    count = there.sum() * (steps * z[0, 0].numel())
    own_mean = (z * counted).sum(axes) / count
    centred = z - own_mean.view(shape)
    own_var = (centred.square() * counted).sum(axes) / count
    with torch.no_grad():
        for running, own in ((mean, own_mean), (var, own_var * (count / (count - 1)))):
            running.mul_(1 - momentum).add_(own.to(running.dtype), alpha=momentum)
    y = centred * torch.rsqrt(own_var + eps).view(shape) * weight.to(z.dtype).view(shape)
    return y if bias is None else y + bias.to(z.dtype).view(shape)


class BatchStatistics(nn.Module):
    """Gains and running statistics of one `shape`; `map` chooses those of MAP weights."""

    running_mean: Tensor
    running_var: Tensor
    map_mean: Tensor
    map_var: Tensor

    def __init__(self, *shape: int, eps: float, momentum: float) -> None:
        super().__init__()
        self.eps = eps
        self.momentum: float = momentum
        self.map = False
        self.weight = nn.Parameter(torch.ones(shape))
        for mode in ("running", "map"):
            self.register_buffer(f"{mode}_mean", torch.zeros(shape))
            self.register_buffer(f"{mode}_var", torch.ones(shape))

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Running mean and variance of the mode in use."""
        return (self.map_mean, self.map_var) if self.map else (self.running_mean, self.running_var)


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _over_processes(x: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(x)  # type: ignore[no-untyped-call]
    return total


class TemporalBatchNorm(BatchStatistics):
    """Normalise channel c of (T, B, C, *space) by its mean and variance over time, batch and space.

    An input that does not change over time (an expanded view) is one step, for the running variance's n too.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(channels, eps=eps, momentum=momentum)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x (T, B, C, *space). What lies behind a sequence's end (`layers.ends`) enters no statistics."""
        if x.ndim < 3 or x.shape[2] != len(self.weight):
            refuse("normalisation input", tuple(x.shape), f"(T, B, {len(self.weight)}, *)")
        lengths = lengths_for(x) if self.training else None
        if lengths is None:
            return stepwise(self._normalise, x)
        within = inside(lengths, len(x))
        rows = self._normalise(x[within])
        return rows.new_zeros(x.shape).index_put((within,), rows)

    def _normalise(self, x: Tensor) -> Tensor:
        mean, var = self.statistics()
        if self.training and several_processes():
            return given_back(self._synchronised(computing(x), mean, var), x.dtype)
        return batch_norm(x, mean, var, self.weight, self.bias, self.training, self.momentum, self.eps)

    def _synchronised(self, x: Tensor, running_mean: Tensor, running_var: Tensor) -> Tensor:
        axes = [d for d in range(x.ndim) if d != 1]
        shape = (1, -1, *(1,) * (x.ndim - 2))
        count = torch.tensor([x.numel() / x.shape[1]], dtype=x.dtype, device=x.device)
        dist.all_reduce(count)
        mean = _over_processes(x.sum(axes)) / count
        centred = x - mean.view(shape)
        # Two passes: the one-pass E[x^2] - mean^2 loses the digits that make ranks agree with one process.
        var = _over_processes(centred.square().sum(axes)) / count
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean), self.momentum)
            running_var.lerp_((var * count / (count - 1).clamp_min(1)).to(running_var), self.momentum)
        y: Tensor = centred * torch.rsqrt(var + self.eps).view(shape)
        return y * self.weight.view(shape) + self.bias.view(shape)
