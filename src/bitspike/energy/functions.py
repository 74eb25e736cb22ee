"""Calls of functions in a network's code, seen while it runs: nonlinearities, products, where spikes pass."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bitspike.convert import Hybrid, Spiking
from bitspike.convert.nonlinearities import FUNCTIONS
from bitspike.energy.counts import HOW, REAL_BITS, LayerCount, reached
from bitspike.energy.tally import Tally, dense
from bitspike.neurons import Neuron

# Products with weights or of activations that are counted, and what costs about as much but is only named.
CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
MATRICES = ("matmul", "mm", "bmm", "mv", "addmm", "addbmm", "baddbmm", "rmatmul")
NAMED = (
    "einsum", "tensordot", "bilinear", "scaled_dot_product_attention", "multi_head_attention_forward", "embedding",
    "embedding_bag", "inner", "outer", "dot", "vdot", "kron", "cdist", "lstm", "gru", "rnn_tanh", "rnn_relu",
    "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell", "layer_norm", "group_norm", "instance_norm",
    "local_response_norm", "rms_norm", "addmv", "addr", "chain_matmul", "multi_dot", "stft", "istft",
)  # fmt: skip


class FunctionWatch(TorchFunctionMode):
    """Follows every call outside of what is counted as a whole; `quiet` while counting itself calls functions.

    Networks of this package have modules for all of their nonlinearities; of others, those that are calls are named by
    function and turn.
    """

    def __init__(self, model: nn.Module, tally: Tally) -> None:
        super().__init__()
        self.own = isinstance(model, Hybrid | Spiking) or any(isinstance(m, Neuron) for m in model.modules())
        self.tally = tally
        self.names: dict[int, str] = {}  # of parameters and buffers, by identity
        self.quiet = False
        self.inside = 0  # of modules that are counted as a whole
        self.turns: dict[str, int] = {}  # of nonlinearities, in one pass

    def enter(self, module: nn.Module, arguments: Any) -> None:
        """A hook before a module that is counted as a whole."""
        self.inside += 1

    def leave(self, module: nn.Module, arguments: Any, output: Any) -> None:
        """A hook behind it, called whatever happens in it."""
        self.inside -= 1

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = options or {}
        y = function(*arguments, **options)
        if self.quiet:
            return y
        self.quiet = True
        try:
            name = getattr(function, "__name__", "").strip("_")
            self.tally.origins.follow(name, function, arguments, options, y)
            if not self.inside and isinstance(y, Tensor):
                with torch.no_grad():
                    self._count(name, FUNCTIONS.get(function), arguments, options, y)
        finally:
            self.quiet = False
        return y

    def _count(self, name: str, nonlinearity: str | None, arguments: Any, options: Any, y: Tensor) -> None:
        if name == "linear" or name in CONVOLUTIONS:
            self._weighing(name, arguments, options)
        elif name in MATRICES:
            a, b = [each for each in (*arguments, *options.values()) if isinstance(each, Tensor)][-2:]
            self._matrices(name, a, b, y)
        elif name in NAMED or name.startswith("fft_"):
            self.tally.missed[f"{name} (a function)"] = None
        elif nonlinearity is not None and y.ndim > 1:
            if self.own or (self.tally.shown is not None and self.tally.shown.time_first):
                self.tally.missed[f"{nonlinearity} (a function)"] = None
                return
            self.turns[nonlinearity] = self.turns.get(nonlinearity, 0) + 1
            if self.tally.shown is not None:
                one = y if self.tally.unbatched else y[0]
                self.tally.note_unit(f"{nonlinearity}_{self.turns[nonlinearity]}", one.numel(), y.numel())

    def _weighing(self, called: str, arguments: Any, options: dict[str, Any]) -> None:
        """x (..., K) with W, or a convolution."""
        names = ["input", "weight", "bias", "stride", "padding", "dilation", "groups"]
        transposed = called.startswith("conv_transpose")
        if transposed:
            names[5:] = ["output_padding", "groups", "dilation"]
        given = dict(zip(names, arguments, strict=False)) | options
        x, weight = given["input"], given["weight"]
        if called == "linear":
            self._product(called, x, weight, _all(weight.shape[0]), int(weight.shape[-1]))
            return
        if x.ndim == weight.ndim - 1:
            self.tally.check_batch()
        space = tuple(x.shape[x.ndim - weight.ndim + 2 :])
        outputs = weight.shape[1] if transposed else weight.shape[0] // given.get("groups", 1)
        how = {name: given[name] for name in HOW if name in given}
        reach = outputs * reached(called, tuple(weight.shape[2:]), space, **how)
        self._product(called, x, weight, reach, math.prod((x.shape[x.ndim - len(space) - 1], *space)))

    def _matrices(self, called: str, a: Tensor, b: Tensor, y: Tensor) -> None:
        """x with W, W with x, or two activations with each other."""
        if called == "rmatmul":
            a, b = b, a
        first, second = self.tally.origins.of(a), self.tally.origins.of(b)
        if second is not None and second.kind == "weights" and b.ndim <= 2:
            self._product(called, a, b, _all(b.shape[-1] if b.ndim == 2 else 1), a.shape[-1])
        elif first is not None and first.kind == "weights" and a.ndim == 2 and b.ndim >= 1:
            n, turned = self.tally.origins.counts(b), b if b.ndim == 1 else b.transpose(-1, -2)
            n = n if n is None or b.ndim == 1 else n.transpose(-1, -2)
            real = n is None and self.tally.origin(turned)[1]
            self._product(called, turned, a, _all(a.shape[0]), turned.shape[-1], (n, real))
        else:
            # Every entry of the result is a sum over K products.
            self._product(called, a, b, _all(y.numel() * a.shape[-1] / max(1, a.numel())), a.shape[-1], active=True)

    def _product(
        self, called: str, x: Tensor, weight: Tensor, reach: Tensor, row: int,
        origin: tuple[Tensor | None, bool] | None = None, active: bool = False,
    ) -> None:  # fmt: skip
        """origin: of x, if known; active: the other operand is no weight."""
        if not x.numel():
            return
        tally, known = self.tally, self.tally.origins.of(weight)
        roots = set() if active or known is None else known.weights
        tally.used |= roots
        path = " ".join(sorted(self.names[root] for root in roots if root in self.names))
        name = f"{path} ({called})" if path else f"{called} of activations"
        if name not in tally.layers:
            tally.order["layer", name] = None
            tally.layers[name] = LayerCount(name, called, 0 if active else weight.numel(), REAL_BITS, dense(reach, row))
        tally.multiply(name, x, weight, reach, row, *(tally.origin(x) if origin is None else origin))


def _all(outputs: float) -> Tensor:
    """Every input reaches as many outputs."""
    return torch.tensor(float(outputs), dtype=torch.float64)
