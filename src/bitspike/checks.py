"""What somebody hands in, checked before spikes hide what is wrong with it."""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.errors import refuse


def check_finite(field: str, x: Tensor) -> None:
    """Refuse NaN and infinite values, by the position of the first."""
    if not x.is_floating_point() or bool(torch.isfinite(x).all()):
        return
    position = tuple(int(i) for i in (~torch.isfinite(x)).nonzero()[0])
    refuse(field, f"{x[position].item()} at {position}", "finite values")
