"""The CPU back end: a step and its adjoint compiled by Numba, run over time on blocks of neurons.

Threads follow torch.get_num_threads(); a block of neurons is small enough for its state to stay in cache.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from bitspike.kernels import threads
from bitspike.kernels.adjoint import Adjoint
from bitspike.kernels.cache import module
from bitspike.kernels.cpu_source import (
    backward_arguments,
    backward_source,
    forward_arguments,
    forward_source,
    stored,
)
from bitspike.kernels.trace import Node, Trace

BLOCK = 4096
DTYPES = {torch.float32: "float32", torch.float64: "float64"}


def unavailable() -> str | None:
    """Why this back end cannot run here; None if it can."""
    try:
        import numba  # noqa: F401
    except ImportError:
        return "numba is not installed (pip install numba)"
    return None


def forward(
    trace: Trace, kept: tuple[Node, ...], x: Tensor, state: list[Tensor], constants: list[Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Output (T, ...), state after the last step, and the values kept (T, ...) that are neither input nor output."""
    shape = x.shape
    rows, moving = _rows(x)
    values, per_neuron = _constants(trace, constants, x)
    kernel = _compiled_forward(trace, kept, per_neuron, DTYPES[x.dtype])
    # Not empty_like: an input expanded over time would give outputs that share their memory.
    y = torch.empty(shape, dtype=x.dtype)
    keep = [torch.empty(shape, dtype=x.dtype) for _ in stored(trace, kept)]
    last = [s.clone(memory_format=torch.contiguous_format) for s in state]
    arrays = [rows, moving, *(_flat(a, shape[0]) for a in (y, *keep)), *(s.view(-1).numpy() for s in last), *values]
    threads.run(lambda lo, hi: kernel(lo, hi, shape[0], *arrays), rows.shape[1], x.numel(), BLOCK)
    return y, last, keep


def backward(
    found: Adjoint, gy: Tensor, carries: list[Tensor | None], x: Tensor, y: Tensor, keep: list[Tensor],
    state: list[Tensor], constants: list[Tensor],
) -> tuple[Tensor | None, dict[str, Tensor], dict[str, Tensor]]:  # fmt: skip
    """Gradients of the input, of the initial state and of the constants (one value per neuron, not yet summed).

    carries: gradient of each final state, or None; state: the initial one.
    """
    trace, shape = found.trace, gy.shape
    values, per_neuron = _constants(trace, constants, gy)
    kernel = _compiled_backward(found, per_neuron, DTYPES[gy.dtype])
    steps = shape[0]
    one_step = shape[1:]
    gx = torch.empty(shape, dtype=gy.dtype) if found.input is not None else None
    names = list(trace.state)
    running = {name: _carry(carries[names.index(name)], one_step, gy.dtype) for name in found.carries}
    shares = {name: torch.zeros(one_step, dtype=gy.dtype) for name in found.constants}
    arrays: list[Any] = [_flat(gy.contiguous(), steps)]
    arrays += _rows(x) if trace.input in found.kept else []
    arrays += [_flat(y.contiguous(), steps)] if trace.output in found.kept else []
    arrays += [_flat(k.contiguous(), steps) for k in keep]
    arrays += [state[names.index(name)].contiguous().view(-1).numpy() for name in found.previous]
    arrays += values
    arrays += [_flat(gx, steps)] if gx is not None else []
    arrays += [t.view(-1).numpy() for t in (*running.values(), *shares.values())]
    threads.run(lambda lo, hi: kernel(lo, hi, steps, *arrays), one_step.numel(), gy.numel(), BLOCK)
    return gx, running, shares


def source(found: Adjoint, dtype: str = "float32") -> str:
    """The generated source of both directions, with every constant shared by all neurons."""
    none: frozenset[str] = frozenset()
    return forward_source(found.trace, found.kept, none, dtype) + "\n\n" + backward_source(found, none, dtype)


def _carry(gradient: Tensor | None, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    if gradient is None:
        return torch.zeros(shape, dtype=dtype)
    return gradient.detach().clone(memory_format=torch.contiguous_format)


def _flat(a: Tensor, steps: int) -> Any:
    return a.detach().view(steps, -1).numpy()


def _rows(x: Tensor) -> tuple[Any, int]:
    """x as an array (T, M) and 1, or, where it does not change over time, (1, M) and 0."""
    x = x.detach()
    if x.shape[0] > 1 and x.stride(0) == 0:
        return x[:1].contiguous().view(1, -1).numpy(), 0
    return x.contiguous().view(x.shape[0], -1).numpy(), 1


def _constants(trace: Trace, constants: list[Tensor], x: Tensor) -> tuple[list[Any], frozenset[str]]:
    values: list[Any] = []
    per_neuron = set()
    for name, value in zip(trace.constants, constants, strict=True):
        value = value.detach().to(x.dtype)
        if value.numel() == 1:
            values.append(value.view(()).numpy()[()])
        else:
            values.append(value.expand(x.shape[1:]).contiguous().view(-1).numpy())
            per_neuron.add(name)
    return values, frozenset(per_neuron)


@lru_cache(maxsize=256)
def _compiled_forward(
    trace: Trace, kept: tuple[Node, ...], per_neuron: frozenset[str], dtype: str
) -> Callable[..., None]:
    made = module(forward_source(trace, kept, per_neuron, dtype), "forward")
    return _compile(made.forward, forward_arguments(trace, kept), per_neuron, dtype)


@lru_cache(maxsize=256)
def _compiled_backward(found: Adjoint, per_neuron: frozenset[str], dtype: str) -> Callable[..., None]:
    made = module(backward_source(found, per_neuron, dtype), "backward")
    return _compile(made.backward, backward_arguments(found), per_neuron, dtype)


def _compile(function: Any, arguments: list[str], per_neuron: frozenset[str], dtype: str) -> Callable[..., None]:
    import numba

    real = getattr(numba, dtype)
    kinds = [numba.intp, numba.intp, numba.intp]
    for name in arguments:
        if name == "dx":
            kinds.append(numba.intp)
        elif name in ("x", "y", "gx", "gy") or name.startswith("kept_"):
            kinds.append(numba.types.Array(real, 2, "C"))
        elif name.startswith("p_") and name[2:] not in per_neuron:
            kinds.append(real)
        else:
            kinds.append(numba.types.Array(real, 1, "C"))
    # No fast-math: the loop must round, and so spike, exactly as the reference does.
    compiler = numba.njit(numba.void(*kinds), nogil=True, cache=True, error_model="numpy", fastmath=False)
    compiled: Callable[..., None] = compiler(function)
    return compiled
