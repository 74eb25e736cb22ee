"""How sure a share is that was seen in so many trials."""

from __future__ import annotations

Z = 1.96


def wilson(share: float, count: int, z: float = Z) -> tuple[float, float]:
    """Wilson's interval (1927) for a share seen in `count` trials: lower and upper end, 95 % by default.

    With p the share and n the count, (p + z^2/2n -+ z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n).
    """
    middle = share + z * z / (2 * count)
    half = z * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    whole = 1 + z * z / count
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)
