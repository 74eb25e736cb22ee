from __future__ import annotations

import torch

from bitspike.data import rescale, restore
from bitspike.data.normalise import NONE, apply, fitted

MINMAX = {"kind": "minmax", "low": [-1.0, 0.0], "high": [3.0, 10.0], "clip": False}
STANDARD = {"kind": "standard", "mean": [5.0, 6.0], "std": [2.0, 0.0]}


def test_restore_undoes_apply_in_float64() -> None:
    x = torch.tensor([[1.0, 5.0], [3.0, 0.0]], dtype=torch.float64)
    assert apply(x, MINMAX).tolist() == [[0.5, 0.5], [1, 0]]
    for normalisation in (MINMAX, STANDARD, NONE):
        back = restore(apply(x, normalisation), normalisation)
        assert back.dtype == torch.float64
        assert torch.equal(back, x)
    assert restore(torch.tensor([2.0]), None).dtype == torch.float64


def test_rescale_undoes_the_scale_alone() -> None:
    spread = torch.tensor([[0.5, 0.25]])
    for normalisation, wanted in ((MINMAX, [2, 2.5]), (STANDARD, [1, 0.25]), (NONE, [0.5, 0.25]), (None, [0.5, 0.25])):
        out = rescale(spread, normalisation)
        assert out.dtype == torch.float64
        assert out.tolist() == [wanted]


def test_a_constant_feature_is_0_and_the_smallest_numbers_have_a_spread() -> None:
    x = torch.full((38, 1), 0.1, dtype=torch.float64)
    constant = fitted(x, "standard", per_feature=True, clip=False)
    assert constant == {"kind": "standard", "mean": [0.1], "std": [0.0]}
    assert apply(x, constant).eq(0).all()
    tiny = torch.tensor([[1e-300], [-1e-300], [1e-300], [-1e-300]], dtype=torch.float64)
    spread = fitted(tiny, "standard", per_feature=True, clip=False)
    assert apply(tiny, spread).flatten().tolist() == [1, -1, 1, -1]
