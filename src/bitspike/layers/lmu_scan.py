"""The LMU's loop over time on a CPU without autograd's graph: forward on preallocated arrays, adjoint written by hand.

With m, h the (quantised) memory and hidden states, ga = dL/d(W_x x + W_h h + W_m m), gm = dL/d(memory before the
quantiser) and gu = dL/du, from the last step to the first:

    gh_t = gY_t + ga_{t+1} W_h + gu_{t+1} e_h          ga_t = gh_t (1 - tanh^2)
    gm_t = ga_t W_m + gm_{t+1} Abar + gu_{t+1} e_m     gu_t = gm_t Bbar         (gm_t = 0 where clipped)

Gradients of the weights are one product each over all T B rows. What is held back by a quantiser has no gradient.

Products over the units (W_h, W_m, Abar) take `Cell.products`: float32, or bfloat16 for training (8 bits of each
operand and result, sums in float32 inside a product), which is about twice as fast where the processor has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.kernels.buffers import empty
from bitspike.kernels.products.loops import compiled
from bitspike.layers import lmu_loops


class Cell(NamedTuple):
    """What the loop reads besides weights: Abar (d, d), Bbar (d,) and the step sizes in use.

    memory_dt, hidden_dt: (K d,) and (H,), None where a part is not quantised; memory_bound, hidden_bound: largest
    magnitude, infinite without a limit; leak: (K d,), see `LMU`.
    """

    a: Tensor
    b: Tensor
    memory_dt: Tensor | None
    memory_bound: Tensor
    hidden_dt: Tensor | None
    hidden_bound: Tensor
    leak: Tensor
    products: torch.dtype


class Product:
    """x @ weight in a dtype of its own, added to or replacing `out`, on arrays made once."""

    def __init__(self, weight: Tensor, rows: int, dtype: torch.dtype) -> None:
        self.weight = weight.to(dtype)
        self.same = weight.dtype == dtype
        self.out = torch.empty(rows, weight.shape[1], dtype=dtype)

    def into(self, x: Tensor, out: Tensor) -> None:
        """out = x @ weight; x in the product's dtype."""
        torch.mm(x, self.weight, out=out if self.same else self.out)
        if not self.same:
            out.copy_(self.out)

    def add(self, x: Tensor, out: Tensor) -> None:
        """out += x @ weight; x in the product's dtype. Not addmm, which rounds in another order than the plain loop."""
        out.add_(torch.mm(x, self.weight, out=self.out))


class Start(NamedTuple):
    """Before the first step: h (B, H), m, held (B, K d), and the two carries."""

    h: Tensor
    m: Tensor
    held: Tensor
    memory_carry: Tensor
    hidden_carry: Tensor


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, cell: Cell, start: Start, last: int, x: Tensor, *weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        e_x, e_h, e_m, w_x, w_h, w_m, bias = (w.detach() for w in weights)
        steps, batch, _ = x.shape
        d, units, hidden = len(cell.b), w_m.shape[1], w_h.shape[0]
        x = x.detach()
        u = (x.flatten(0, 1) @ e_x.t()).view(steps, batch, -1)
        # One array serves the current, then tanh of it, then, in the backward pass, its gradient.
        act = empty(torch.Size((steps, batch, hidden)), x.dtype)
        torch.mm(x.flatten(0, 1), w_x.t(), out=act.flatten(0, 1)).add_(bias)
        m = empty(torch.Size((steps, batch, units)), x.dtype)
        h = act if cell.hidden_dt is None else empty(act.shape, x.dtype)
        quantised = cell.memory_dt is not None
        inside = torch.empty((steps, batch, units), dtype=torch.bool) if quantised else torch.empty(0)
        held, v_m, v_h = start.held.clone(), start.memory_carry.clone(), start.hidden_carry.clone()
        raw = torch.empty(batch, units, dtype=x.dtype)
        by_signal, low = raw.view(-1, d), cell.products
        to_memory = Product(cell.a.t(), batch * units // d, low)
        to_hidden, feedback = Product(w_m.t(), batch, low), Product(w_h.t(), batch, low)
        from_hidden, from_memory = Product(e_h.t(), batch, x.dtype), Product(e_m.t(), batch, x.dtype)
        # What the products read: the states themselves, or their copies in fewer bits.
        m_read = m if low == x.dtype else empty(m.shape, low)
        h_read = h if low == x.dtype else empty(h.shape, low)
        n = _arrays(raw=raw, b=cell.b, held=held, v_m=v_m, v_h=v_h, leak=cell.leak, mb=cell.memory_bound,
                    hb=cell.hidden_bound, mdt=cell.memory_dt, hdt=cell.hidden_dt,
                    u=u, m=m, inside=inside, act=act, h=h)  # fmt: skip
        static, memory, quantise = (compiled(f) for f in _FORWARD)
        before_h, before_m = start.h.detach(), start.m.detach()
        h_low, m_low = before_h.to(low), before_m.to(low)
        for t in range(steps):
            to_memory.into(m_low.view(-1, d), by_signal)
            from_hidden.add(before_h, u[t])
            from_memory.add(before_m, u[t])
            if quantised:
                memory(n["raw"], n["u"][t], n["b"], d, n["mdt"], n["mb"], n["leak"], n["v_m"], n["held"], n["m"][t],
                       n["inside"][t])  # fmt: skip
            else:
                static(n["raw"], n["u"][t], n["b"], d, n["m"][t])
            before_m, now, m_low = m[t], act[t], m_read[t]
            if m_low.dtype != before_m.dtype:
                m_low.copy_(before_m)
            feedback.add(h_low, now)
            to_hidden.add(m_low, now)
            now.tanh_()
            if cell.hidden_dt is not None:
                quantise(n["act"][t], n["hdt"], n["hb"], n["v_h"], n["h"][t])
            before_h, h_low = h[t], h_read[t]
            if h_low.dtype != before_h.dtype:
                h_low.copy_(before_h)
        ctx.cell, ctx.last = cell, last
        # A static hidden state is `act` itself, which the backward pass uses up.
        ctx.shares = cell.hidden_dt is None
        ctx.save_for_backward(x, act, m_read, inside, start.h, start.m, *([] if ctx.shares else [h_read]), *weights)
        out = h[steps - last :].clone()
        ctx.mark_non_differentiable(m, held, v_m, v_h)
        return out, m, held, v_m, v_h

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gy: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        x, act, m, inside, h_0, m_0, *rest = ctx.saved_tensors
        h = act if ctx.shares else rest.pop(0)
        act = act.clone()
        e_x, e_h, e_m, w_x, w_h, w_m, _ = (w.detach() for w in rest)
        cell, d = ctx.cell, len(ctx.cell.b)
        steps, batch, hidden = act.shape
        units = m.shape[2]
        gu = x.new_empty(steps, batch, len(e_h))
        gh, gm, gm_next = x.new_empty(batch, hidden), x.new_empty(batch, units), x.new_empty(batch, units)
        quantised = cell.memory_dt is not None
        scale, keep = compiled(lmu_loops.hidden_gradient), compiled(lmu_loops.keep_inside)
        n = _arrays(gh=gh, act=act, hb=cell.hidden_bound, inside=inside)
        first, low = steps - ctx.last, cell.products
        from_hidden, from_feedback = Product(w_m, batch, low), Product(w_h, batch, low)
        from_memory = Product(cell.a, batch * units // d, low)
        ga = act if low == x.dtype else empty(act.shape, low)
        gm_low = gm if low == x.dtype else torch.empty(gm.shape, dtype=low)
        for t in reversed(range(steps)):
            if t + 1 < steps:
                from_feedback.into(ga[t + 1], gh)
                gh.addmm_(gu[t + 1], e_h)
                if t >= first:
                    gh.add_(gy[t - first])
            else:
                gh.copy_(gy[-1])
            scale(n["gh"], n["act"][t], n["hb"])
            if ga is not act:
                ga[t].copy_(act[t])
            from_hidden.into(ga[t], gm)
            if t + 1 < steps:
                from_memory.add((gm_next if low == x.dtype else gm_low.copy_(gm_next)).view(-1, d), gm.view(-1, d))
                gm.addmm_(gu[t + 1], e_m)
            if quantised:
                keep(gm.numpy(), n["inside"][t])
            torch.mv(gm.view(-1, d), cell.b, out=gu[t].view(-1))
            gm, gm_next = gm_next, gm
        ga_all, gu_all, rows = ga.flatten(0, 1), gu.flatten(0, 1), x.flatten(0, 1)
        before_h = torch.cat([h_0.unsqueeze(0).to(low), h[:-1].to(low)]).flatten(0, 1)
        before_m = torch.cat([m_0.unsqueeze(0).to(low), m[:-1]]).flatten(0, 1)
        gu_low, rows_low = gu_all.to(low), rows.to(low)
        want = ctx.needs_input_grad[3:]
        products: list[Callable[[], Tensor]] = [
            lambda: (act.flatten(0, 1) @ w_x + gu_all @ e_x).view_as(x),
            lambda: gu_all.t() @ rows,
            lambda: gu_low.t() @ before_h,
            lambda: gu_low.t() @ before_m,
            lambda: ga_all.t() @ rows_low,
            lambda: ga_all.t() @ before_h,
            lambda: ga_all.t() @ m.flatten(0, 1),
            lambda: act.sum((0, 1)),
        ]
        return None, None, None, *(f().to(x.dtype) if w else None for f, w in zip(products, want, strict=True))


_FORWARD = (lmu_loops.memory_static, lmu_loops.memory_quantised, lmu_loops.hidden_quantised)
_apply: Callable[..., tuple[Tensor, ...]] = _Scan.apply


def scan(
    cell: Cell, start: Start, x: Tensor, weights: tuple[Tensor, ...], last: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The `last` final hidden states (last, B, H), with gradients; all memory states (T, B, K d), what the memory
    holds back, and both carries, without.

    weights: e_x (K, F), e_h (K, H), e_m (K, K d), W_x (H, F), W_h (H, H), W_m (H, K d), bias (H,).
    """
    out, m, held, v_m, v_h = _apply(cell, start, last, x, *weights)
    return out, m, held, v_m, v_h


def _arrays(**tensors: Tensor | None) -> dict[str, Any]:
    return {name: t.detach().numpy() for name, t in tensors.items() if t is not None}
