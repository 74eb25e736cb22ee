"""A chain of layers that fuses a scale, its neurons and the max-pooling behind them: one pass over memory.

    g x + b  ->  neurons  ->  2x2 max-pooling       three modules, one kernel: the spikes and the parameters' names of
                                                     the three, without the arrays between them

Modules are joined anew at every call, by what they are then: whoever hangs a hook on one of them, replaces it or gives
it a `forward` of its own gets it run by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from bitspike.layers.scale import ChannelScale
from bitspike.layers.stepwise import Stepwise, stepwise
from bitspike.neurons.base import Neuron

LARGEST_POOL = 4  # windows are written out in the kernels' source
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
EVERYWHERE = (
    "_global_forward_hooks", "_global_forward_pre_hooks", "_global_backward_hooks", "_global_backward_pre_hooks",
)  # fmt: skip


class Group(NamedTuple):
    """Modules that run as one; `names` are those of all its modules. A group of one module has nothing else."""

    names: tuple[str, ...]
    module: nn.Module
    scale: ChannelScale | None = None
    pool: int = 1


class Fused(nn.Sequential):
    """`nn.Sequential` with fewer passes over memory; see the module. Inputs (T, B, *features)."""

    def forward(self, x: Tensor) -> Tensor:
        """What `nn.Sequential` gives."""
        for part in groups(self, hooked_anywhere()):
            x = run_group(part, x)
        return x


def run_group(part: Group, x: Tensor) -> Tensor:
    """The output of one group for input x."""
    neuron = part.module
    if len(part.names) == 1 or not isinstance(neuron, Neuron):
        y: Tensor = neuron(x)
        return y
    scale: Any = part.scale
    # A scale of what does not change over time is computed once; its result stays a view. One in half precision rounds
    # between the modules, as it does where they run apart.
    still = x.ndim >= 3 and x.shape[0] > 1 and x.stride(0) == 0
    if scale is not None and (still or x.dtype.itemsize < 4 or x.ndim < 3 or x.shape[2] != len(scale.weight)):
        x, scale = scale(x), None
    pool = part.pool
    # Elsewhere torch pools faster than the reference loop would let it.
    here = x.device.type == "cpu" and neuron.back_end != "cuda"
    inside = pool == 1 or (here and x.ndim == 5 and min(x.shape[-2:]) >= pool)
    y, _ = neuron.run_between(x, None, None if scale is None else scale.gains(x.ndim), pool if inside else 1)
    return y if inside else stepwise(lambda rows: F.max_pool2d(rows, pool), y)


def called(chain: nn.Sequential) -> list[tuple[str, nn.Module]]:
    """Its modules by name, in the order of calls: one that stands at two places is there twice (of children, once)."""
    return [(name, module) for name, module in chain._modules.items() if module is not None]


def groups(chain: nn.Sequential, apart: bool = False) -> Iterator[Group]:
    """What runs as one, in a chain's order; apart: each module by itself."""
    modules = called(chain)
    place = 0
    while place < len(modules):
        name, module = modules[place]
        group = Group((name,), module) if apart else _joined(modules[place : place + 3])
        place += len(group.names)
        yield group


def _joined(modules: list[tuple[str, Any]]) -> Group:
    """The pass that begins with the first of these modules."""
    name, first = modules[0]
    scale = first if type(first).forward is ChannelScale.forward and plain(first) else None
    rest = modules[1:] if scale is not None else modules
    if not rest or not _fusable(rest[0][1]):
        return Group((name,), first)
    neuron = rest[0][1]
    size = _pool_size(rest[1][1]) if len(rest) > 1 and neuron.emits == "spikes" else 1
    taken = modules[: len(modules) - len(rest) + (2 if size > 1 else 1)]
    return Group(tuple(n for n, _ in taken), neuron, scale, size)


def _fusable(module: Any) -> bool:
    kind = type(module)
    own = isinstance(module, Neuron) and kind.forward is Neuron.forward and kind.run is Neuron.run
    # The plain loop gains nothing: it would scale in every step.
    return own and module.back_end != "reference" and "run" not in module.__dict__ and plain(module)


def _pool_size(module: Any) -> int:
    """k where the module is a plain k x k max-pooling at every step, else 1."""
    if type(module) is not Stepwise or type(module.layer) is not nn.MaxPool2d:
        return 1
    pool, k = module.layer, module.layer.kernel_size
    usual = (pool.stride, pool.padding, pool.dilation) == (k, 0, 1) and not pool.ceil_mode and not pool.return_indices
    return k if isinstance(k, int) and 1 < k <= LARGEST_POOL and usual and plain(module) and plain(pool) else 1


def plain(module: nn.Module) -> bool:
    """Whether nothing but its class says what calling this module does."""
    return "forward" not in module.__dict__ and not any(getattr(module, name) for name in HOOKS)


def hooked_anywhere() -> bool:
    """Whether someone watches every module there is."""
    return any(getattr(torch_module, name) for name in EVERYWHERE)
