"""Images as sequences of pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitspike.coding import PixelSequence
from bitspike.errors import BitspikeError

X = torch.arange(2 * 12, dtype=torch.float32).view(2, 1, 3, 4)
WHO = torch.arange(2)


def test_pixel_by_pixel_and_row_by_row() -> None:
    single = PixelSequence((1, 3, 4))
    assert single.steps == 12
    assert single.features((1, 3, 4)) == (1,)
    assert torch.equal(single(X, WHO)[:, 1, 0], torch.arange(12, 24.0))
    rows = PixelSequence((1, 3, 4), group=4)
    assert rows.steps == 3
    assert rows.features((1, 3, 4)) == (4,)
    assert torch.equal(rows(X, WHO)[:, 0], X[0, 0])


def test_the_permutation_is_numpys_and_fixed() -> None:
    shuffled = PixelSequence((1, 28, 28), order="permuted")
    order = np.random.RandomState(0).permutation(784)
    x = torch.arange(784.0).view(1, 1, 28, 28)
    assert shuffled(x, WHO[:1])[:, 0, 0].tolist() == order.tolist()
    assert order[:5].tolist() == [693, 85, 647, 392, 765]
    other = PixelSequence((1, 28, 28), order="permuted", permutation=1)
    assert not torch.equal(other(x, WHO[:1]), shuffled(x, WHO[:1]))


def test_what_cannot_be_is_refused_in_one_line() -> None:
    for call in (
        lambda: PixelSequence((1, 3, 4), group=5),
        lambda: PixelSequence((1, 3, 4), order="spiral"),
        lambda: PixelSequence((1, 3, 4))(torch.zeros(2, 1, 3, 3), WHO),
    ):
        with pytest.raises(BitspikeError, match=r"got .*, wanted"):
            call()
