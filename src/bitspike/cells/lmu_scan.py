"""The LMU's loop over time on a CPU without autograd's graph: forward on preallocated arrays, adjoint written by hand.

The batch is cut into one slice per thread (`lmu_slices`). A slice goes through time by `lmu_steps`, with the products
of a step as the formulas have them and, in float32 and float64, the plain loop's whole numbers bit for bit; or, where
nothing is quantised and the run is long, by `lmu_chunks`, which spends no product with Abar and W_m on a step. What is
held back by a quantiser has no gradient.

Products over the units (W_h, W_m, Abar) take `Cell.products`: float32, or bfloat16 for training (8 bits of each
operand and result, sums in float32 inside a product), which is about twice as fast where the processor has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bitspike.cells.lmu_cell import Before, Cell, End, Start, Weights
from bitspike.cells.lmu_slices import keep_bits, over, slices
from bitspike.kernels.transforms import once


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, cell: Cell, start: Start, last: int, watched: bool, x: Tensor, h: Tensor, m: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        # h, m: those of `start`, here for their gradients alone.
        # Late: they import Numba.
        from bitspike.cells import lmu_chunks, lmu_steps

        steps, batch, _ = x.shape
        w, x = Weights(*(weight.detach() for weight in weights)), x.detach()
        table = lmu_chunks.tables(cell, w) if lmu_chunks.serves(cell, steps, batch) else None
        cut = slices(batch)
        if table is None and cell.products == x.dtype and not keep_bits(batch, _shapes(cell, w), x.dtype):
            cut = [(0, batch)]
        y = x.new_empty(last, batch, len(w.bias))

        def part(i: int) -> tuple[End, Any]:
            lo, hi = cut[i]
            state, rows, out = start.rows(lo, hi), x[:, lo:hi].contiguous(), y[:, lo:hi]
            if table is None:
                return lmu_steps.forward(cell, state, w, rows, out, watched)
            return lmu_chunks.forward(cell, state, w, table, rows, out, watched)

        ends, ctx.kept = zip(*over(len(cut), part), strict=True)
        ctx.cell, ctx.table, ctx.cut, ctx.shape = cell, table, cut, x.shape
        ctx.save_for_backward(*weights)
        end = End(*(torch.cat(parts, -2) for parts in zip(*ends, strict=True)))
        ctx.mark_non_differentiable(*end)
        return y, end.m[-1].clone(), *end

    @staticmethod
    @once
    def backward(ctx: Any, gy: Tensor, gm: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        from bitspike.cells import lmu_chunks, lmu_steps

        cell, table, cut = ctx.cell, ctx.table, ctx.cut
        w = Weights(*(weight.detach() for weight in ctx.saved_tensors))
        gx = gy.new_empty(ctx.shape) if ctx.needs_input_grad[4] else None
        before = Before(gy.new_empty(gy.shape[1:]), torch.empty_like(gm)) if any(ctx.needs_input_grad[5:7]) else None

        def part(i: int) -> Weights | lmu_chunks.Sums:
            lo, hi = cut[i]
            g, out = gy[:, lo:hi].contiguous(), None if gx is None else gx[:, lo:hi]
            to = None if before is None else Before(*(each[lo:hi] for each in before))
            if table is None:
                return lmu_steps.backward(cell, ctx.kept[i], w, g, gm[lo:hi], out, to)
            return lmu_chunks.backward(cell, ctx.kept[i], table, g, gm[lo:hi], out, to, ctx.shape[0])

        parts = over(len(cut), part)
        sums = [torch.stack(shares).sum(0) for shares in zip(*parts, strict=True)]
        found = Weights(*sums) if table is None else lmu_chunks.gradients(cell, w, lmu_chunks.Sums(*sums))
        wanted = ctx.needs_input_grad[7:]
        of_start: tuple[Tensor | None, ...] = (None, None) if before is None else before
        of_weights = (g if want else None for g, want in zip(found, wanted, strict=True))
        return None, None, None, None, gx, *of_start, *of_weights


def _shapes(cell: Cell, w: Weights) -> tuple[tuple[int, int, int], ...]:
    """Rows per example, terms and columns of the products whose bits the whole numbers depend on."""
    (signals, units), (hidden, inputs), d = w.e_m.shape, w.w_x.shape, len(cell.b)
    return (
        (signals, d, d), (1, units, hidden), (1, units, signals), (1, hidden, hidden), (1, hidden, signals),
        (1, inputs, hidden), (1, inputs, signals),
    )  # fmt: skip


_apply: Callable[..., tuple[Tensor, ...]] = _Scan.apply


def scan(
    cell: Cell, start: Start, x: Tensor, weights: tuple[Tensor, ...], last: int, watched: bool = False
) -> tuple[Tensor, Tensor, End]:
    """The `last` final hidden states (last, B, H) and the memory's last state (B, K d), with gradients, those of the
    start's h and m too; and, without, the memory's states after every step where they are `watched`, else after the
    last, what the memory holds back, and both carries.

    weights: those of `Weights`, in that order.
    """
    y, m, *end = _apply(cell, start, last, watched, x, start.h, start.m, *weights)
    return y, m, End(*end)
