"""Sets with an official test part: seeded, stratified subsets; the training part gives validation."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.data import normalise, splits
from bitspike.data.base import DataSet, Split

HIGHEST = 255.0


Pair = tuple[Tensor, Tensor]


class Parts(NamedTuple):
    """Row numbers of what is used of the official parts, the split of the first within `trained`, and what that is."""

    trained: Tensor
    inner: splits.Parts
    tested: Tensor
    subset: str | None


def parts_of(
    name: str, y: Tensor, y_test: Tensor, sizes: tuple[int, int], seed: int, validation: float, train_size: int | None,
    test_size: int | None,
) -> Parts:  # fmt: skip
    """Of labels y (N,) and y_test; sizes: of the official parts."""
    trained = splits.subset(y, train_size, seed, f"{name} train_size")
    inner = splits.split(y[trained], seed, validation, None, name)
    tested = splits.subset(y_test, test_size, seed, f"{name} test_size")
    whole = (len(trained), len(tested)) == sizes
    return Parts(trained, inner, tested, None if whole else f"subset {len(trained):,}/{len(tested):,}")


def images(
    name: str, trained: Pair, tested: Pair, sizes: tuple[int, int], asked: dict[str, Any], fitted: Any, **more: Any
) -> DataSet:
    """A data set of pixels uint8 (N, C, H, W) and labels (N,); in [0, 1], or as `fitted` has it of the training part.

    sizes: of the official parts; asked: of `parts_of`; more: classes, digests and notes of the data set.
    """
    (x, y), (x_test, y_test) = trained, tested
    parts = parts_of(name, y, y_test, sizes, **asked)
    form = normalise.scaled_from(HIGHEST) if fitted is None else fitted(x[parts.trained[parts.inner.train]])

    def made(x: Tensor, y: Tensor, chosen: Tensor, first: int = 0) -> Split:
        # Pixels become floats only once rows are chosen: a small subset then needs little memory.
        values = x[chosen].float()
        values = values.div_(HIGHEST) if fitted is None else normalise.apply(values, form)
        return Split(values, y[chosen], first + chosen)

    train, validation = (made(x, y, parts.trained[rows]) for rows in (parts.inner.train, parts.inner.validation))
    more |= {"shape": tuple(x.shape[1:]), "steps": None, "input": "image", "normalisation": form}
    test = made(x_test, y_test, parts.tested, len(y))
    return DataSet(name, "classification", train, validation, test, subset=parts.subset, **more)


DIGITS = tuple(str(digit) for digit in range(10))


def joined(parts: Any) -> Pair:
    """Pairs (x, y) as one."""
    xs, ys = zip(*parts, strict=True)
    return torch.cat(xs), torch.cat(ys)
