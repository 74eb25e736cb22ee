"""Small LMUs for tests, and the gradients of a run of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bitspike.cells import LMU
from bitspike.neurons import TemporalQuantiser


def made(
    back_end: str, dtype: torch.dtype, hybrid: bool, own_leak: bool = False, spread: float = 0.3, **options: Any
) -> LMU:
    """Two signals of order 8, 12 hidden units, weights all moved away from 0 by about `spread`."""
    memory = TemporalQuantiser(torch.full((16,), 9.0), keys=(1, "memory"), limit=6) if hybrid else None
    spikes = TemporalQuantiser(2.0, "tanh", keys=(1, "hidden"), limit=2) if hybrid else None
    cell = LMU(3, 12, 8, 10.0, 2, True, memory, spikes, own_leak, back_end=back_end, **options)
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in cell.parameters():
            weight.add_(torch.randn(weight.shape, generator=noise) * spread)
    return cell.to(dtype)


def gradients(cell: LMU, x: Tensor, last: int) -> tuple[Tensor, list[Tensor]]:
    """Outputs of the `last` steps; gradients of a weighted sum of them, of x and of the parameters that get one."""
    x = x.clone().requires_grad_()
    y, _ = cell.run(x, last=last)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(3)).to(y.dtype)
    (y * weights).sum().backward()
    found = [x.grad, *(p.grad for p in cell.parameters())]
    return y.detach(), [g for g in found if g is not None]
