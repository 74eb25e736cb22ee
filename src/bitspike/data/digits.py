"""Handwritten digits of 8 x 8 pixels, embedded in scikit-learn: 1,797 real examples of 43 writers.

Source: E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI (1998), its test part.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.data import grouped, normalise
from bitspike.data.alone import by_table
from bitspike.data.base import DataSet, Split
from bitspike.data.official import DIGITS
from bitspike.data.sources import sha256_of_arrays

HIGHEST = 16.0


def raw_digits() -> tuple[Tensor, Tensor]:
    """Pixels float32 (N, 8, 8) from 0 to `HIGHEST`, and the digits (N,)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return torch.from_numpy(bunch.images).float(), torch.from_numpy(bunch.target).long()


@by_table("digits")
def digits(*, seed: int, fold: tuple[int, int] | None, validation: float, test: float) -> DataSet:
    """x (N, 1, 8, 8) in [0, 1]; a seeded stratified split, validation being a share of what test leaves."""
    images, y = raw_digits()
    raw = images.unsqueeze(1)
    normalisation = normalise.scaled_from(HIGHEST)
    whole = Split(normalise.apply(raw, normalisation), y, torch.arange(len(y)))
    parts = grouped.divided(y, None, 0, fold, seed, validation, test, "digits")
    digests = {"digits (scikit-learn)": sha256_of_arrays(raw, y)}
    return DataSet(
        "digits", "classification", *parts.of(whole), DIGITS, (1, 8, 8), None, digests, "image", normalisation
    )
