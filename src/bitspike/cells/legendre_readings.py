"""Weighted sums of the Legendre memory at every step, without the memory's states.

    y_t = f( W m_t + W_x x_t + bias )          f: tanh or nothing

In a chunk of C steps after m_a the states are m_{a+k} = Abar^{k+1} m_a + sum_{j<=k} h_{k-j} u_{a+j}, so their sums are
one product of [m_a, u, x, 1] with a table made from W: the product with the states that it takes anyway, and not the
one that makes the states. The states m_a come from chunk to chunk, as in `legendre`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bitspike.cells.legendre import chunk_tables
from bitspike.kernels.cpu import threads
from bitspike.kernels.cpu.buffers import empty
from bitspike.kernels.transforms import once

CHUNK = 16


def pays(steps: int, batch: int, outputs: int) -> bool:
    """Whether the run is long enough to pay for the table."""
    return steps * batch >= 2 * CHUNK * outputs


def all_readings(
    u: Tensor, x: Tensor, window: float, w_m: Tensor, w_x: Tensor, bias: Tensor, tanh: bool
) -> Tensor:  # fmt: skip
    """y (T, B, H) for signals u (T, B, K) and x (T, B, F), from zero; w_m (H, K d), w_x (H, F), bias (H,)."""
    steps, batch, signals = u.shape
    inputs, outputs, chunks = x.shape[2], len(bias), -(-steps // CHUNK)
    order = w_m.shape[1] // signals
    inside, carried = chunk_tables(order, window, CHUNK, u.dtype)
    basis = torch.cat([carried, inside]).view(-1, order)  # (d + C) C rows: what m_a and u give to each step's memory
    tables = [(basis @ part.t()).view(order + CHUNK, -1) for part in w_m.split(order, 1)]
    # x_t, and 1 for the bias, reach their own step alone.
    own = torch.cat([w_x, bias.unsqueeze(1)], 1).t()
    each = torch.eye(CHUNK, dtype=u.dtype)[:, None, :, None] * own[None, :, None, :]
    table = torch.cat([*tables, each.reshape(CHUNK * (inputs + 1), CHUNK * outputs)])
    m, rows = u.new_zeros(batch * signals, order), []
    u_parts, x_parts = (_chunks(a, chunks) for a in (u, torch.cat([x, x.new_ones(steps, batch, 1)], 2)))
    for c in range(chunks):
        u_part = u_parts[c].transpose(1, 2).reshape(batch * signals, CHUNK)
        rows.append(torch.cat([torch.cat([m, u_part], 1).view(batch, -1), x_parts[c].flatten(1)], 1))
        m = m @ carried[:, -order:] + u_part @ inside[:, -order:]
    read: Tensor = _read(torch.cat(rows), table, steps, batch, tanh)
    return read


def _chunks(a: Tensor, chunks: int) -> Tensor:
    """(T, B, *) to (n, B, C, *), zeros after the end."""
    padded = torch.cat([a, a.new_zeros(chunks * CHUNK - len(a), *a.shape[1:])])
    return padded.view(chunks, CHUNK, *a.shape[1:]).transpose(1, 2)


class _Read(torch.autograd.Function):
    """f(rows @ table) (n B, C H), brought to (T, B, H)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, table: Tensor, steps: int, batch: int, tanh: bool) -> Tensor:
        from bitspike.cells import legendre_loops as loops  # late: it imports Numba

        shape = torch.Size((len(rows), table.shape[1]))
        current = torch.mm(rows.detach(), table.detach(), out=empty(shape, rows.dtype))
        y = empty(torch.Size((steps, batch, shape[1] // CHUNK)), rows.dtype)
        given, made = current.view(len(rows), CHUNK, -1).numpy(), y.numpy()
        threads.run(lambda lo, hi: loops.to_time(lo, hi, given, tanh, made), len(rows), y.numel(), lanes=1)
        ctx.save_for_backward(rows, table, y)
        ctx.tanh = tanh
        return y

    @staticmethod
    @once
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        from bitspike.cells import legendre_loops as loops

        rows, table, y = ctx.saved_tensors
        # The gradient of a mean over time is one step, expanded.
        above = (gy[:1] if gy.stride(0) == 0 else gy).contiguous().numpy()
        g = empty(torch.Size((len(rows), table.shape[1])), rows.dtype)
        seen, made = y.detach().numpy(), g.view(len(rows), CHUNK, -1).numpy()
        threads.run(lambda lo, hi: loops.from_time(lo, hi, above, seen, ctx.tanh, made), len(rows), g.numel(), lanes=1)
        g_rows = g @ table.t() if ctx.needs_input_grad[0] else None
        return g_rows, rows.t() @ g if ctx.needs_input_grad[1] else None, None, None, None


_read: Callable[..., Tensor] = _Read.apply
