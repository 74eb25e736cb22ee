"""How good, and how sure, predicted values are.

    rmse   sqrt(mean (m - y)^2)
    nll    mean [ ln(s sqrt(2 pi)) + (m - y)^2 / (2 s^2) ]        s = max(spread, floor)

Means over examples and dimensions; `nll` in nats per value.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bitspike.errors import refuse


def regression(mean: Tensor, spread: Tensor, targets: Tensor, *, floor: float | Tensor = 1e-3) -> dict[str, float]:
    """rmse and Gaussian nll of mean and spread (standard deviation), all (N, D) like the targets.

    floor: smallest standard deviation, in units of the targets, of all values or of each (D,); without it one draw
    (spread 0) has no NLL.
    """
    given = {"mean": mean, "spread": spread, "targets": targets}
    for name, x in given.items():
        if not isinstance(x, Tensor) or x.is_complex() or x.dtype == torch.bool or x.device.type == "meta":
            came = f"{x.dtype} on '{x.device.type}'" if isinstance(x, Tensor) else type(x).__name__
            refuse(f"regression {name}", came, "a tensor of real numbers (N, D)")
    if mean.numel() == 0 or not mean.shape == spread.shape == targets.shape:
        came = f"mean {tuple(mean.shape)}, spread {tuple(spread.shape)}, targets {tuple(targets.shape)}"
        refuse("regression", came, "three tensors of one shape (N, D)")
    least = torch.as_tensor(floor, dtype=torch.float64)
    if least.shape not in ((), mean.shape[1:]) or not bool((least > 0).all()):
        refuse("regression floor", floor, "a positive number")
    m, s, y = (x.detach().cpu().double() for x in (mean, spread, targets))
    for name, x in (("mean", m), ("spread", s), ("targets", y)):
        if not torch.isfinite(x).all():
            refuse(f"regression {name}", "a value that is not finite", "finite numbers")
    if s.min() < 0:
        refuse("regression spread", s.min().item(), "standard deviations, 0 or more")
    s = torch.maximum(s, least)
    error = m - y
    nll = s.log() + 0.5 * math.log(2 * math.pi) + error.square() / (2 * s.square())
    return {"rmse": error.square().mean().sqrt().item(), "nll": nll.mean().item()}
