"""The CUDA back end: a step and its adjoint as Triton kernels, one pass over time forward and one backward.

Same interface and same rounding as `cpu`: no fused multiply-add, IEEE division. With TRITON_INTERPRET=1 (set before
triton is first imported) the kernels run in Triton's interpreter, on tensors of the CPU; that is for tests.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.extras import installs
from bitspike.kernels.adjoint import Adjoint
from bitspike.kernels.cache import module
from bitspike.kernels.cpu.buffers import rows_of
from bitspike.kernels.cpu.source import stored
from bitspike.kernels.cuda.source import backward_source, forward_source
from bitspike.kernels.trace import Node, Trace

DTYPES = {torch.float32: "float32", torch.float64: "float64"}
WARPS = 4  # per program, of 32 threads
MANY = 1 << 18  # neurons that fill a GPU with one thread each


def interpreted() -> bool:
    """True if Triton's interpreter is asked for."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")


def unavailable() -> str | None:
    """Why this back end cannot run here; None if it can."""
    if importlib.util.find_spec("triton") is None:
        return f"triton is not installed ({installs('cuda')} in bitspike's folder, Linux only)"
    if interpreted():
        return None
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    if torch.version.hip is None and torch.cuda.get_device_capability() < (7, 0):
        return f"triton needs compute capability 7.0, {torch.cuda.get_device_name()} has less"
    return None


def forward(
    trace: Trace, kept: tuple[Node, ...], x: Tensor, state: list[Tensor], constants: list[Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Output (T, ...), state after the last step, and the values kept (T, ...) that are neither input nor output."""
    one_step = x.shape[1:]
    values, per_neuron = _constants(trace, constants, x)
    kernel = _forward_kernel(trace, kept, per_neuron, DTYPES[x.dtype])
    # Not empty_like: an input expanded over time would give outputs that share their memory.
    y, *keep = (_empty(x, x.shape) for _ in range(1 + len(stored(trace, kept))))
    last = [_empty(x, one_step) for _ in state]
    arrays = [*rows_of(x), y, *keep, *(s.detach().contiguous() for s in state), *last, *values]
    _launch(kernel, x, one_step.numel(), [x.shape[0], one_step.numel(), *arrays])
    return y, last, keep


def backward(
    found: Adjoint, gy: Tensor, carries: list[Tensor | None], x: Tensor, y: Tensor, keep: list[Tensor],
    state: list[Tensor], constants: list[Tensor],
) -> tuple[Tensor | None, dict[str, Tensor], dict[str, Tensor]]:  # fmt: skip
    """Gradients of the input, of the initial state and of the constants (one value per neuron, not yet summed).

    carries: gradient of each final state, or None; state: the initial one.
    """
    trace, steps, one_step = found.trace, gy.shape[0], gy.shape[1:]
    values, per_neuron = _constants(trace, constants, gy)
    given = zip(trace.state, carries, strict=True)  # in the order of `found.carries`, which is that of the states
    ends = {name: g.detach() for name, g in given if g is not None and name in found.carries}
    gx = _empty(gy, gy.shape) if found.input is not None else None
    if steps == 0:
        zeros = torch.zeros(one_step, dtype=gy.dtype, device=gy.device)
        running = {name: ends.get(name, zeros).clone() for name in found.carries}
        return gx, running, {name: zeros.clone() for name in found.constants}
    kernel = _backward_kernel(found, per_neuron, frozenset(ends), DTYPES[gy.dtype])
    running = {name: _empty(gy, one_step) for name in found.carries}
    shares = {name: _empty(gy, one_step) for name in found.constants}
    initial = dict(zip(trace.state, state, strict=True))
    arrays: list[Any] = [steps, one_step.numel(), gy.contiguous()]
    arrays += rows_of(x) if trace.input in found.kept else []
    arrays += [y.contiguous()] if trace.output in found.kept else []
    arrays += [*(k.contiguous() for k in keep), *(initial[name].contiguous() for name in found.previous), *values]
    arrays += [g.contiguous() for g in ends.values()]
    arrays += [gx] if gx is not None else []
    arrays += [*running.values(), *shares.values()]
    _launch(kernel, gy, one_step.numel(), arrays)
    return gx, running, shares


def source(found: Adjoint, dtype: str = "float32") -> str:
    """The generated source of both directions, with every constant shared by all neurons."""
    none: frozenset[str] = frozenset()
    given = frozenset(found.carries)
    return forward_source(found.trace, found.kept, none, dtype) + "\n\n" + backward_source(found, none, given, dtype)


def _empty(like: Tensor, shape: torch.Size) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device)


def _constants(trace: Trace, constants: list[Tensor], x: Tensor) -> tuple[list[Tensor], frozenset[str]]:
    values: list[Tensor] = []
    per_neuron = set()
    for name, value in zip(trace.constants, constants, strict=True):
        value = value.detach()
        if value.numel() != 1:
            values.append(value.to(x.dtype).expand(x.shape[1:]).contiguous())
            per_neuron.add(name)
        elif value.device == x.device:
            values.append(value.to(x.dtype))
        else:
            # Written by the device: a copy from the host would wait for all work under way.
            values.append(torch.full((1,), value.item(), dtype=x.dtype, device=x.device))
    return values, frozenset(per_neuron)


@lru_cache(maxsize=256)
def _forward_kernel(trace: Trace, kept: tuple[Node, ...], per_neuron: frozenset[str], dtype: str) -> Any:
    return module(forward_source(trace, kept, per_neuron, dtype), "cuda_forward").forward


@lru_cache(maxsize=256)
def _backward_kernel(found: Adjoint, per_neuron: frozenset[str], given: frozenset[str], dtype: str) -> Any:
    return module(backward_source(found, per_neuron, given, dtype), "cuda_backward").backward


def _shape(count: int, dtype: torch.dtype) -> tuple[int, int]:
    """BLOCK: one neuron per thread until that fills a GPU, then accesses of 16 bytes; STAGES: rows of time under way.

    The rows wait in shared memory: 48 KiB of it, if the kernel reads no more than 8 arrays over time.
    """
    size = dtype.itemsize
    block = 32 * WARPS * (16 // size if count >= MANY else 1)
    return block, min(8, 48 * 1024 // (8 * block * size))


def _launch(kernel: Any, like: Tensor, count: int, arguments: list[Any]) -> None:
    if count == 0:
        return
    block, stages = _shape(count, like.dtype)
    # Triton launches on the current device; the interpreter computes with NumPy, which warns of inf and nan.
    scope: Any = torch.cuda.device(like.device) if like.is_cuda else np.errstate(all="ignore")
    with scope:
        # No fused multiply-add: the loop must round, and so spike, exactly as the reference does.
        kernel[(-(-count // block),)](*arguments, BLOCK=block, STAGES=stages, num_warps=WARPS, enable_fp_fusion=False)
