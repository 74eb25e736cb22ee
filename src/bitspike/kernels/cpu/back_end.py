"""The CPU back end: a step and its adjoint compiled by Numba, run over time on blocks of neurons.

Threads follow torch.get_num_threads(); a block of neurons is small enough for its state to stay in cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from bitspike.kernels.adjoint import Adjoint
from bitspike.kernels.cache import module
from bitspike.kernels.cpu import threads
from bitspike.kernels.cpu.buffers import copy, empty, rows_of, zeros
from bitspike.kernels.cpu.compiled import compiled
from bitspike.kernels.cpu.source import (
    Layout,
    backward_arguments,
    backward_source,
    by_reference,
    forward_arguments,
    forward_source,
    stored,
)
from bitspike.kernels.trace import Node, Trace

# Neurons per block: their state fills the second-level cache, and rows over time are read in long stretches.
BLOCK = 65536
STRETCH = 4096  # neurons: shorter stretches of a row are read at less than the memory's speed
SMALL = 200_000  # values; a tenth of a millisecond of one thread, at least
DTYPES = {torch.float32: "float32", torch.float64: "float64"}


def unavailable() -> str | None:
    """Why this back end cannot run here; None if it can."""
    try:
        import numba  # noqa: F401
    except ImportError:
        return "numba is not installed (pip install numba)"
    return None


class _OverTime:
    """A compiled kernel and its arrays: neurons, or planes of high x wide, in blocks, over steps first..last-1."""

    def __init__(self, shape: tuple[int, ...], planar: bool) -> None:
        self._plane = tuple(shape[-2:]) if planar else ()
        self._size = math.prod(self._plane)
        self._count = math.prod(shape[:-2] if planar else shape)
        self._kernel: Callable[..., None]
        self._arrays: list[Any]

    def run(self, first: int, last: int) -> None:
        """Each step exactly once, in order (backward: in reverse order)."""

        def part(lo: int, hi: int) -> None:
            self._kernel(lo, hi, first, last, *self._plane, *self._arrays)

        work = self._count * self._size * (last - first)
        size = max(self._size, 1)
        threads.run(
            part, self._count, work, max(BLOCK // size, 1), 1 if self._plane else threads.LANES, small=SMALL,
            least=STRETCH // size,
        )  # fmt: skip


class Forward(_OverTime):
    """Output y (T, ...), state after the steps run so far, and the values kept (T, ...) besides input and output.

    y: where the output is written; by default into new memory.
    """

    def __init__(
        self, trace: Trace, kept: tuple[Node, ...], x: Tensor, state: list[Tensor], constants: list[Tensor],
        y: Tensor | None = None,
    ) -> None:  # fmt: skip
        shape = x.shape
        rows, moving = _rows(x)
        values, layout = _constants(trace, constants, shape[1:], x.dtype)
        super().__init__(shape[1:], layout.planar(trace))
        self._kernel = _compiled_forward(trace, kept, layout, DTYPES[x.dtype])
        # Not empty_like: an input expanded over time would give outputs that share their memory.
        self.y = empty(trace.handed_on(shape), x.dtype) if y is None else y
        self.keep = [empty(shape, x.dtype) for _ in stored(trace, kept)]
        self.state = [copy(s) for s in state]
        over_time = (_flat(a) for a in (self.y, *self.keep))
        self._arrays = [rows, moving, *over_time, *(s.view(-1).numpy() for s in self.state), *values]


class Backward(_OverTime):
    """Gradient gx (T, ...) of the input, of the state before the steps run so far, and the constants' shares."""

    def __init__(
        self, found: Adjoint, gy: Tensor, carries: list[Tensor | None], x: Tensor, y: Tensor, keep: list[Tensor],
        state: list[Tensor], constants: list[Tensor],
    ) -> None:  # fmt: skip
        trace, dtype = found.trace, gy.dtype
        shape = run_shape(trace, gy, state)
        values, layout = _constants(trace, constants, shape[1:], dtype)
        super().__init__(shape[1:], layout.planar(trace))
        self._kernel = _compiled_backward(found, layout, DTYPES[dtype])
        self.gx = empty(shape, dtype) if found.input is not None else None
        names = list(trace.state)
        ends = {name: carries[names.index(name)] for name in found.carries}
        self.state = {name: zeros(shape[1:], dtype) if g is None else copy(g) for name, g in ends.items()}
        self.shares = {name: zeros(shape[1:], dtype) for name in found.constants}
        keeps_x, keeps_y = by_reference(trace, found.kept)
        arrays: list[Any] = [_flat(gy.contiguous())]
        arrays += _rows(x) if keeps_x else []
        arrays += [_flat(y.contiguous())] if keeps_y else []
        arrays += [_flat(k.contiguous()) for k in keep]
        arrays += [state[names.index(name)].detach().contiguous().view(-1).numpy() for name in found.previous]
        arrays += values
        arrays += [_flat(self.gx)] if self.gx is not None else []
        arrays += [t.view(-1).numpy() for t in (*self.state.values(), *self.shares.values())]
        self._arrays = arrays


def run_shape(trace: Trace, gy: Tensor, state: list[Tensor]) -> tuple[int, ...]:
    """(T, B, *features) of the run whose output's gradient is gy; a pooled one is known by its state."""
    return (gy.shape[0], *state[0].shape) if trace.pooled else tuple(gy.shape)


def forward(
    trace: Trace, kept: tuple[Node, ...], x: Tensor, state: list[Tensor], constants: list[Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Output (T, ...), state after the last step, and the values kept (T, ...) that are neither input nor output."""
    over_time = Forward(trace, kept, x, state, constants)
    over_time.run(0, x.shape[0])
    return over_time.y, over_time.state, over_time.keep


def backward(
    found: Adjoint, gy: Tensor, carries: list[Tensor | None], x: Tensor, y: Tensor, keep: list[Tensor],
    state: list[Tensor], constants: list[Tensor],
) -> tuple[Tensor | None, dict[str, Tensor], dict[str, Tensor]]:  # fmt: skip
    """Gradients of the input, of the initial state and of the constants (one value per neuron, not yet summed).

    carries: gradient of each final state, or None; state: the initial one.
    """
    over_time = Backward(found, gy, carries, x, y, keep, state, constants)
    over_time.run(0, gy.shape[0])
    return over_time.gx, over_time.state, over_time.shares


def source(found: Adjoint, dtype: str = "float32") -> str:
    """The generated source of both directions, with every constant shared by all neurons."""
    one = Layout()
    return forward_source(found.trace, found.kept, one, dtype) + "\n\n" + backward_source(found, one, dtype)


def _rows(x: Tensor) -> tuple[Any, int]:
    rows, moving = rows_of(x)
    return _flat(rows), moving


def _flat(a: Tensor) -> Any:
    # math.prod: -1 would be ambiguous for an array without elements.
    return a.detach().view(a.shape[0], math.prod(a.shape[1:])).numpy()


def _constants(
    trace: Trace, constants: list[Tensor], shape: tuple[int, ...], dtype: torch.dtype
) -> tuple[list[Any], Layout]:
    """What the kernels take for each constant, for neurons of `shape`, and which are arrays."""
    values: list[Any] = []
    per_neuron, per_plane = set(), set()
    for name, value in zip(trace.constants, constants, strict=True):
        value = value.detach().to(dtype)
        if value.numel() == 1:
            values.append(value.view(()).numpy()[()])
        elif len(shape) > 2 and value.shape[-2:] == (1, 1):
            values.append(value.expand(*shape[:-2], 1, 1).contiguous().view(-1).numpy())
            per_plane.add(name)
        else:
            values.append(value.expand(shape).contiguous().view(-1).numpy())
            per_neuron.add(name)
    return values, Layout(frozenset(per_neuron), frozenset(per_plane))


@lru_cache(maxsize=256)
def _compiled_forward(trace: Trace, kept: tuple[Node, ...], layout: Layout, dtype: str) -> Callable[..., None]:
    made = module(forward_source(trace, kept, layout, dtype), "forward")
    return _compile(made.forward, forward_arguments(trace, kept), trace, layout, dtype)


@lru_cache(maxsize=256)
def _compiled_backward(found: Adjoint, layout: Layout, dtype: str) -> Callable[..., None]:
    made = module(backward_source(found, layout, dtype), "backward")
    return _compile(made.backward, backward_arguments(found), found.trace, layout, dtype)


def _compile(function: Any, arguments: list[str], trace: Trace, layout: Layout, dtype: str) -> Callable[..., None]:
    import numba

    real = getattr(numba, dtype)
    arrays = layout.per_neuron | layout.per_plane
    kinds: list[Any] = [numba.intp] * (6 if layout.planar(trace) else 4)
    for name in arguments:
        if name == "dx":
            kinds.append(numba.intp)
        elif name in ("x", "y", "gx", "gy") or name.startswith("kept_"):
            kinds.append(numba.types.Array(real, 2, "C"))
        elif name.startswith("p_") and name[2:] not in arrays:
            kinds.append(real)
        else:
            kinds.append(numba.types.Array(real, 1, "C"))
    # No fast-math: the loop must round, and so spike, exactly as the reference does.
    loop: Callable[..., None] = compiled(function, numba.void(*kinds), fastmath=False)
    return loop
