"""What somebody hands in, checked before spikes hide what is wrong with it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import refuse


def as_tensor(field: str, x: Any) -> Tensor:
    """x as a tensor; what cannot be one is refused."""
    try:
        return torch.as_tensor(x)
    except (TypeError, ValueError, RuntimeError):
        refuse(field, type(x).__name__, "a tensor or an array of numbers")


def all_finite(x: Tensor) -> bool:
    """Whether no number of x is NaN or infinite. One sum tells so, mostly: it is not finite where a number is not."""
    return math.isfinite(float(x.detach().sum())) or bool(torch.isfinite(x).all())


def check_finite(field: str, x: Tensor) -> None:
    """Refuse NaN and infinite values, by the position of the first."""
    if not x.is_floating_point() or all_finite(x):
        return
    position = tuple(int(i) for i in (~torch.isfinite(x)).nonzero()[0])
    refuse(field, f"{x[position].item()} at {position}", "finite values")


def check_share(field: str, share: object, wanted: str, least: bool = False) -> None:
    """Refuse what is no number above 0 (`least`: from 0) and up to 1."""
    number = isinstance(share, int | float) and not isinstance(share, bool)
    if not number or not (0 <= share <= 1 if least else 0 < share <= 1):  # type: ignore[operator]
        refuse(field, share, wanted)
