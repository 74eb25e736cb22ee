"""Legendre memory: closed-form values, delay-line reconstruction, and every way to compute its states."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bitspike.cells.legendre import all_states, discrete, impulse_response, last_states
from bitspike.errors import BitspikeError


def delay_weights(order: int, delays: torch.Tensor) -> torch.Tensor:
    """Read-outs (R, d) of delays r in [0, 1] of the window: row r holds the Legendre polynomials P_i(2r - 1)."""
    return torch.from_numpy(np.polynomial.legendre.legvander(2 * delays.double().numpy() - 1, order - 1))


def loop(u: Tensor, order: int, window: float) -> Tensor:
    """m_t = Abar m_{t-1} + Bbar u_t, step by step in float64."""
    a, b = discrete(order, window)
    m = torch.zeros(*u.shape[1:], order, dtype=torch.float64)
    states = []
    for u_t in u.double():
        m = m @ a.t() + u_t.unsqueeze(-1) * b
        states.append(m)
    return torch.stack(states)


def test_the_discrete_memory_has_the_published_values() -> None:
    a, b = discrete(4, 10)
    assert torch.allclose(a[0], torch.tensor([0.89422, -0.08366, -0.07958, -0.03979], dtype=torch.float64), atol=1e-5)
    assert torch.allclose(b, torch.tensor([0.10578, -0.25098, 0.39788, -0.27853], dtype=torch.float64), atol=1e-5)
    radius = torch.linalg.eigvals(discrete(256, 784)[0]).abs().max()
    assert float(radius) == pytest.approx(0.97588, abs=1e-4)


@pytest.mark.parametrize("method", ["fft", "chunks"])
@pytest.mark.parametrize(("steps", "order"), [(1, 3), (31, 5), (32, 5), (100, 8), (33, 1)])
def test_states_by_products_and_by_transform_are_those_of_the_loop(method: str, steps: int, order: int) -> None:
    u = torch.randn(steps, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = all_states(u, order, 20.0, method)
    assert torch.allclose(found, loop(u, order, 20.0), atol=1e-9)
    for last in {1, min(4, steps), steps}:
        assert torch.allclose(last_states(u, order, 20.0, last), found[steps - last :], atol=1e-9)


def test_states_of_the_paper_size_agree_in_float32() -> None:
    u = torch.rand(784, 2, 1, generator=torch.Generator().manual_seed(0))
    expected = loop(u, 256, 784.0)
    for found in (all_states(u, 256, 784.0, "chunks"), all_states(u, 256, 784.0, "fft")):
        assert float((found - expected).abs().max()) < 1e-4
    assert float((last_states(u, 256, 784.0, 3) - expected[-3:]).abs().max()) < 1e-4


def test_a_memory_reconstructs_its_input_at_every_delay() -> None:
    window, steps = 100, 400
    u = torch.sin(torch.arange(steps, dtype=torch.float64) * 2 * math.pi / 80).view(-1, 1, 1)
    # Held input and window ends smear by about half a step.
    delays = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    found = all_states(u, 12, window)[-1, 0, 0] @ delay_weights(12, delays).t()
    expected = u[steps - 1 - (delays * window).long(), 0, 0]
    assert float((found - expected).abs().max()) < 0.06
    coarse = all_states(u, 2, window)[-1, 0, 0] @ delay_weights(2, delays).t()
    assert float((coarse - expected).abs().max()) > 0.5


def test_read_outs_are_shifted_legendre_polynomials() -> None:
    r = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    x = 2 * r - 1
    expected = torch.stack([torch.ones_like(x), x, (3 * x**2 - 1) / 2, (5 * x**3 - 3 * x) / 2], -1)
    assert torch.allclose(delay_weights(4, r), expected, atol=1e-12)


def test_the_impulse_response_is_what_an_impulse_leaves() -> None:
    u = torch.zeros(7, 1, 1, dtype=torch.float64)
    u[0] = 1
    assert torch.allclose(loop(u, 5, 9.0)[:, 0, 0], impulse_response(5, 9.0, 7), atol=1e-12)


def test_what_cannot_be_is_refused_in_one_line() -> None:
    u = torch.zeros(5, 1, 1)
    for call in (
        lambda: discrete(0, 5.0),
        lambda: discrete(3, 0.0),
        lambda: all_states(u, 3, 5.0, "magic"),
        lambda: last_states(u, 3, 5.0, 6),
    ):
        with pytest.raises(BitspikeError, match=r"got .*, wanted"):
            call()
