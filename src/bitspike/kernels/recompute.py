"""Run a function of time in segments and compute each again in the backward pass, instead of keeping what it did.

    (y[a:b], s_b) = f(x[a:b], s_a)          segments of sqrt(T) steps or more

Kept are the states at the segments' starts and the input: one bit per value where it is spikes, else by reference.
The backward pass goes through the segments from the last to the first, runs f again on each with its gradient, and
hands the gradient of s_a on. f must be the same function of (x, s, parameters) both times.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.kernels.packing import Packed, pack, unpack

ROWS = 2048  # a product of fewer rows is slower per row

State = tuple[Tensor, ...]
Function = Callable[[Tensor, State], tuple[Tensor, State]]


class _Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Function, segment: int, count: int, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        state, ctx.parameters = rest[:count], rest[count:]
        starts: list[Tensor] = []
        y: Tensor | None = None
        for a in range(0, len(x), segment):
            starts += state
            part, state = function(x[a : a + segment], state)
            y = part.new_empty(len(x), *part.shape[1:]) if y is None else y
            y[a : a + segment] = part
        assert y is not None
        packed = pack(x)
        ctx.function, ctx.segment, ctx.count = function, segment, count
        ctx.shape = None if packed is None else (packed.shape, packed.dtype)
        ctx.save_for_backward(x if packed is None else packed.bits, *starts)
        ctx.set_materialize_grads(False)
        return y, *state

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        kept, *starts = ctx.saved_tensors
        count, segment = ctx.count, ctx.segment
        x = kept if ctx.shape is None else unpack(Packed(kept, *ctx.shape))
        gy, carried = grads[0], list(grads[1:])
        _, _, _, want_x, *want_rest = ctx.needs_input_grad
        gx = torch.empty_like(x, memory_format=torch.contiguous_format) if want_x else None
        wanted = [p for p, w in zip(ctx.parameters, want_rest[count:], strict=True) if w]
        totals: list[Tensor | None] = [None] * len(wanted)
        for number in reversed(range(math.ceil(len(x) / segment))):
            part = slice(number * segment, (number + 1) * segment)
            x_part = x[part].detach().requires_grad_(want_x)
            state = tuple(s.detach().requires_grad_() for s in starts[number * count : (number + 1) * count])
            with torch.enable_grad():
                y, last = ctx.function(x_part, state)
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


_recompute: Callable[..., tuple[Tensor, ...]] = _Recompute.apply


def recompute(
    function: Function, x: Tensor, state: State, parameters: Sequence[Tensor], segment: int | None = None
) -> tuple[Tensor, State]:
    """y (T, ...) and the final state of `function` over x (T, ...), keeping little; see the module.

    parameters: the tensors `function` reads that need a gradient. segment: steps per segment; default sqrt(T), or
    more where that would leave a product fewer than ROWS rows (T B rows would be kept otherwise).
    """
    if x.shape[0] == 0:
        refuse("input over time", tuple(x.shape), "(T, B, *features) with at least one step")
    if segment is None:
        segment = max(math.ceil(math.sqrt(x.shape[0])), ROWS // max(x.shape[1], 1))
    if segment < 1:
        refuse("segment", segment, "one step or more")
    y, *last = _recompute(function, segment, len(state), x, *state, *parameters)
    return y, tuple(last)
