"""Float32 operands into int8 and back, each in one pass over memory; a claimed kind is checked on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.kernels.cpu import threads
from bitspike.products import loops
from bitspike.products.kinds import WANTED, Part
from bitspike.products.processor import capabilities

CONVERT: dict[str, Callable[..., None]] = {
    "spikes": loops.spikes_to_int8,
    "signs": loops.signs_to_int8,
    "integers": loops.integers_to_int8,
}


def takes_part(x: Tensor, weight: Tensor) -> bool:
    """Whether few-bit ways are open to these tensors: float32, on one device that has some, no autocast."""
    device = x.device.type
    plain = x.dtype == weight.dtype == torch.float32 and device == weight.device.type and device in ("cpu", "cuda")
    return plain and not torch.is_autocast_enabled(device)


def parts_wanted(x: Tensor, weight: Tensor) -> list[Part]:
    """The parts of a product of these tensors that will be made: forward, and the gradients asked for."""
    parts: list[Part] = ["forward"]
    if torch.is_grad_enabled():
        needed: list[tuple[Part, bool]] = [("grad_weight", weight.requires_grad), ("grad_input", x.requires_grad)]
        parts += [part for part, wanted in needed if wanted]
    return parts


def compiled_here(a: Tensor) -> bool:
    """Whether the compiled loops can run on `a`."""
    return capabilities().compiled and a.device.type == "cpu"


def over_rows(loop: Callable[..., None], rows: int, work: int, *arrays: Any) -> None:
    """Call `loop(lo, hi, *arrays)` over 0..rows on torch's number of threads; tensors go in as arrays."""
    function = loops.compiled(loop)
    # Detached: a tensor that requires a gradient has no array.
    views = [a.detach().numpy() if isinstance(a, Tensor) else a for a in arrays]
    threads.run(lambda lo, hi: function(lo, hi, *views), rows, work, each=1)


def to_int8(field: str, a: Tensor, kind: str) -> tuple[Tensor, int]:
    """`a` (M, K) as int8, and how many entries are not zero.

    Raises BitspikeError, in the name of `field`, when an entry is not of this kind.
    """
    a = a.detach().contiguous()
    if not compiled_here(a):
        if not bool(_belongs(a, kind).all()):
            _refuse(field, a, kind)
        return a.to(torch.int8), int(a.count_nonzero())
    out = torch.empty(a.shape, dtype=torch.int8)
    count = torch.empty(a.shape[0], dtype=torch.int32)
    if a.numel():
        over_rows(CONVERT[kind], a.shape[0], a.numel(), a, out, count)
        if int(count.min()) < 0:
            _refuse(field, a, kind)
    return out, int(count.sum())


def count(x8: Tensor) -> int:
    """The ones among int8 spikes."""
    if x8.device.type != "cpu":
        return int(x8.count_nonzero())
    # As truth values, which numpy counts in vectors.
    import numpy as np

    return int(np.count_nonzero(x8.detach().contiguous().view(torch.bool).numpy()))


def _belongs(a: Tensor, kind: str) -> Tensor:
    if kind == "spikes":
        return (a == 0) | (a == 1)
    if kind == "signs":
        return a.abs() == 1
    return (a.abs() <= 127) & (a.round() == a)


def _refuse(field: str, a: Tensor, kind: str) -> None:
    value = a[~_belongs(a, kind)][0].item()
    refuse(f"product {field}", f"{value:g} among {kind!r}", f"{WANTED[kind]} only, or kind 'real'")


def floats(sums: Tensor) -> Tensor:
    """int32 sums (M, N) as float32, in the same memory."""
    if not compiled_here(sums) or not sums.is_contiguous():
        return sums.float()
    out = sums.view(torch.float32)
    if sums.numel():
        over_rows(loops.to_float, sums.shape[0], sums.numel(), sums, out)
    return out


def wild(a: Tensor) -> bool:
    """Whether a float32 tensor (M, N) holds NaN or infinity: it then takes the float32 product."""
    a = a.detach()
    if not compiled_here(a) or not a.is_contiguous():
        return not bool(a.isfinite().all())
    if not a.numel():
        return False
    found = torch.empty(a.shape[0], dtype=torch.int32)
    over_rows(loops.find_wild, a.shape[0], a.numel(), a.view(torch.int32), found)
    return bool(found.any())


def transposed(a: Tensor) -> Tensor:
    """a (N, K) as (K, N), contiguous."""
    return a.detach().t().contiguous()
