"""LSTM and GRU over time on a CPU without autograd's graph, products over the units in bfloat16 or exact.

With PyTorch's weights and order of gates, s the logistic function:

    LSTM   i, f, g, o = s, s, tanh, s (W x_t + b + U h_{t-1} + c)      c_t = f c_{t-1} + i g      h_t = o tanh c_t
    GRU    r, z = s (W x_t + b + U h_{t-1} + c)                        q = U_n h_{t-1} + c_n
           n = tanh(W_n x_t + b_n + r q)                               h_t = n + z (h_{t-1} - n)

States stay in the input's dtype. PyTorch's own layers round them to bfloat16 under autocast, where a slow leak is lost:
a GRU with z = 0.999 then forgets nothing and learns nothing. Here only the operands and results of U h are rounded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bitspike.kernels.cpu.buffers import empty
from bitspike.kernels.transforms import once
from bitspike.products.loops import compiled


def lstm_gradient(gates: Any, c: Any, before: Any, t: Any, dh: Any, dc: Any, d: Any) -> None:
    """d = dL/d(before each gate's function), dc becomes that of c_{t-1}; t: tanh c_t, before: c_{t-1}."""
    one, units = c.dtype.type(1), c.shape[1]
    for row in range(c.shape[0]):
        for k in range(units):
            i, f = gates[row, k], gates[row, units + k]
            g, o = gates[row, 2 * units + k], gates[row, 3 * units + k]
            dk = dc[row, k] + dh[row, k] * o * (one - t[row, k] * t[row, k])
            d[row, k] = dk * g * i * (one - i)
            d[row, units + k] = dk * before[row, k] * f * (one - f)
            d[row, 2 * units + k] = dk * i * (one - g * g)
            d[row, 3 * units + k] = dh[row, k] * t[row, k] * o * (one - o)
            dc[row, k] = dk * f


def gru_gradient(gates: Any, q: Any, before: Any, dh: Any, d: Any, dn: Any) -> None:
    """d = dL/d(U h + c), dn its like for W_n x + b_n; dh becomes the part that z hands on; before: h_{t-1}."""
    one, units = q.dtype.type(1), q.shape[1]
    for row in range(q.shape[0]):
        for k in range(units):
            r, z, n = gates[row, k], gates[row, units + k], gates[row, 2 * units + k]
            g = dh[row, k]
            a = g * (one - z) * (one - n * n)
            d[row, k] = a * q[row, k] * r * (one - r)
            d[row, units + k] = g * (before[row, k] - n) * z * (one - z)
            d[row, 2 * units + k] = a * r
            dn[row, k] = a
            dh[row, k] = g * z


class _Feedback:
    """x @ weight in a dtype of its own, on arrays made once; the result is in the weight's first dtype."""

    def __init__(self, weight: Tensor, rows: int, low: torch.dtype) -> None:
        self.weight = weight.to(low).contiguous()
        self.low = torch.empty(rows, weight.shape[1], dtype=low)
        self.out = self.low if weight.dtype == low else torch.empty(rows, weight.shape[1], dtype=weight.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        torch.mm(x, self.weight, out=self.low)
        return self.out if self.out is self.low else self.out.copy_(self.low)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, kind: str, low: torch.dtype, last: int, x: Tensor, *weights: Tensor) -> Tensor:
        w, u, b, c = (weight.detach() for weight in weights)
        x = x.detach()
        (steps, batch, _), hidden = x.shape, u.shape[1]
        gates = empty((steps, batch, len(u)), x.dtype)
        torch.mm(x.flatten(0, 1), w.t(), out=gates.flatten(0, 1)).add_(b)
        both = len(u) if kind == "lstm" else 2 * hidden
        gates[..., :both].add_(c[:both])
        # LSTM: c_t; GRU: q. What the products read: h itself, or its copy in fewer bits.
        inner = empty((steps, batch, hidden), x.dtype)
        h = empty((steps + 1, batch, hidden), x.dtype)
        h_low = h if low == x.dtype else empty(h.shape, low)
        h[0].zero_()
        h_low[0].zero_()
        feedback = _Feedback(u.t(), batch, low)
        cell, squashed = torch.zeros(batch, hidden, dtype=x.dtype), torch.empty(batch, hidden, dtype=x.dtype)
        for t in range(steps):
            fed, now = feedback(h_low[t]), gates[t]
            if kind == "lstm":
                now.add_(fed)
                now[:, : 2 * hidden].sigmoid_()
                i, f, g, o = now.chunk(4, 1)
                g.tanh_()
                o.sigmoid_()
                cell = torch.mul(f, cell, out=inner[t]).addcmul_(i, g)
                torch.mul(o, torch.tanh(cell, out=squashed), out=h[t + 1])
            else:
                now[:, :both].add_(fed[:, :both]).sigmoid_()
                r, z, n = now.chunk(3, 1)
                n.addcmul_(r, torch.add(fed[:, both:], c[both:], out=inner[t])).tanh_()
                torch.lerp(n, h[t], z, out=h[t + 1])
            if h_low is not h:
                h_low[t + 1].copy_(h[t + 1])
        ctx.kind, ctx.low, ctx.last = kind, low, last
        ctx.save_for_backward(x, gates, inner, h, h_low, *weights)
        return h[steps + 1 - last :].clone()

    @staticmethod
    @once
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        x, gates, inner, h, h_low, *weights = ctx.saved_tensors
        w, u, _, _ = (weight.detach() for weight in weights)
        (steps, batch, _), hidden, kind, low = x.shape, u.shape[1], ctx.kind, ctx.low
        feedback, lstm = _Feedback(u, batch, low), kind == "lstm"
        dh, dc, nothing, squashed, dn = (x.new_zeros(batch, hidden) for _ in range(5))
        d = x.new_empty(batch, len(u))
        # Gradients before the gates, of all steps, as the products read them; a GRU's n has two of them.
        d_low = empty(gates.shape, low)
        dn_low = None if lstm else empty(inner.shape, low)
        gradient = compiled(lstm_gradient if lstm else gru_gradient)
        first = steps - ctx.last
        for t in reversed(range(steps)):
            if t + 1 < steps:
                fed = feedback(d_low[t + 1])
                dh = fed if lstm else dh.add_(fed)
            if t >= first:
                dh.add_(gy[t - first])
            if dn_low is None:
                torch.tanh(inner[t], out=squashed)
                gradient(*_arrays(gates[t], inner[t], inner[t - 1] if t else nothing, squashed, dh, dc, d))
            else:
                gradient(*_arrays(gates[t], inner[t], h[t], dh, d, dn))
                dn_low[t].copy_(dn)
            d_low[t].copy_(d)
        rows, x_rows = d_low.flatten(0, 1), x.flatten(0, 1).to(low)
        parts = [rows] if dn_low is None else [rows[:, : 2 * hidden], dn_low.flatten(0, 1)]
        one = torch.ones(1, len(rows), dtype=low)
        g_b = torch.cat([one @ part for part in parts], 1)[0]
        g_w = torch.cat([part.t() @ x_rows for part in parts])
        g_c = g_b if dn_low is None else (one @ rows)[0]
        g_u = rows.t() @ h_low[:-1].flatten(0, 1)
        gx = None
        if ctx.needs_input_grad[3]:
            wide = w.to(low).split([part.shape[1] for part in parts])
            gx = torch.stack([a @ b for a, b in zip(parts, wide, strict=True)]).sum(0).view_as(x).to(x.dtype)
        return None, None, None, gx, *(g.to(x.dtype) for g in (g_w, g_u, g_b, g_c))


def _arrays(*tensors: Tensor) -> list[Any]:
    return [t.numpy() for t in tensors]


_apply: Callable[..., Tensor] = _Scan.apply


def gated_scan(kind: str, x: Tensor, weights: tuple[Tensor, ...], last: int, low: torch.dtype) -> Tensor:
    """Hidden states (last, B, H) of the `last` final steps of x (T, B, F), from zero, with gradients.

    kind: "lstm" or "gru"; weights: PyTorch's weight_ih, weight_hh, bias_ih, bias_hh of one layer; low: the dtype of
    products over the units.
    """
    return _apply(kind, low, last, x, *weights)
