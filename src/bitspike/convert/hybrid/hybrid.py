"""A network whose nonlinearities are quantisers, beside the one it was made of; both have the same layers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.checks import check_finite
from bitspike.convert.entrance import full_precision, is_half
from bitspike.convert.hybrid.units import Clock, Stepped
from bitspike.convert.nonlinearities import CLOSED_FUNCTIONS, FUNCTIONS
from bitspike.errors import check_whole, refuse
from bitspike.neurons import TemporalQuantiser, quantisers


class Hybrid(nn.Module):
    """What `hybridise` makes of a model.

    With `steps` = T, inputs (B, ...) are presented T times and the read-out is the mean over the presentations;
    `readouts` gives all T. Without, inputs are a sequence that the model itself steps through.
    Layers are those of the model, not copies: training one trains the other. A model of half precision is computed in
    float32 and answers in its input's dtype. silent: layers that never answered on the data that set the scales.
    """

    def __init__(
        self, model: nn.Module, net: nn.Module, names: dict[str, str], clock: Clock | None, **how: Any
    ) -> None:
        super().__init__()
        # Layers keep the mode they are in.
        self.training = model.training
        self.net = net
        # Not a child: its layers are listed once, as those of `net`.
        self.__dict__["original"] = model
        self.names, self.clock = names, clock
        self.time_first: bool = how.get("time_first", False)
        self.repeat_input: bool = how.get("repeat_input", False)
        self.unseen: dict[str, str] = how.get("unseen", {})
        self.silent: tuple[str, ...] = ()

    def train(self, mode: bool = True) -> Hybrid:
        """As every module, and the original with it: they share their layers."""
        super().train(mode)
        self.__dict__["original"].train(mode)
        return self

    @property
    def steps(self) -> int | None:
        """T, which may be changed; None where the model steps through its input."""
        return None if self.clock is None else self.clock.steps

    @steps.setter
    def steps(self, steps: int) -> None:
        if self.clock is None:
            refuse("hybrid steps", steps, "none: this model steps through its input")
        self.clock.steps = checked_steps(steps)

    def quantised(self) -> dict[str, TemporalQuantiser]:
        """The quantiser of each layer, by the layer's name."""
        found = dict(quantisers(self))
        return {name: found[path] for path, name in self.names.items()}

    def readouts(self, *inputs: Any, **options: Any) -> Any:
        """Read-outs (T, B, ...) of every presentation."""
        return self._given(self._readouts(*inputs, **options), inputs)

    def _readouts(self, *inputs: Any, **options: Any) -> Any:
        self._check(inputs)
        if self.clock is None:
            refuse("hybrid readouts", "a model that steps through its input", "a hybrid with steps")
        if not self.time_first and not (inputs and isinstance(inputs[0], Tensor) and inputs[0].ndim > 0):
            refuse("hybrid input", type(inputs[0]).__name__ if inputs else "nothing", "a batch (B, ...) first")
        # Where nothing is quantised every presentation is the same.
        steps = 1 if all(q.step_size() is None for _, q in quantisers(self)) else self.clock.steps
        return self.presented(*inputs, steps=steps, **options)

    def presented(self, *inputs: Any, steps: int, **options: Any) -> Any:
        """Read-outs of `steps` presentations, as many as are asked for, whatever `self.steps` is."""
        assert self.clock is not None
        asked, self.clock.steps = self.clock.steps, steps
        try:
            return self._over_time(self._run(*map(self._repeated, inputs), **options), inputs[0])
        finally:
            self.clock.steps = asked

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """The mean read-out (B, ...) of a batch; without `steps`, what the model gives."""
        if self.clock is None:
            self._check(inputs)
            return self._given(self._run(*inputs, **options), inputs)
        return self._given(_each(lambda y: y.mean(0), self._readouts(*inputs, **options)), inputs)

    def _check(self, inputs: Any) -> None:
        """Refuse values that are not finite, which quantisers would hide; in training the loss shows them."""
        for x in inputs if not self.training else ():
            if isinstance(x, Tensor):
                check_finite("hybrid input", x)

    def _given(self, answer: Any, inputs: Any) -> Any:
        """The answer in the dtype of the first input of real numbers, where that is of half precision."""
        half = next((x.dtype for x in inputs if isinstance(x, Tensor) and is_half(x)), None)
        return answer if half is None else _each(lambda y: y.to(half) if y.is_floating_point() else y, answer)

    def _net(self, *inputs: Any, **options: Any) -> Any:
        """`net`; in float32 with copies of its tensors where those are of half precision."""
        own = {**dict(self.net.named_parameters()), **dict(self.net.named_buffers())}
        half = {name: value for name, value in own.items() if is_half(value)}
        given = [x.float() if isinstance(x, Tensor) and is_half(x) else x for x in inputs]
        if not half:
            return self.net(*given, **options)
        used = {name: value.float() for name, value in half.items()}
        with full_precision(next(iter(used.values()))):
            answer = torch.func.functional_call(self.net, used, tuple(given), options)
        with torch.no_grad():
            # Statistics of batches are kept by the model.
            for name, _ in self.net.named_buffers():
                if name in half and self.training:
                    half[name].copy_(used[name])
        return answer

    def _run(self, *inputs: Any, **options: Any) -> Any:
        for module in self.net.modules():
            if isinstance(module, Stepped):
                module.reset()
        if self.unseen:
            with Watch(self.net, self.unseen):
                answer = self._net(*inputs, **options)
            self.unseen = {}
            return answer
        return self._net(*inputs, **options)

    def _repeated(self, x: Any) -> Any:
        if not isinstance(x, Tensor) or not (self.time_first or self.repeat_input):
            return x
        assert self.clock is not None
        over = x.unsqueeze(0).expand(self.clock.steps, *x.shape)
        return over if self.time_first else over.flatten(0, 1)

    def _over_time(self, answer: Any, x: Tensor) -> Any:
        assert self.clock is not None
        steps = self.clock.steps

        def cut(y: Tensor) -> Tensor:
            if self.time_first:
                return y
            if y.ndim == 0 or y.shape[0] not in (steps * len(x), len(x)):
                refuse("hybrid read-out", tuple(y.shape), f"the batch of {steps} x {len(x)} as its first dimension")
            return y.unflatten(0, (steps, len(x))) if len(y) == steps * len(x) else y.expand(steps, *y.shape)

        return _each(cut, answer)


def checked_steps(steps: Any) -> int:
    """Refuse a number of presentations that is not 1, 2, ..."""
    wanted = "a whole number, 1 or more, or none for a model that steps through its input"
    check_whole("hybrid steps", steps, wanted)
    return int(steps)


def _each(do: Callable[[Tensor], Tensor], value: Any) -> Any:
    """`do` on every tensor in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return do(value)
    if isinstance(value, dict):
        return {key: _each(do, entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        parts = [_each(do, entry) for entry in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


class Watch(torch.overrides.TorchFunctionMode):
    """Refuse a nonlinearity that is called in code that could not be looked into.

    unseen: path of each module whose code is closed to torch.fx, with the reason.
    """

    def __init__(self, net: nn.Module, unseen: dict[str, str]) -> None:
        super().__init__()
        self.net, self.unseen = net, unseen
        self.inside: list[str | None] = []
        self.hooks = ExitStack()

    def __enter__(self) -> Watch:
        for name, module in self.net.named_modules():
            kept = name if name in self.unseen else None

            def enter(module: Any, inputs: Any, kept: str | None = kept) -> None:
                self.inside.append(kept)

            def leave(module: Any, inputs: Any, output: Any) -> None:
                self.inside.pop()

            self.hooks.enter_context(module.register_forward_pre_hook(enter))
            self.hooks.enter_context(module.register_forward_hook(leave))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self.hooks.close()

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        where = self.inside[-1] if self.inside else None
        name = FUNCTIONS.get(function) or CLOSED_FUNCTIONS.get(function)
        if where is not None and name is not None:
            refuse(
                f"hybridise {where or 'model'}",
                f"{name} called as a function in code that cannot be traced ({self.unseen[where]})",
                "a module such as nn.ReLU in its place, or `layers` that names what to swap",
            )
        return function(*arguments, **(options or {}))
