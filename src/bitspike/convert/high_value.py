"""How large values get, but for a few: what a unit's range is set by."""

from __future__ import annotations

import math

from torch import Tensor


def high_value(rows: Tensor, share: float) -> Tensor:
    """The value that `share` of each row lies below; the row's largest where that is 0."""
    most = max(1, math.ceil((1 - share) * rows.shape[1]))
    top = rows.topk(most, 1).values
    return top[:, -1].where(top[:, -1] > 0, top[:, 0])
