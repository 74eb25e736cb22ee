"""The float64 reference of a LIF layer and its gradient, written out by hand, and the check that uses it.

    v_t = beta r_{t-1} + g x_t                    r: membrane after the reset, r_0 = 0
    s_t = 1[v_t - theta >= 0]
    r_t = v_t (1 - s_t)   or   v_t - d s_t        hard; soft with drop d

    dL/dv_t = h(v_t - theta) dL/ds_t + dL/dr_t (1 - s_t | 1)
    dL/dr_{t-1} = beta dL/dv_t,   dL/dx_t = g dL/dv_t           h(u) = 1 / (1 + |u|)^2

No gradient passes through the reset. h is the one surrogate that all the libraries offer (SuperSpike, width 1).
The membrane follows the spikes of the layer under test: one spike that rounds the other way is reported once, not
through everything it changes afterwards.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

GRADIENT = 1e-5  # largest norm-relative difference of a float32 gradient
THRESHOLD = 1e-4  # a spike may differ from the reference's only this near to the threshold


class Equation(NamedTuple):
    """A library's own LIF: decay beta, threshold theta, reset "hard" or "soft", gain g of its input, soft drop d."""

    beta: float
    theta: float = 1.0
    reset: str = "hard"
    gain: float = 1.0
    drop: float = 1.0


def surrogate(u: Tensor) -> Tensor:
    """h(u)."""
    return 1 / (1 + u.abs()) ** 2


def spikes(x: Tensor, eq: Equation) -> Tensor:
    """The spikes (T, B, *features) for currents x of that shape, in float64."""
    r, out = torch.zeros_like(x[0], dtype=torch.float64), []
    for x_t in x.double():
        v = eq.beta * r + eq.gain * x_t
        s = (v - eq.theta >= 0).double()
        r = v * (1 - s) if eq.reset == "hard" else v - eq.drop * s
        out.append(s)
    return torch.stack(out)


def along(x: Tensor, s: Tensor, gs: Tensor, eq: Equation) -> tuple[Tensor, Tensor]:
    """v - theta along given spikes s, and dL/dx for dL/ds = gs; all (T, B, *features), float64."""
    s, gs, hard = s.double(), gs.double(), eq.reset == "hard"
    u = torch.empty_like(s)
    r = torch.zeros_like(s[0])
    for t, x_t in enumerate(x.double()):
        v = eq.beta * r + eq.gain * x_t
        u[t] = v - eq.theta
        r = v * (1 - s[t]) if hard else v - eq.drop * s[t]
    gx, gr = torch.empty_like(s), torch.zeros_like(s[0])
    for t in range(len(s) - 1, -1, -1):
        gv = surrogate(u[t]) * gs[t] + (gr * (1 - s[t]) if hard else gr)
        gx[t], gr = eq.gain * gv, eq.beta * gv
    return u, gx


def check(name: str, x: Tensor, y: Tensor, gs: Tensor, gx: Tensor, eq: Equation) -> dict[str, float]:
    """Refuse a layer that did not do the work; all tensors (T, B, *features).

    It took T steps; its outputs are 0 and 1 and some are 1; each agrees with the float64 membrane unless that lies
    within THRESHOLD of theta; its gradient is within GRADIENT of the float64 one. Returns what was found.
    """
    if y.shape != x.shape:
        raise AssertionError(f"{name}: outputs {tuple(y.shape)} for currents {tuple(x.shape)}")
    if not bool(((y == 0) | (y == 1)).all()):
        raise AssertionError(f"{name}: outputs other than 0 and 1")
    rate = float(y.mean())
    if not 0.01 < rate < 0.6 or not bool(y[-1].any()):
        raise AssertionError(f"{name}: a spike rate of {rate:.3f}, or silence in the last step")
    u, expected = along(x, y, gs, eq)
    different = (u >= 0) != (y == 1)
    if bool((u[different].abs() > THRESHOLD).any()):
        raise AssertionError(f"{name}: {int(different.sum())} spikes differ from float64, some far from the threshold")
    error = float((gx.double() - expected).norm() / expected.norm())
    if not error < GRADIENT:
        raise AssertionError(f"{name}: gradient {error:.1e} away from float64 (norm-relative; at most {GRADIENT:.0e})")
    return {"rate": rate, "differing_spikes": float(different.sum()), "gradient_error": error}
