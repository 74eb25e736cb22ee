"""The LMU's loop over time, one product per matrix and step, for a slice of the batch; and its adjoint.

Forward the order of additions is the reference loop's, so that whole numbers are equal bit for bit. With ga, gm the
gradients of hidden current and memory before the quantiser, and gu that of u, from the last step to the first:

    gh_t = gY_t + ga_{t+1} W_h + gu_{t+1} e_h          ga_t = gh_t (1 - tanh^2)
    gm_t = ga_t W_m + gm_{t+1} Abar + gu_{t+1} e_m     gu_t = gm_t Bbar         (gm_t = 0 where clipped)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.cells import lmu_loops as loops
from bitspike.cells.lmu_cell import BLOCK, Before, Cell, End, Start, Total, Weights
from bitspike.kernels.cpu.buffers import empty
from bitspike.kernels.cpu.half import array


class Kept(NamedTuple):
    """For the adjoint: x (T, b, F); h and m from the start on (T + 1, b, *) and tanh's slope (T, b, H), as the products
    read them; where the memory was not clipped (T, b, K d)."""

    x: Tensor
    h: Tensor
    m: Tensor
    slope: Tensor
    inside: Tensor


def forward(cell: Cell, start: Start, w: Weights, x: Tensor, y: Tensor, watched: bool) -> tuple[End, Kept]:
    """Fills y (last, b, H), the final hidden states. watched: all memory states are handed back, not the last alone."""
    steps, batch, _ = x.shape
    hidden, (signals, units) = len(w.bias), w.e_m.shape
    dtype, low, d = x.dtype, cell.products, len(cell.b)
    same = low == dtype
    h_low, m_low = empty((steps + 1, batch, hidden), low), empty((steps + 1, batch, units), low)
    slope, inside = empty((steps, batch, hidden), low), empty((steps, batch, units), torch.bool)
    h_low[0], m_low[0] = start.h, start.m
    # In the input's dtype: the products' operands themselves, all steps where they are asked for, or one step.
    h_now = h_low[1:] if same else torch.empty(1, batch, hidden, dtype=dtype)
    m_now = m_low[1:] if same else empty((steps if watched else 1, batch, units), dtype)
    held, v_m, v_h = start.held.clone(), start.memory_carry.clone(), start.hidden_carry.clone()
    u = (x.flatten(0, 1) @ w.e_x.t()).view(steps, batch, signals)
    current = torch.empty(BLOCK, batch, hidden, dtype=dtype)
    a_t, w_ht, w_mt = (weight.to(low).t() for weight in (cell.a, w.w_h, w.w_m))
    e_ht, e_mt, w_xt = w.e_h.t(), w.e_m.t(), w.w_x.t()
    raw = torch.empty(batch * signals, d, dtype=low)
    by_h, by_m = torch.empty(batch, hidden, dtype=low), torch.empty(batch, hidden, dtype=low)
    u_h, u_m = torch.empty(batch, signals, dtype=dtype), torch.empty(batch, signals, dtype=dtype)
    n_raw, n_uh, n_um = array(raw.view(batch, units)), array(u_h), array(u_m)
    n_by_h, n_by_m, n_b, n_u = array(by_h), array(by_m), array(cell.b), array(u)
    # A state in the products' dtype besides, only where that is another one.
    n_h, n_m, n_h_low, n_m_low = (array(states) for states in (h_now, m_now, h_low[1:], m_low[1:]))
    n_none = array(torch.empty(0, 0, dtype=low))
    n_slope, n_inside, n_current = array(slope), array(inside), array(current)
    m_bound, h_bound = array(cell.memory_bound), array(cell.hidden_bound)
    remember: Callable[..., None] = loops.memory_static
    m_more: tuple[Any, ...] = ()
    if cell.memory_dt is not None:
        remember = loops.memory_quantised
        m_more = tuple(map(array, (cell.memory_dt, cell.leak, v_m, held)))
    send: Callable[..., None] = loops.hidden_static
    h_more: tuple[Any, ...] = ()
    if cell.hidden_dt is not None:
        send, h_more = loops.hidden_quantised, (array(cell.hidden_dt), array(v_h))
    first = steps - len(y)
    h_t, m_t = start.h, start.m
    h_each, m_each, h_at, m_at = (states.unbind(0) for states in (h_low, m_low, h_now, m_now))
    blocks = current.unbind(0)
    for t in range(steps):
        at = t % BLOCK
        if at == 0:
            some = x[t : t + BLOCK].flatten(0, 1)
            torch.mm(some, w_xt, out=current.view(-1, hidden)[: len(some)]).add_(w.bias)
        torch.mm(m_each[t].view(-1, d), a_t, out=raw)
        torch.mm(h_t, e_ht, out=u_h)
        torch.mm(m_t, e_mt, out=u_m)
        m_place, h_place = t if len(n_m) > 1 else 0, t if len(n_h) > 1 else 0
        remember(
            n_raw, n_u[t], n_uh, n_um, n_b, m_bound, n_m[m_place], n_none if same else n_m_low[t], n_inside[t], *m_more
        )
        torch.mm(h_each[t], w_ht, out=by_h)
        torch.mm(m_each[t + 1], w_mt, out=by_m)
        loops.add_products(n_current[at], n_by_h, n_by_m)
        if same:
            blocks[at].tanh_()
        else:
            loops.tanh_of(n_current[at])
        send(n_current[at], h_bound, n_h[h_place], n_none if same else n_h_low[t], n_slope[t], *h_more)
        h_t, m_t = h_at[h_place], m_at[m_place]
        if t >= first:
            y[t - first].copy_(h_t)
    return End(m_now if watched else m_now[-1:].clone(), held, v_m, v_h), Kept(x, h_low, m_low, slope, inside)


def backward(
    cell: Cell, kept: Kept, w: Weights, gy: Tensor, g_end: Tensor, gx: Tensor | None, before: Before | None
) -> Weights:
    """The weights' gradients of this slice from gy (last, b, H), and g_end (b, K d) of the memory behind the last step.
    Fills gx (T, b, F), the input's, and those of the start, unless None."""
    x, h, m, slope, inside = kept
    steps, batch, inputs = x.shape
    hidden, (signals, units) = len(w.bias), w.e_m.shape
    dtype, low, d = x.dtype, cell.products, len(cell.b)
    same = low == dtype
    w_m, w_h, a = (weight.to(low) for weight in (w.w_m, w.w_h, cell.a))
    gu = torch.zeros(steps + 1, batch, signals, dtype=dtype)
    gm, ga = torch.empty(batch, units, dtype=dtype), torch.empty(BLOCK, batch, hidden, dtype=dtype)
    gm_low = gm if same else torch.empty(batch, units, dtype=low)
    ga_low = ga if same else torch.empty(BLOCK, batch, hidden, dtype=low)
    by_a, by_m = torch.zeros(batch, units, dtype=low), torch.empty(batch, units, dtype=low).copy_(g_end)
    by_next, nothing = torch.zeros(batch, hidden, dtype=low), torch.zeros(batch, hidden, dtype=dtype)
    n_by_a, n_by_m, n_by_next, n_nothing = array(by_a), array(by_m), array(by_next), array(nothing)
    n_gm, n_ga, n_none = array(gm), array(ga), array(torch.empty(0, 0, dtype=low))
    n_gm_low, n_ga_low = n_none if same else array(gm_low), [n_none] * BLOCK if same else array(ga_low)
    n_gu, n_gy, n_slope, n_inside = array(gu), array(gy), array(slope), array(inside)
    n_b, e_h, e_m = array(cell.b), array(w.e_h), array(w.e_m)
    total_h, total_m = Total(hidden, hidden, dtype), Total(hidden, units, dtype)
    total_x, total_u = Total(inputs + 1, hidden, dtype), Total(inputs, signals, dtype)
    total_eh, total_em = Total(signals, hidden, dtype), Total(signals, units, dtype)
    # With a column of ones, whose gradient is the bias's.
    ones = torch.cat([x, x.new_ones(steps, batch, 1)], 2)
    first, each = steps - len(gy), ga_low.unbind(0)
    for t in reversed(range(steps)):
        at = t % BLOCK
        if t + 1 < steps:
            torch.mm(each[(t + 1) % BLOCK], w_h, out=by_next)
            torch.mm(gm_low.view(-1, d), a, out=by_m.view(-1, d))
        above = n_gy[t - first] if t >= first else n_nothing
        loops.hidden_gradient(n_by_next, n_gu[t + 1], e_h, above, n_slope[t], n_ga[at], n_ga_low[at])
        torch.mm(each[at], w_m, out=by_a)
        loops.memory_gradient(n_by_a, n_by_m, n_gu[t + 1], e_m, n_inside[t], n_b, n_gm, n_gm_low, n_gu[t])
        if at == 0:
            part = slice(t, min(t + BLOCK, steps))
            count = part.stop - t
            rows, rows_low = ga[:count].flatten(0, 1), ga_low[:count].flatten(0, 1)
            u_rows = gu[part].flatten(0, 1)
            u_low = u_rows.to(low)
            total_h.add(rows_low, h[part].flatten(0, 1))
            total_m.add(rows_low, m[t + 1 : part.stop + 1].flatten(0, 1))
            total_x.add(ones[part].flatten(0, 1), rows)
            total_u.add(x[part].flatten(0, 1), u_rows)
            total_eh.add(u_low, h[part].flatten(0, 1))
            total_em.add(u_low, m[part].flatten(0, 1))
            if gx is not None:
                gx[part] = (rows @ w.w_x + u_rows @ w.e_x).view(count, batch, inputs)
    if before is not None:
        torch.mm(each[0], w_h, out=by_next)
        torch.mm(gm_low.view(-1, d), a, out=by_m.view(-1, d))
        before.h.copy_(by_next).addmm_(gu[0], w.e_h)
        before.m.copy_(by_m).addmm_(gu[0], w.e_m)
    return Weights(
        total_u.sum.t(), total_eh.sum, total_em.sum, total_x.sum[:-1].t(), total_h.sum, total_m.sum, total_x.sum[-1]
    )
