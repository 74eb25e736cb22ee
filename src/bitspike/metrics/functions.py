"""Nonlinearities called as functions (F.relu, torch.tanh) in the code of an ordinary network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bitspike.convert import Hybrid, Spiking
from bitspike.convert.nonlinearities import FUNCTIONS, MODULES
from bitspike.neurons import Neuron


class FunctionWatch(TorchFunctionMode):
    """Tells note(name, output) of every call outside of a nonlinearity module, named by its function and turn.

    Networks of this package have modules for all of theirs; those are not looked at.
    """

    def __init__(self, model: nn.Module, note: Callable[[str, Tensor], None], time_first: bool) -> None:
        super().__init__()
        own = isinstance(model, Hybrid | Spiking) or any(isinstance(m, Neuron) for m in model.modules())
        self.model, self.note, self.idle = model, note, time_first or own
        self._calls: dict[str, int] = {}
        self._inside = 0
        self._hooks: list[Any] = []

    def __enter__(self) -> Any:
        if not self.idle:
            for module in self.model.modules():
                if isinstance(module, MODULES):
                    self._hooks.append(module.register_forward_pre_hook(self._begin))
                    self._hooks.append(module.register_forward_hook(self._end, always_call=True))
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _begin(self, module: nn.Module, arguments: Any) -> None:
        self._inside += 1

    def _end(self, module: nn.Module, arguments: Any, output: Any) -> None:
        self._inside -= 1

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        name = None if self.idle or self._inside else FUNCTIONS.get(function)
        if name is None:
            return function(*arguments, **(options or {}))
        # F.relu calls torch.relu.
        self._inside += 1
        try:
            y = function(*arguments, **(options or {}))
        finally:
            self._inside -= 1
        self._calls[name] = self._calls.get(name, 0) + 1
        if isinstance(y, Tensor) and y.ndim > 1:
            self.note(f"{name}_{self._calls[name]}", y)
        return y
