"""A recurrence whose output is fed back through weights.

    y_t, s_t = step(x_t + W y_{t-1}, s_{t-1})          y_{-1} given (zeros at rest)

The product of step t needs the output of step t - 1, so the products of a sequence cannot be one. On the CPU back
end the loop runs on preallocated arrays, without autograd's graph; its gradient takes one small product per step,
and one over all T B rows for W. On the reference back end it is a plain loop under autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.kernels import operator
from bitspike.kernels.cpu import back_end as cpu
from bitspike.kernels.dtypes import computing, given_back
from bitspike.kernels.recurrence import Recurrence, keeping, variant
from bitspike.kernels.run import Choice, as_tensors, back_end_for, fitting
from bitspike.kernels.scan import check
from bitspike.kernels.transforms import once, transformed

REFERENCE = Choice("reference", "no loop without a graph")


def run_with_feedback(
    recurrence: Recurrence,
    x: Tensor,
    weight: Tensor,
    state: Any,
    constants: Any,
    before: Tensor,
    back_end: str = "auto",
) -> tuple[Tensor, Any]:
    """Output (T, B, N) and the state after the last step.

    x: (T, B, N); weight: (N, N), row i into neuron i; before: the output of the step before the first, (B, N).
    """
    given, x = x.dtype, computing(x)
    check(x, state)
    constants = type(constants)(*(fitting(c, x) for c in constants)) if constants else constants
    units = x.shape[-1]
    if x.ndim != 3 or x.shape[0] == 0 or weight.shape != (units, units) or before.shape != x.shape[1:]:
        came = f"input {tuple(x.shape)}, weight {tuple(weight.shape)}, outputs before {tuple(before.shape)}"
        refuse("feedback", came, "(T, B, N) with at least one step, (N, N) and (B, N)")
    if back_end == "auto" and (x.device.type == "cuda" or transformed() or torch.compiler.is_compiling()):
        back_end = "reference"
    # In full under autocast as well: what is fed back is a state.
    weight, before = weight.to(x.dtype), before.to(x.dtype)
    choice = REFERENCE if back_end == "reference" else back_end_for(recurrence, x, back_end)
    if choice.back_end == "cuda":
        refuse("back end", "'cuda' with feedback", "'auto', 'reference' or, for tensors on the processor, 'cpu'")
    if choice.back_end != "cpu":
        state = type(state)(*(part.to(x.dtype) for part in state))
        with torch.autocast(x.device.type, enabled=False):
            y, end = _loop(recurrence, x, weight, state, constants, before)
        return given_back(y, given), end
    parts, values = as_tensors(x, state, constants, choice)
    with torch.autocast(x.device.type, enabled=False):
        y, *last = _apply(choice, len(parts), x, weight, before, *parts, *values)
    return given_back(y, given), type(state)(*last)


def _loop(
    recurrence: Recurrence, x: Tensor, weight: Tensor, state: Any, constants: Any, y: Tensor
) -> tuple[Tensor, Any]:
    outputs = []
    for x_t in x.unbind(0):
        y, state = recurrence.step(x_t + y @ weight.t(), state, constants, recurrence.spike)
        outputs.append(y)
    return torch.stack(outputs), state


class _Feedback(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, choice: Choice, count: int, x: Tensor, weight: Tensor, before: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        state, constants = list(rest[:count]), list(rest[count:])
        traced = operator.TABLE[choice.key]
        wants = ctx.needs_input_grad[5 + count :]
        ctx.constants_wanted = tuple(n for n, w in zip(traced.constants, wants, strict=True) if w)
        widest = variant(traced, ctx.constants_wanted, True, True, tuple(traced.state))
        current = torch.empty(x.shape, dtype=x.dtype)
        loop = cpu.Forward(traced, widest.kept, current, state, constants)
        transposed = weight.detach().t()
        y = before.detach().to(x.dtype)
        for t in range(len(x)):
            torch.addmm(x[t], y, transposed, out=current[t])
            loop.run(t, t + 1)
            y = loop.y[t]
        ctx.traced, ctx.widest, ctx.count = traced, widest, count
        keeps_current = [current] if traced.input in widest.kept else []
        ctx.save_for_backward(weight, before, loop.y, *rest, *loop.keep, *keeps_current)
        ctx.keeps = len(loop.keep)
        ctx.set_materialize_grads(False)
        return loop.y, *loop.state

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        weight, before, y, *saved = ctx.saved_tensors
        traced, count, keeps = ctx.traced, ctx.count, ctx.keeps
        names = list(traced.constants)
        state, constants = saved[:count], saved[count : count + len(names)]
        keep, current = saved[count + len(names) :][:keeps], saved[count + len(names) + keeps :]
        gy = torch.zeros_like(y) if grads[0] is None else grads[0].contiguous().clone()
        final = tuple(n for n, g in zip(traced.state, grads[1:], strict=True) if g is not None)
        found = keeping(variant(traced, ctx.constants_wanted, True, True, final), ctx.widest.kept)
        x = current[0] if current else y.new_empty(0)
        loop = cpu.Backward(found, gy, list(grads[1:]), x, y, keep, state, constants)
        gx = loop.gx if loop.gx is not None else torch.zeros_like(y)
        for t in reversed(range(len(y))):
            if t + 1 < len(y):
                # The output also went into the next step's input.
                torch.addmm(gy[t], gx[t + 1], weight, out=gy[t])
            loop.run(t, t + 1)
        sources = torch.cat([before.unsqueeze(0), y[:-1]])
        g_weight = gx.flatten(0, 1).t() @ sources.flatten(0, 1) if ctx.needs_input_grad[3] else None
        g_before = gx[0] @ weight if ctx.needs_input_grad[4] else None
        g_state = [loop.state.get(name) for name in traced.state]
        g_constants = [
            loop.shares[n].sum_to_size(c.shape).to(c.dtype) if n in loop.shares else None
            for n, c in zip(names, constants, strict=True)
        ]
        return None, None, gx, g_weight, g_before, *g_state, *g_constants


_apply: Callable[..., tuple[Tensor, ...]] = _Feedback.apply
