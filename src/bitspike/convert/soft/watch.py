"""What only a run shows of a network of soft rates: calls of functions that spikes cannot stand for.

A nonlinearity as a call would go on computing with real numbers; the largest of spikes, and a norm or softmax of them,
are not those of rates; a unit or a layer that is called at two places would mix the states of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

from bitspike.convert.nonlinearities import FUNCTIONS
from bitspike.errors import refuse

UNITS = "units of soft rates (SoftNeuron)"
AVERAGE = "average pooling, or pooling before the units"
# Words in the names of functions of several values that spikes do not keep.
LARGEST = ("max_pool", "amax")
OF_SEVERAL = ("softmax", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm", "normalize")


class Watch(TorchFunctionMode):
    """One run of `net` in which such calls are refused, by the path of the module that makes them.

    stateful: its weight layers and units, by path, of which those in `units` give spikes. They say by `turns` when they
    were called; no hook is put on them, which would change how they run.
    """

    def __init__(self, net: nn.Module, stateful: dict[str, Any], units: Sequence[Any]) -> None:
        super().__init__()
        self.net, self.stateful, self.units = net, stateful, set(units)
        self.hooks = ExitStack()
        self.inside: list[tuple[str, str]] = []  # leaves that are being called: path and kind
        for module in stateful.values():
            module.turns.clear()

    def __enter__(self) -> Watch:
        for path, module in self.net.named_modules():
            ours = any(path == own or path.startswith(f"{own}.") for own in self.stateful)
            if ours or next(module.children(), None) is not None:
                continue

            def enter(module: nn.Module, inputs: Any, path: str = path) -> None:
                self.inside.append((path, type(module).__name__))

            def leave(module: nn.Module, inputs: Any, output: Any) -> None:
                self.inside.pop()

            self.hooks.enter_context(module.register_forward_pre_hook(enter))
            self.hooks.enter_context(module.register_forward_hook(leave))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, kind: Any, *error: Any) -> None:
        super().__exit__(kind, *error)  # type: ignore[no-untyped-call]
        self.hooks.close()
        if kind is None:
            for path, module in self.stateful.items():
                if len(module.turns) > 1:
                    wanted = "one for each place, as it has a state"
                    refuse(f"spiking {path}", "a unit or layer that is called twice", wanted)

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        path, kind = self.inside[-1] if self.inside else ("model", "")
        name = kind or getattr(function, "__name__", "").strip("_")
        word = getattr(function, "__name__", "")
        if FUNCTIONS.get(function) is not None:
            refuse(f"spiking {path}", f"{FUNCTIONS[function]} called as a function", UNITS)
        if any(part in word for part in LARGEST) and self._last() in self.units:
            refuse(f"spiking {path}", f"{name} on spikes", AVERAGE)
        if any(part in word for part in OF_SEVERAL) and any(unit.turns for unit in self.units):
            refuse(f"spiking {path}", f"{name} on spikes", "it left out, or before the units")
        return function(*arguments, **(options or {}))

    def _last(self) -> Any:
        """The weight layer or unit that was called last."""
        called = [module for module in self.stateful.values() if module.turns]
        return max(called, key=lambda module: module.turns[-1]) if called else None
