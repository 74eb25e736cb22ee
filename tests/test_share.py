"""Wilson's interval, of numbers and of arrays."""

from __future__ import annotations

import numpy as np
import pytest

from bitspike.share import wilson


def test_wilson_by_hand() -> None:
    # 8 of 10: (0.8 + 0.19208 -+ 1.96 sqrt(0.016 + 0.009604)) / 1.38416
    assert wilson(0.8, 10) == pytest.approx((0.490159, 0.943319), abs=1e-5)
    assert wilson(1.0, 20) == pytest.approx((1 / (1 + 1.96**2 / 20), 1.0))
    assert 0 <= wilson(0.0, 20)[0] < 1e-12
    low, high = wilson(np.array([0.8, 0.0, 1.0]), np.array([10.0, 5.0, 5.0]))
    assert low == pytest.approx([0.490159, 0.0, 0.565509], abs=1e-5)
    assert high == pytest.approx([0.943319, 0.434491, 1.0], abs=1e-5)
