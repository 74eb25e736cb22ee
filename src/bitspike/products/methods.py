"""The ways to take a product y = x w^T, of x (M, K) and w (N, K), and its two gradients.

    int8       both operands as int8, int32 sums: exact
    sparse     the rows of w that meet a spike are added, in float32 (in int8 for +-1, exact): zeros cost nothing
    digits     g as two int8 digits with a scale per row or column, 16 bits: reduced precision, backward only
    float32    torch's own product

Each gradient is a product too: w_grad (N, K) = g^T x, x_grad (M, K) = g w, for g (M, N) = dL/dy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from bitspike.products import loops
from bitspike.products.operands import floats, over_rows, transposed

COLUMNS, ROWS = 8, 32  # what a CUDA device asks of _int_mm: sizes in eights, and more than 16 rows


def cuda_int8(device: torch.device) -> bool:
    """Whether this device multiplies int8 by tensor cores that torch uses (compute capability 8.0 and later)."""
    return (
        device.type == "cuda" and torch.version.cuda is not None and torch.cuda.get_device_capability(device) >= (8, 0)
    )


def int8_sums(a: Tensor, b: Tensor) -> Tensor:
    """int32 sums (M, N) of int8 a (M, K) and b (K, N), padded with zeros where a device asks for it."""
    if a.device.type == "cpu":
        return torch._int_mm(a, b)
    (rows, terms), columns = a.shape, b.shape[1]
    more_rows, more_terms = max(ROWS - rows, 0), -terms % COLUMNS
    a = F.pad(a, (0, more_terms, 0, more_rows)).contiguous()
    # Stored by columns, which every device generation takes.
    b = F.pad(b.t(), (0, more_terms, 0, -columns % COLUMNS)).contiguous().t()
    return torch._int_mm(a, b)[:rows, :columns]


def int8_forward(x8: Tensor, w8: Tensor) -> Tensor:
    """Both operands int8; exact (above 2^24 rounded once)."""
    return floats(int8_sums(x8, w8.t()))


def sparse_forward(x8: Tensor, weight: Tensor) -> Tensor:
    """x8 int8 spikes; weight int8 of +-1 (exact) or float32 (float32 additions)."""
    y = torch.empty(x8.shape[0], weight.shape[0])
    loop = loops.sum_signs if weight.dtype == torch.int8 else loops.sum_reals
    over_rows(loop, x8.shape[0], y.numel(), x8, transposed(weight), y)
    return y


def sparse_grad_weight(g: Tensor, x8: Tensor) -> Tensor:
    """g float32, x8 int8 spikes; float32 additions in blocks of rows."""
    w_grad_t = torch.empty(x8.shape[1], g.shape[1])
    over_rows(loops.sum_gradients, x8.shape[1], g.numel(), x8, g, w_grad_t)
    return transposed(w_grad_t)


def digits(a: Tensor, b8: Tensor) -> Tensor | None:
    """a (M, N) in two digits with a scale per row, b8 (N, K) int8; None where a holds NaN or infinity.

    The gradient of an input is that of g with the weight, that of a weight of g transposed with x.
    """
    scale = torch.empty(a.shape[0])
    high, low = torch.empty(a.shape, dtype=torch.int8), torch.empty(a.shape, dtype=torch.int8)
    # Whole operands at each step, not blocks that fit a cache: torch's threads and ours take turns on the same cores,
    # and every turn costs the time for which an idle thread of torch's keeps spinning.
    over_rows(loops.split, a.shape[0], a.numel(), a, scale, high, low)
    if not bool(scale.isfinite().all()):
        return None
    upper, lower = int8_sums(high, b8), int8_sums(low, b8)
    out = torch.empty(upper.shape)
    over_rows(loops.combine, out.shape[0], out.numel(), upper, lower, scale, out)
    return out
