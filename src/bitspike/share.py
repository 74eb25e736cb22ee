"""How sure a share is that was seen in so many trials."""

from __future__ import annotations

from typing import Any


def wilson(share: Any, count: Any, z: float = 1.96) -> tuple[Any, Any]:
    """Wilson's interval (1927) for a share seen in `count` trials: lower and upper end, 95 % by default.

    With p the share and n the count, (p + z^2/2n -+ z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n); numbers or arrays.
    """
    middle, whole = share + z * z / (2 * count), 1 + z * z / count
    half = z * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    low = (middle - half) / whole
    # What rounding leaves below 0 is 0.
    return (low + abs(low)) / 2, (middle + half) / whole
