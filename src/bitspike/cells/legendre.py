"""Legendre memory: the last `window` steps of a signal as `order` coefficients of shifted Legendre polynomials.

    theta m'(t) = A m(t) + B u(t)       A_ij = (2i+1) (-1 if i < j else (-1)^(i-j+1)),  B_i = (2i+1) (-1)^i
    m_t = Abar m_{t-1} + Bbar u_t       zero-order hold with one step as the unit of time
    u(t - r theta) ~ sum_i P_i(2r - 1) m_i(t),   0 <= r <= 1

theta: window, in steps; d: order. (Voelker, Kajic & Eliasmith, "Legendre Memory Units", NeurIPS 2019.)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.errors import refuse

CHUNK = 32  # steps; longer ones multiply more inside a chunk, shorter ones more between chunks
FFT_FROM = 1024  # order at which the transform was found faster than chunks, whose products grow with its square


def continuous(order: int) -> tuple[Any, Any]:
    """A (d, d) and B (d,) in float64, not yet divided by theta."""
    i = np.arange(order, dtype=np.float64)
    row, column = i[:, None], i[None, :]
    a = (2 * row + 1) * np.where(row < column, -1.0, (-1.0) ** (row - column + 1))
    return a, (2 * i + 1) * (-1.0) ** i


def check_memory(order: int, window: float) -> None:
    """Refuse what is no order or no window."""
    if order < 1:
        refuse("memory order", order, "1 or more")
    if not 0 < window < float("inf"):
        refuse("memory window", window, "a positive number of steps")


@lru_cache(maxsize=32)
def _discrete(order: int, window: float) -> tuple[Tensor, Tensor]:
    from scipy.linalg import expm

    a, b = continuous(order)
    block = np.zeros((order + 1, order + 1))
    block[:order, :order], block[:order, order] = a / window, b / window
    held = torch.from_numpy(expm(block))
    return held[:order, :order].clone(), held[:order, order].clone()


def discrete(order: int, window: float) -> tuple[Tensor, Tensor]:
    """Abar (d, d) and Bbar (d,) in float64, by exponentiating [[A, B], [0, 0]] / theta."""
    check_memory(order, window)
    a, b = _discrete(order, float(window))
    return a.clone(), b.clone()


@lru_cache(maxsize=8)
def impulse_response(order: int, window: float, steps: int) -> Tensor:
    """m_t for u = (1, 0, 0, ...): rows Abar^t Bbar, (steps, d) in float64."""
    a, b = discrete(order, window)
    rows = torch.empty(steps, order, dtype=torch.float64)
    m = b
    for t in range(steps):
        rows[t] = m
        m = a @ m
    return rows


def last_states(u: Tensor, order: int, window: float, last: int = 1) -> Tensor:
    """The memory's states after the `last` final steps, (last, B, K, d), for signals u (T, B, K), from zero.

    m_t = sum_s h_s u_{t-s}, h the impulse response: one product for the first of them, chunks from there on.
    """
    steps = u.shape[0]
    if not 1 <= last <= steps:
        refuse("memory states", last, f"1 to the {steps} steps of the input")
    first = steps - last + 1
    h = impulse_response(order, window, first).to(u).flip(0)
    state = torch.einsum("tbk,td->bkd", u[:first], h)
    after = _chunked(u[first:], order, window, state) if last > 1 else state.new_empty(0, *state.shape)
    return torch.cat([state.unsqueeze(0), after])


def all_states(u: Tensor, order: int, window: float, method: str = "auto") -> Tensor:
    """The memory's states after every step, (T, B, K, d), for signals u (T, B, K), from zero.

    method: "fft" (padded to twice the length), "chunks" (products with the response inside a chunk and its powers
    between chunks), "auto" (by size).
    """
    if method not in ("auto", "fft", "chunks"):
        refuse("memory method", repr(method), "'auto', 'fft' or 'chunks'")
    steps, batch, signals = u.shape
    if method == "chunks" or (method == "auto" and order < FFT_FROM):
        return _chunked(u, order, window, u.new_zeros(batch, signals, order))
    h = impulse_response(order, window, steps).to(u)
    size = 2 * steps
    spectrum = torch.fft.rfft(u, n=size, dim=0).unsqueeze(-1) * torch.fft.rfft(h, n=size, dim=0)[:, None, None]
    states: Tensor = torch.fft.irfft(spectrum, n=size, dim=0)[:steps]
    return states


@lru_cache(maxsize=8)
def chunk_tables(order: int, window: float, size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """What a chunk of C steps adds: from its input (C, C d), row j reaching step i >= j with h_{i-j}; from the state
    before it (d, C d), column block k holding the transpose of Abar^(k+1)."""
    h = impulse_response(order, window, size)
    inside = torch.zeros(size, size, order, dtype=torch.float64)
    for j in range(size):
        inside[j, j:] = h[: size - j]
    a, _ = discrete(order, window)
    powers = [a]
    for _ in range(size - 1):
        powers.append(powers[-1] @ a)
    carried = torch.stack(powers).permute(2, 0, 1).reshape(order, size * order)
    return inside.flatten(1).to(dtype), carried.to(dtype)


def _chunked(u: Tensor, order: int, window: float, state: Tensor) -> Tensor:
    """m_{a+k} = Abar^(k+1) m_a + sum_{j<=k} h_{k-j} u_{a+j}, chunk by chunk, from `state` (B, K, d)."""
    steps, batch, signals = u.shape
    size = min(steps, CHUNK)
    m, parts = state.reshape(batch * signals, order), []
    for start in range(0, steps, size):
        part = u[start : start + size]
        inside, carried = (c.to(u.device) for c in chunk_tables(order, window, len(part), u.dtype))
        rows = part.reshape(len(part), -1).t()
        states = torch.addmm(rows @ inside, m, carried).view(-1, len(part), order)
        m = states[:, -1]
        parts.append(states.transpose(0, 1))
    return torch.cat(parts).view(steps, batch, signals, order)
