"""The LMU's loop over time with a memory that is not quantised: C steps of memory in one product.

In a chunk that starts after m_a, with h_l = Abar^l Bbar, what step k reads of the memory is

    W_m m_{a+k} = W_m Abar^{k+1} m_a + sum_{j<=k} u_{a+j} W_m h_{k-j}      e_m m_{a+k-1} likewise, one power less

so that no step multiplies by Abar or W_m: the first terms of all C steps are one product with m_a, the second are a
few multiples of fixed vectors. A step is left with W_h h and a product with Abar^C comes once per chunk. The adjoint
goes the same way back: gu_{a+j} gathers (W_m h_{k-j}) ga_{a+k} from later steps of its chunk and h_{C-1-j} mu from
mu = dL/dm at the chunk's end, and the gradient of W_m is that of its C products with powers of Abar.

Arrays over time are chunks of examples of steps, (n, b, C, *), the last chunk filled up with zeros.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bitspike.cells import lmu_loops as loops
from bitspike.cells.lmu_cell import Before, Cell, End, Start, Total, Weights
from bitspike.kernels.cpu.buffers import empty
from bitspike.kernels.cpu.half import array

CHUNK = 16
GROUP = 8  # chunks whose gradients enter that of the memory's weights together


class Responses(NamedTuple):
    """Of the memory alone. powers: (d, C, d), its k-th slice the transpose of Abar^(k+1); impulse: h_l, (C, d)."""

    powers: Tensor
    impulse: Tensor


class Tables(NamedTuple):
    """Of memory and weights, with V = H + K values a step: W_m m and e_m m.

    memory: (K d, C V), what m_a gives to all steps; lags: (C, K, V), what u gives l steps later; own: (H, V), what h
    gives to the next step; inputs: (F + 1, V), of x and the bias.
    """

    memory: Tensor
    lags: Tensor
    own: Tensor
    inputs: Tensor


class Kept(NamedTuple):
    """For the adjoint: x with a column of ones (n, b, C, F + 1); h before each step, and after the last (n + 1, b, C,
    H); tanh's slope (n, b, C, H), or nothing where h is exact; m_a and u of each chunk (n, b, K d + K C)."""

    x: Tensor
    h: Tensor
    slope: Tensor
    states: Tensor


_recent: list[tuple[Tensor, Tensor, tuple[int, int], Responses]] = []


def serves(cell: Cell, steps: int, batch: int) -> bool:
    """Whether nothing is quantised or clipped, and the sequence long enough to pay for the tables."""
    bounds = bool(torch.isinf(cell.memory_bound).all() & torch.isinf(cell.hidden_bound).all())
    quantised = cell.memory_dt is not None or cell.hidden_dt is not None
    return bounds and not quantised and steps * batch >= 2 * CHUNK * len(cell.hidden_bound)


def responses(a: Tensor, b: Tensor) -> Responses:
    """Powers of Abar, from float64; those of the last few memories are kept."""
    # Nobody knows whether a tensor of inference mode has changed.
    versions = None if a.is_inference() or b.is_inference() else (a._version, b._version)
    for known, of_b, then, found in _recent:
        if known is a and of_b is b and then == versions:
            return found
    power, column = a.double(), b.double()
    powers, impulse = [power], [column]
    for _ in range(CHUNK - 1):
        powers.append(powers[-1] @ power)
        impulse.append(power @ impulse[-1])
    carried = torch.stack([p.t() for p in powers], 1)
    found = Responses(carried.to(a.dtype).contiguous(), torch.stack(impulse).to(a.dtype))
    if versions is not None:
        _recent.insert(0, (a, b, versions, found))
        del _recent[4:]
    return found


def tables(cell: Cell, w: Weights) -> Tables:
    """From the weights of this step of training."""
    powers, impulse = responses(cell.a, cell.b)
    d, hidden, signals = len(cell.b), len(w.bias), len(w.e_m)
    values = hidden + signals
    memory = powers.new_empty(signals * d, CHUNK, values)
    lags = powers.new_zeros(CHUNK, signals, values)
    for s in range(signals):
        part = slice(s * d, (s + 1) * d)
        to_hidden, to_signal = w.w_m[:, part], w.e_m[:, part]
        memory[part, :, :hidden] = (powers.view(-1, d) @ to_hidden.t()).view(d, CHUNK, hidden)
        memory[part, 0, hidden:] = to_signal.t()
        memory[part, 1:, hidden:] = powers[:, :-1] @ to_signal.t()
        lags[:, s, :hidden] = impulse @ to_hidden.t()
        lags[1:, s, hidden:] = impulse[:-1] @ to_signal.t()
    bias = torch.cat([w.bias, w.bias.new_zeros(signals)]).unsqueeze(0)
    return Tables(
        memory.flatten(1), lags, torch.cat([w.w_h, w.e_h]).t().contiguous(),
        torch.cat([torch.cat([w.w_x, w.e_x]).t(), bias]),
    )  # fmt: skip


def forward(
    cell: Cell, start: Start, w: Weights, table: Tables, x: Tensor, y: Tensor, watched: bool
) -> tuple[End, Kept]:
    """Fills y (last, b, H), the final hidden states. watched: all memory states are handed back, not the last alone."""
    steps, batch, inputs = x.shape
    hidden, signals, d = len(w.bias), len(w.e_m), len(cell.b)
    values, units, chunks = hidden + signals, signals * d, -(-steps // CHUNK)
    dtype, low = x.dtype, cell.products
    same = low == dtype
    padded = x.new_zeros(chunks * CHUNK, batch, inputs + 1)
    padded[:steps, :, :inputs], padded[:steps, :, inputs] = x, 1
    xs = padded.view(chunks, CHUNK, batch, inputs + 1).transpose(1, 2).contiguous()
    h = empty((chunks + 1, batch, CHUNK, hidden), low)
    slope = empty((0, 1, 1) if same else (chunks, batch, CHUNK, hidden), low)
    states = x.new_zeros(chunks, batch, units + signals * CHUNK)
    h[-2], h[0, :, 0], states[0, :, :units] = 0, start.h, start.m
    last_m = torch.empty(batch, units, dtype=dtype)
    z, z_low = (torch.empty(batch, CHUNK * values, dtype=kind) for kind in (dtype, low))
    by_h, now = torch.empty(batch, values, dtype=low), torch.empty(batch, hidden, dtype=dtype)
    memory, own = table.memory.to(low), table.own.to(low)
    powers, impulse = responses(cell.a, cell.b)
    n_by_h, n_z, n_now = array(by_h), array(z.view(batch, CHUNK, values)), array(now)
    n_h, n_slope, n_lags = array(h), array(slope), array(table.lags)
    n_u = array(states[:, :, units:].unflatten(2, (signals, CHUNK)))
    first = steps - len(y)
    for c in range(chunks):
        m = states[c, :, :units]
        torch.mm(xs[c].flatten(0, 1), table.inputs, out=z.view(-1, values))
        if same:
            z.addmm_(m, memory)
        else:
            z.add_(torch.mm(m.to(low), memory, out=z_low))
        each, size = h[c].unbind(1), min(CHUNK, steps - c * CHUNK)
        for k in range(size):
            torch.mm(each[k], own, out=by_h)
            t = c * CHUNK + k + 1
            steep = n_slope if same else n_slope[c]
            loops.chunk_step(k, n_by_h, n_z, n_lags, n_u[c], n_now, t % CHUNK, n_h[t // CHUNK], steep)
            if t > first:
                y[t - first - 1].copy_(now)
        after = last_m if c + 1 == chunks else states[c + 1, :, :units]
        _advance(after, states[c], powers[:, size - 1], impulse[:size].flip(0))
    all_m = _replay(cell, states, steps) if watched else last_m.unsqueeze(0)
    end = End(all_m, *(part.clone() for part in (start.held, start.memory_carry, start.hidden_carry)))
    return end, Kept(xs, h, slope, states)


def _advance(after: Tensor, states: Tensor, power: Tensor, impulse: Tensor) -> None:
    """after (b, K d) = the memory after `states`, one step for each row of impulse (C', d), the longest lag first."""
    size, d = impulse.shape
    signals = after.shape[1] // d
    u = states[:, after.shape[1] :].unflatten(1, (signals, CHUNK))
    for s in range(signals):
        part = slice(s * d, (s + 1) * d)
        torch.addmm(u[:, s, :size] @ impulse, states[:, part], power, out=after[:, part])


def _replay(cell: Cell, states: Tensor, steps: int) -> Tensor:
    """All memory states (T, b, K d), for somebody who looks at them."""
    chunks, batch, _ = states.shape
    d, signals = len(cell.b), states.shape[2] // (len(cell.b) + CHUNK)
    u = states[:, :, signals * d :].view(chunks, batch, signals, CHUNK)
    m, made = states[0, :, : signals * d].reshape(batch, signals, d), []
    for t in range(steps):
        m = m @ cell.a.t() + u[t // CHUNK, :, :, t % CHUNK].unsqueeze(-1) * cell.b
        made.append(m.flatten(1))
    return torch.stack(made)


class Sums(NamedTuple):
    """Of a slice: gradients of `Tables.own`, transposed, (V, H), and of `Tables.inputs` (F + 1, V); and the products of
    each step's gradients with the chunk's m_a and u, (C V, K d + K C)."""

    own: Tensor
    inputs: Tensor
    memory: Tensor


def backward(
    cell: Cell, kept: Kept, table: Tables, gy: Tensor, g_end: Tensor, gx: Tensor | None, before: Before | None,
    steps: int,
) -> Sums:  # fmt: skip
    """From gy (last, b, H), and g_end (b, K d) of the memory behind the last step. Fills gx (T, b, F), the input's
    gradient, and those of the start, unless None."""
    chunks, batch, _, _ = kept.x.shape
    hidden = kept.h.shape[3]
    dtype, low, d = gy.dtype, cell.products, len(cell.b)
    same, values = low == dtype, table.own.shape[1]
    signals, inputs = values - hidden, table.inputs.shape[0] - 1
    powers, impulse = responses(cell.a, cell.b)
    own_t, memory_t = table.own.to(low).t().contiguous(), table.memory.to(low).t()
    # Gradients of the values, kept for a group of chunks.
    g = torch.empty(min(GROUP, chunks), batch, CHUNK, values, dtype=low)
    gu, mu = torch.empty(batch, signals, CHUNK, dtype=dtype), g_end
    by_next, row = torch.zeros(batch, hidden, dtype=low), torch.empty(hidden, dtype=dtype)
    n_by_next, n_row, n_g, n_gu, n_lags = array(by_next), array(row), array(g), array(gu), array(table.lags)
    n_gy, n_nothing = array(gy), array(torch.zeros(batch, hidden, dtype=dtype))
    n_h, n_slope = array(kept.h), array(kept.slope)
    sums = [Total(rows, columns, dtype) for rows, columns in (
        (values, hidden), (inputs + 1, values), (CHUNK * values, kept.states.shape[2]))]  # fmt: skip
    first, later = steps - len(gy), None
    for c in reversed(range(chunks)):
        at, size = c % GROUP, min(CHUNK, steps - c * CHUNK)
        g[at, :, size:] = 0
        for s in range(signals):
            torch.mm(mu[:, s * d : (s + 1) * d], impulse[:size].flip(0).t(), out=gu[:, s, :size])
        each = g[at].unbind(1)
        for k in reversed(range(size)):
            t = c * CHUNK + k
            if later is not None:
                torch.mm(later, own_t, out=by_next)
            place, h = ((t + 1) % CHUNK, n_h[(t + 1) // CHUNK]) if same else (k, n_slope[c])
            above = n_gy[t - first] if t >= first else n_nothing
            loops.chunk_gradient(k, n_by_next, above, place, h, not same, n_lags, n_gu, n_row, n_g[at])
            later = each[k]
        grads = g[at].flatten(0, 1)
        back = torch.mm(g[at].view(batch, -1), memory_t).to(dtype)
        for s in range(signals):
            part = slice(s * d, (s + 1) * d)
            back[:, part].addmm_(mu[:, part], powers[:, size - 1].t())
        mu = back
        sums[0].add(grads, kept.h[c].flatten(0, 1))
        sums[1].add(kept.x[c].flatten(0, 1).to(low), grads)
        if gx is not None:
            found = (grads.to(dtype) @ table.inputs[:inputs].t()).view(batch, CHUNK, inputs)
            gx[c * CHUNK : c * CHUNK + size] = found[:, :size].transpose(0, 1)
        if at == 0:
            count = min(GROUP, chunks - c)
            together = kept.states[c : c + count].flatten(0, 1).to(low)
            sums[2].add(g[:count].view(count * batch, -1), together)
    if before is not None and later is not None:
        before.h.copy_(torch.mm(later, own_t, out=by_next))
        before.m.copy_(mu)
    return Sums(*(total.sum for total in sums))


def gradients(cell: Cell, w: Weights, sums: Sums) -> Weights:
    """The weights' gradients from the sums over all slices."""
    powers, impulse = responses(cell.a, cell.b)
    d, hidden, signals = len(cell.b), len(w.bias), len(w.e_m)
    by_step = sums.memory.view(CHUNK, hidden + signals, -1)
    from_m = by_step[:, :, : signals * d].unflatten(2, (signals, d))
    from_u = by_step[:, :, signals * d :].unflatten(2, (signals, CHUNK))
    # By lag l: the sum over steps k of what step k has with u of step k - l.
    lags = torch.stack([from_u.diagonal(-l, 0, 3).sum(-1) for l in range(CHUNK)])  # (C, V, K)
    stacked = powers.transpose(0, 1).flatten(0, 1)  # (C d, d)
    g_wm, g_em = torch.empty_like(w.w_m), torch.empty_like(w.e_m)
    for s in range(signals):
        part = slice(s * d, (s + 1) * d)
        to_hidden = from_m[:, :hidden, s].transpose(0, 1).flatten(1)
        to_signal = from_m[:, hidden:, s].transpose(0, 1)
        g_wm[:, part] = to_hidden @ stacked + lags[:, :hidden, s].t() @ impulse
        g_em[:, part] = to_signal[:, 0] + to_signal[:, 1:].flatten(1) @ stacked[:-d]
        g_em[:, part] += lags[1:, hidden:, s].t() @ impulse[:-1]
    return Weights(
        sums.inputs[:-1, hidden:].t(), sums.own[hidden:], g_em, sums.inputs[:-1, :hidden].t(), sums.own[:hidden], g_wm,
        sums.inputs[-1, :hidden],
    )  # fmt: skip
