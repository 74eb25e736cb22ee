"""Sets with an official test part: seeded, stratified subsets; the training part gives validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.data import normalise, splits
from bitspike.data.base import DataSet, Split

HIGHEST = 255.0


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
    name: str,
    trained: tuple[Tensor, Tensor],
    tested: tuple[Tensor, Tensor],
    classes: tuple[str, ...],
    digests: dict[str, str],
    sizes: tuple[int, int],
    notes: tuple[str, ...] = (),
    fitted: Callable[[Tensor], dict[str, Any]] | None = None,
    **sizes_asked: Any,
) -> DataSet:
    """A data set of pixels uint8 (N, C, H, W) and labels (N,); in [0, 1], or as `fitted` says of the training part."""
    (x, y), (x_test, y_test) = trained, tested
    parts = parts_of(name, y, y_test, sizes, **sizes_asked)
    form = normalise.scaled_from(HIGHEST) if fitted is None else fitted(x[parts.trained[parts.inner.train]])

    def made(x: Tensor, y: Tensor, chosen: Tensor, first: int = 0) -> Split:
        # Pixels become floats only once rows are chosen: a small subset then needs little memory.
        values = x[chosen].float()
        values = values.div_(HIGHEST) if fitted is None else normalise.apply(values, form)
        return Split(values, y[chosen], first + chosen)

    return DataSet(
        name=name,
        kind="classification",
        train=made(x, y, parts.trained[parts.inner.train]),
        validation=made(x, y, parts.trained[parts.inner.validation]),
        test=made(x_test, y_test, parts.tested, len(y)),
        classes=classes,
        shape=tuple(x.shape[1:]),
        steps=None,
        digests=digests,
        input="image",
        normalisation=form,
        subset=parts.subset,
        notes=notes,
    )


DIGITS = tuple(str(digit) for digit in range(10))


def joined(parts: Any) -> tuple[Tensor, Tensor]:
    """Pairs (x, y) as one."""
    xs, ys = zip(*parts, strict=True)
    return torch.cat(xs), torch.cat(ys)
