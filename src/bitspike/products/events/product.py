"""Runs the sums of `source`: packs weights once, compiles by number of outputs, shares examples among threads."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from bitspike.kernels.cache import module
from bitspike.kernels.cpu import back_end as cpu
from bitspike.kernels.cpu import threads
from bitspike.kernels.cpu.buffers import empty
from bitspike.kernels.cpu.compiled import compiled as kept
from bitspike.products.events.source import TILE, source

VECTOR, MOST_LANES = 16, 96
Kind = Literal["shared", "own"]
Pair = tuple[int, int]
_compiling = threading.Lock()


@dataclass(frozen=True)
class Packed:
    """Weights and bias as `source` takes them, and the geometry of the windows; see `pack`."""

    kind: Kind
    w: Tensor
    bias: Tensor
    kernel: Pair
    stride: Pair
    padding: Pair

    @property
    def outputs(self) -> int:
        """Outputs at each place."""
        return self.w.shape[0] * self.w.shape[-1]


def lanes_for(outputs: int) -> int | None:
    """How many outputs are summed at once: whole vectors that divide `outputs`; None if there are none."""
    return next((n for n in range(MOST_LANES, 0, -VECTOR) if outputs % n == 0), None)


@cache
def unavailable() -> str | None:
    """Why this back end cannot run here; None if it can."""
    missing = cpu.unavailable()
    if missing is not None:
        return missing
    from numba.core.codegen import CPUCodegen

    # Without it the setting that makes vectors of the sums is read once, when Numba is imported.
    return None if hasattr(CPUCodegen, "_pass_builder") else "this Numba compiles with settings of its start alone"


def pack(
    kind: Kind,
    weight: Tensor,
    bias: Tensor | None,
    kernel: Pair = (1, 1),
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
) -> Packed:
    """weight (places, N, kh * kw, C), bias (places, N): one place where "shared". `lanes_for` says which N it takes.

    A linear layer is "own", with one place and a 1 x 1 kernel.
    """
    places, outputs, taps, inputs = weight.shape
    lanes = lanes_for(outputs)
    if lanes is None:
        raise ValueError(f"{outputs} outputs are no whole vectors")
    w = weight.detach().view(places, outputs // lanes, lanes, taps, inputs).permute(1, 0, 3, 4, 2).contiguous()
    start = weight.new_zeros(places, outputs) if bias is None else bias.detach().contiguous()
    return Packed(kind, w, start, kernel, stride, padding)


def product(x: Tensor, packed: Packed) -> Tensor:
    """x (M, H, W, C) float32 contiguous to (M, HO, WO, N)."""
    sizes = zip(x.shape[1:3], packed.kernel, packed.stride, packed.padding, strict=True)
    out = [(n + 2 * p - k) // s + 1 for n, k, s, p in sizes]
    places = 1 if packed.kind == "shared" else out[0] * out[1]
    if (packed.w.shape[1], packed.w.shape[3]) != (places, x.shape[3]):
        raise ValueError(f"weights {tuple(packed.w.shape)} for {places} places and {x.shape[3]} channels")
    y = empty((len(x), *out, packed.outputs), torch.float32)
    arrays = [part.detach().numpy() for part in (x, packed.w, packed.bias, y)]
    function = compiled(packed.kind, packed.w.shape[-1])
    geometry = (packed.kernel, packed.stride, packed.padding)
    threads.run(lambda lo, hi: function(lo, hi, *arrays, *geometry), len(x), x.numel(), lanes=1, least=TILE)
    return y


@cache
def compiled(kind: str, lanes: int) -> Callable[..., None]:
    """The loop for this many outputs at once; kept on disk for later processes."""
    # Annotations of Numba differ from version to version.
    numba: Any = importlib.import_module("numba")
    config: Any = importlib.import_module("numba.core.config")
    made: Any = module(source(kind, lanes), f"events_{kind}")
    # In the module: `sums` finds it there.
    made.listed = numba.njit(nogil=True, error_model="numpy", inline="never")(made.listed)
    array, pair = numba.types.Array, numba.types.UniTuple(numba.intp, 2)
    real = numba.float32
    kinds = [array(real, 4, "C"), array(real, 5, "C"), array(real, 2, "C"), array(real, 4, "C")]
    signature = numba.void(numba.intp, numba.intp, *kinds, pair, pair, pair)
    with _compiling:
        before, config.SLP_VECTORIZE = config.SLP_VECTORIZE, 1
        try:
            function: Callable[..., None] = kept(made.sums, signature, fastmath={"contract"})
        finally:
            config.SLP_VECTORIZE = before
    return function
