"""Calls of functions in a network's code, seen while it runs: nonlinearities, products, where spikes pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bitspike.convert import Hybrid, Spiking
from bitspike.convert.nonlinearities import FUNCTIONS
from bitspike.energy.origins import Origins
from bitspike.neurons import Neuron

# Products with weights or of activations that are counted, and what costs about as much but is only named.
CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
MATRICES = ("matmul", "mm", "bmm", "mv", "addmm", "addbmm", "baddbmm", "rmatmul")
PRODUCTS = ("linear", *CONVOLUTIONS, *MATRICES)
NAMED = (
    "einsum", "tensordot", "bilinear", "scaled_dot_product_attention", "multi_head_attention_forward", "embedding",
    "embedding_bag", "inner", "outer", "dot", "vdot", "kron", "cdist", "lstm", "gru", "rnn_tanh", "rnn_relu",
    "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell", "layer_norm", "group_norm", "instance_norm",
    "local_response_norm", "rms_norm", "addmv", "addr", "chain_matmul", "multi_dot", "stft", "istft",
)  # fmt: skip


class FunctionWatch(TorchFunctionMode):
    """Follows every call outside of what is counted as a whole; `quiet` while counting itself calls functions.

    note(name, output): a nonlinearity of an ordinary network, named by its function and turn (networks of this package
    have modules for all of theirs). product(name, arguments, options, output); missed(name): see PRODUCTS, NAMED.
    """

    def __init__(
        self, model: nn.Module, origins: Origins, note: Callable[[str, Tensor], None],
        product: Callable[[str, Any, dict[str, Any], Tensor], None], missed: Callable[[str], None],
    ) -> None:  # fmt: skip
        super().__init__()
        self.own = isinstance(model, Hybrid | Spiking) or any(isinstance(m, Neuron) for m in model.modules())
        self.origins, self.note, self.product, self.missed = origins, note, product, missed
        self.quiet = False
        self.inside = 0  # of modules that are counted as a whole
        self._calls: dict[str, int] = {}

    def begin(self) -> None:
        """A new pass: turns are counted anew."""
        self._calls = {}

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
            called = getattr(function, "__name__", "")
            name = called.strip("_")
            self.origins.follow(name, function, arguments, options, y)
            if not self.inside and isinstance(y, Tensor):
                self._count(name, FUNCTIONS.get(function), arguments, options, y)
        finally:
            self.quiet = False
        return y

    def _count(self, name: str, nonlinearity: str | None, arguments: Any, options: Any, y: Tensor) -> None:
        if name in PRODUCTS:
            self.product(name, arguments, options, y)
        elif name in NAMED or name.startswith("fft_"):
            self.missed(name)
        elif nonlinearity is not None and not self.own and y.ndim > 1:
            self._calls[nonlinearity] = self._calls.get(nonlinearity, 0) + 1
            self.note(f"{nonlinearity}_{self._calls[nonlinearity]}", y)
