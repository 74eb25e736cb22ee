"""Raised cosines against values worked out by hand (mu = 1.5, D = 10) and the other family's slow decay."""

from __future__ import annotations

import pytest
import torch

from bitspike.coding.raised_cosine import raised_cosines
from bitspike.errors import BitspikeError

VALUES = """
1 0 0 0 0 0 0 0 0 0
.5 .4378 0 0 0 0 0 0 0 0
0 .9961 .2759 0 0 0 0 0 0 0
0 .5622 .9470 .3765 .0181 0 0 0 0 0
0 .0039 .7241 .9845 .6332 .2220 .0162 0 0 0
0 0 .0530 .6235 .9819 .9156 .6261 .3172 .0994 .0052
0 0 0 .0155 .3668 .7780 .9838 .9654 .7992 .5722
0 0 0 0 0 .0844 .3739 .6828 .9006 .9948
"""


def test_filters_of_the_papers() -> None:
    wanted = torch.tensor([[float(v) for v in row.split()] for row in VALUES.strip().splitlines()], dtype=torch.float64)
    found = raised_cosines(10, 8, 1.5)
    assert torch.allclose(found, wanted, atol=1e-4, rtol=0)
    # What the equation makes 0 is 0, and costs nothing.
    assert torch.equal(found == 0, wanted == 0)


def test_feedback_filters() -> None:
    assert torch.allclose(raised_cosines(10, 1, 1.0)[0, :3], torch.tensor([1, 0.2149, 0]).double(), atol=1e-4)
    slow = torch.tensor([1, 0.945, 0.866, 0.793, 0.728, 0.671, 0.62, 0.576, 0.536, 0.5]).double()
    assert torch.allclose(raised_cosines(10, 1, 0.5, "spread")[0], slow, atol=1e-3)


def test_what_is_no_filter_is_refused() -> None:
    with pytest.raises(BitspikeError, match="filter taps: got 65, wanted 1 to 64 steps"):
        raised_cosines(65, 8, 1.5)
    with pytest.raises(BitspikeError, match="filter family: got 'cosine'"):
        raised_cosines(10, 8, 1.5, "cosine")  # type: ignore[arg-type]
