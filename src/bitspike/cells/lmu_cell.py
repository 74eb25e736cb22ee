"""What both loops of the LMU read and hand back, and their products in a dtype of their own; see `lmu_scan`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 16  # steps whose gradients are kept until they enter the weights' gradients: about what the cache holds


class Cell(NamedTuple):
    """What the loop reads besides weights: Abar (d, d), Bbar (d,) and the step sizes in use.

    memory_dt, hidden_dt: (K d,) and (H,), None where a part is not quantised; memory_bound, hidden_bound: largest
    magnitude, infinite without a limit; leak: (K d,), see `LMU`.
    """

    a: Tensor
    b: Tensor
    memory_dt: Tensor | None
    memory_bound: Tensor
    hidden_dt: Tensor | None
    hidden_bound: Tensor
    leak: Tensor
    products: torch.dtype


class Start(NamedTuple):
    """Before the first step: h (B, H), m, held (B, K d), and the two carries."""

    h: Tensor
    m: Tensor
    held: Tensor
    memory_carry: Tensor
    hidden_carry: Tensor

    def rows(self, lo: int, hi: int) -> Start:
        """The start of a slice of the batch."""
        return Start(*(part[lo:hi].detach() for part in self))


class Weights(NamedTuple):
    """e_x (K, F), e_h (K, H), e_m (K, K d), W_x (H, F), W_h (H, H), W_m (H, K d), bias (H,); or their gradients."""

    e_x: Tensor
    e_h: Tensor
    e_m: Tensor
    w_x: Tensor
    w_h: Tensor
    w_m: Tensor
    bias: Tensor


class End(NamedTuple):
    """Memory states, all (T, B, K d) or the last (1, B, K d); what the memory holds back; both carries."""

    m: Tensor
    held: Tensor
    memory_carry: Tensor
    hidden_carry: Tensor


class Before(NamedTuple):
    """Gradients of the start's h (B, H) and m (B, K d), to be filled."""

    h: Tensor
    m: Tensor


class Total:
    """A sum of products over blocks of rows, kept in `dtype` however few bits the products have."""

    def __init__(self, rows: int, columns: int, dtype: torch.dtype) -> None:
        self.sum = torch.zeros(rows, columns, dtype=dtype)

    def add(self, left: Tensor, right: Tensor) -> None:
        """sum += left^T right."""
        if left.dtype == self.sum.dtype:
            self.sum.addmm_(left.t(), right)
        else:
            self.sum.add_(left.t() @ right)
