"""Run a function of time in segments and compute each again in the backward pass, instead of keeping what it did.

    (y[a:b], s_b) = f(x[a:b], s_a)          segments of sqrt(T) steps or more

Kept are the states at the segments' starts and the input: one bit per value where it is spikes, else by reference.
Where f takes spikes as int8, they go from bits to int8 in each segment and are never numbers of four bytes again.
The backward pass goes through the segments from the last to the first, runs f again on each with its gradient, and
hands the gradient of s_a on. f must be the same function of (x, s, parameters) both times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.kernels.cpu.buffers import empty
from bitspike.kernels.cpu.packing import Packed, pack, unpack
from bitspike.kernels.transforms import once

ROWS = 2048  # a product of fewer rows is slower per row

State = tuple[Tensor, ...]


Function = Callable[[Tensor, State], tuple[Tensor, State]]
Into = Callable[[Tensor, Tensor, State], State]


class Work(NamedTuple):
    """What is run over time: f; `into(y, x, s)`, which writes f's output into y (None: it is copied there); int8;
    dtype: of the output (None: the state's); reads: what else f reads, of which nothing may change in between."""

    function: Function
    into: Into | None
    int8: bool
    dtype: torch.dtype | None
    reads: Callable[[], list[Tensor]]

    def versions(self) -> list[tuple[Tensor, int]]:
        """What f reads now, with how often each was written to."""
        return [(t, -1 if t.is_inference() else t._version) for t in self.reads()]

    def fill(self, y: Tensor, x: Tensor, state: State) -> State:
        """The output into y; returns the state after the last step."""
        if self.into is not None:
            return self.into(y, x, state)
        part, state = self.function(x, state)
        y.copy_(part)
        return state


class _Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, work: Work, segment: int, count: int, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        state, ctx.parameters = rest[:count], rest[count:]
        packed = pack(x)
        ctx.work, ctx.segment, ctx.count = work, segment, count
        ctx.versions = work.versions()
        ctx.shape = None if packed is None else (packed.shape, packed.dtype)
        kept = x if packed is None else packed.bits
        dtype = torch.int8 if work.int8 and packed is not None and not ctx.needs_input_grad[3] else x.dtype
        ctx.dtype = dtype
        shape, own = (len(x), *state[0].shape), work.dtype or state[0].dtype
        y = empty(shape, own) if x.device.type == "cpu" else x.new_empty(shape, dtype=own)
        starts: list[Tensor] = []
        for part in _segments(len(x), segment):
            starts += state
            state = work.fill(y[part], _part(kept, ctx.shape, part, dtype) if dtype != x.dtype else x[part], state)
        ctx.save_for_backward(kept, *starts)
        ctx.set_materialize_grads(False)
        return y, *state

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        kept, *starts = ctx.saved_tensors
        count, now = ctx.count, ctx.work.versions()
        pairs = zip(now, ctx.versions, strict=False)
        if len(now) != len(ctx.versions) or any(a is not b or n != m for (a, n), (b, m) in pairs):
            came = "weights, draws or buffers that have changed since the forward pass"
            refuse("recomputed layer", came, "the backward pass of each forward pass before they do")
        shape, dtype = (kept.shape, kept.dtype) if ctx.shape is None else ctx.shape
        gy, carried = grads[0], list(grads[1:])
        _, _, _, want_x, *want_rest = ctx.needs_input_grad
        gx = torch.empty(shape, dtype=dtype, device=kept.device) if want_x else None
        wanted = [p for p, w in zip(ctx.parameters, want_rest[count:], strict=True) if w]
        totals: list[Tensor | None] = [None] * len(wanted)
        for number, part in reversed(list(enumerate(_segments(shape[0], ctx.segment)))):
            x_part = _part(kept, ctx.shape, part, ctx.dtype).detach().requires_grad_(want_x)
            state = tuple(s.detach().requires_grad_() for s in starts[number * count : (number + 1) * count])
            with torch.enable_grad():
                y, last = ctx.work.function(x_part, state)
            outputs = [(y, gy[part])] if gy is not None else []
            outputs += [(s, g) for s, g in zip(last, carried, strict=True) if g is not None]
            outputs = [(o, g) for o, g in outputs if o.requires_grad]
            inputs = [*([x_part] if want_x else []), *state, *wanted]
            if not outputs:
                found: Sequence[Tensor | None] = [None] * len(inputs)
            else:
                ends, gradients = zip(*outputs, strict=True)
                found = torch.autograd.grad(ends, inputs, gradients, allow_unused=True)
            found = list(found)
            if gx is not None:
                first = found.pop(0)
                gx[part] = 0 if first is None else first
            carried, shares = found[:count], found[count:]
            totals = [t if s is None else s if t is None else t + s for t, s in zip(totals, shares, strict=True)]
        each = iter(totals)
        return None, None, None, gx, *carried, *(next(each) if w else None for w in want_rest[count:])


def _segments(steps: int, segment: int) -> list[slice]:
    return [slice(a, min(a + segment, steps)) for a in range(0, steps, segment)]


def _part(kept: Tensor, packed: tuple[torch.Size, torch.dtype] | None, part: slice, dtype: torch.dtype) -> Tensor:
    """These steps of the input, from what was kept of it."""
    return kept[part] if packed is None else unpack(Packed(kept, *packed), part, dtype)


_recompute: Callable[..., tuple[Tensor, ...]] = _Recompute.apply


def recompute(
    function: Function,
    x: Tensor,
    state: State,
    parameters: Sequence[Tensor],
    segment: int | None = None,
    into: Into | None = None,
    int8: bool = False,
    dtype: torch.dtype | None = None,
    reads: Callable[[], list[Tensor]] = list,
) -> tuple[Tensor, State]:
    """y (T, ...) and the final state of `function` over x (T, ...), keeping little; see the module.

    y has the state's shape at every step. parameters: the tensors `function` reads that need a gradient. segment: steps
    per segment; default sqrt(T), or more where that would leave a product fewer than ROWS rows (T B rows would be kept
    otherwise). into: as `function`, without a gradient, its output written into its first argument. int8: `function`
    takes spikes as int8 too. dtype: of the output; the state's if left out. reads: what `function` reads besides, now;
    a change of it before the backward pass is refused there.
    """
    if x.shape[0] == 0:
        refuse("input over time", tuple(x.shape), "(T, B, *features) with at least one step")
    if segment is None:
        segment = max(math.ceil(math.sqrt(x.shape[0])), ROWS // max(x.shape[1], 1))
    if segment < 1:
        refuse("segment", segment, "one step or more")
    y, *last = _recompute(Work(function, into, int8, dtype, reads), segment, len(state), x, *state, *parameters)
    return y, tuple(last)
