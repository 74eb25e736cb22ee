"""vmap rules of the two operators: a mapped dimension is one more dimension beside the batch.

Neurons do not see each other, so C clients run as C times as many neurons: x (T, C, B, *features), state
(C, B, *features), constants that broadcast to (C, B, *features).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bitspike.kernels.operator import scan, scan_adjoint

Dim = int | None


def fold(size: int, value: Tensor, dim: Dim, at: int) -> Tensor:
    """`value` with the mapped dimension at position `at`; expanded if it was not mapped."""
    if dim is None:
        return value.unsqueeze(at).expand(*value.shape[:at], size, *value.shape[at:])
    return value.movedim(dim, at)


def fold_constant(size: int, value: Tensor, dim: Dim, ndim: int) -> Tensor:
    """A constant that broadcasts to (C, B, *features); ndim: dimensions of (B, *features)."""
    value = fold(size, value, dim, 0)
    return value.reshape(size, *(1,) * (ndim - value.ndim + 1), *value.shape[1:])


def fold_all(size: int, values: Sequence[Tensor], dims: Sequence[Dim], at: int) -> list[Tensor]:
    """`fold` of each."""
    return [fold(size, value, dim, at) for value, dim in zip(values, dims, strict=True)]


def fold_forward(
    size: int, x: Tensor, x_dim: Dim, state: Sequence[Tensor], state_dims: Sequence[Dim],
    constants: Sequence[Tensor], constants_dims: Sequence[Dim],
) -> tuple[Tensor, list[Tensor], list[Tensor]]:  # fmt: skip
    """Input, state and constants of one run over all mapped indices; shared constants stay shared."""
    x = fold(size, x, x_dim, 1)
    values = [
        c if d is None else fold_constant(size, c, d, x.ndim - 2)
        for c, d in zip(constants, constants_dims, strict=True)
    ]
    return x, fold_all(size, state, state_dims, 0), values


def _scan_mapped(
    info: Any, dims: Any, x: Tensor, state: Any, constants: Any, key: str, back_end: str, wants: list[int]
) -> Any:
    x_dim, state_dims, constants_dims = dims[:3]
    folded = fold_forward(info.batch_size, x, x_dim, state, state_dims, constants, constants_dims)
    found = scan(*folded, key, back_end, wants)
    return found, [1, *(0 for _ in state), *(1 for _ in found[1 + len(state) :])]


def _scan_adjoint_mapped(
    info: Any, dims: Any, gy: Tensor, final: Any, x: Tensor, y: Tensor, keep: Any, state: Any, constants: Any,
    key: str, back_end: str, wants: list[int], given: list[int],
) -> Any:  # fmt: skip
    """Constants that are shared still get one gradient per mapped index; autograd sums them if it must."""
    gy_dim, final_dims, x_dim, y_dim, keep_dims, state_dims, constants_dims = dims[:7]
    size = info.batch_size
    gy = fold(size, gy, gy_dim, 1)

    def over_time(value: Tensor, dim: Dim) -> Tensor:
        return value if value.numel() == 0 else fold(size, value, dim, 1)

    values = [fold_constant(size, c, d, gy.ndim - 2) for c, d in zip(constants, constants_dims, strict=True)]
    found = scan_adjoint(
        gy, fold_all(size, final, final_dims, 0), over_time(x, x_dim), over_time(y, y_dim),
        fold_all(size, keep, keep_dims, 1), fold_all(size, state, state_dims, 0), values, key, back_end, wants, given,
    )  # fmt: skip
    first = len(found) - sum(wants[3:])
    own = [c.shape if d is None else c.movedim(d, 0).shape[1:] for c, d in zip(constants, constants_dims, strict=True)]
    asked = [shape for shape, want in zip(own, wants[3:], strict=True) if want]
    shares = [gradient.reshape(size, *shape) for gradient, shape in zip(found[first:], asked, strict=True)]
    return [*found[:first], *shares], [*([1] if wants[1] else []), *(0 for _ in found[int(wants[1]) :])]


torch.library.register_vmap("bitspike::scan", _scan_mapped)
torch.library.register_vmap("bitspike::scan_adjoint", _scan_adjoint_mapped)
