"""Run a recurrence over time on the back end asked for."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from bitspike.errors import check_name, refuse
from bitspike.kernels import operator
from bitspike.kernels.cpu import back_end as cpu
from bitspike.kernels.cuda import back_end as cuda
from bitspike.kernels.differentiable import Call, differentiable_scan
from bitspike.kernels.dtypes import computing, given_back
from bitspike.kernels.recurrence import Recurrence
from bitspike.kernels.scan import Spike, check, scan
from bitspike.kernels.transforms import constant_in_graphs, wants_gradient

BACK_ENDS = ("auto", "reference", "cpu", "cuda")


class Choice(NamedTuple):
    """A back end, why it was taken, and the key of the step in the operators' table ("" on the reference).

    settings: numbers that the step takes behind its own constants; see `trace.Graph.setting`.
    """

    back_end: str
    reason: str
    key: str = ""
    settings: tuple[float, ...] = ()


def back_end_for(recurrence: Recurrence, x: Tensor, back_end: str = "auto") -> Choice:
    """The back end for input x: the one asked for, or an error that says why not; "auto" takes the fastest."""
    return choice_for(recurrence, x.device.type, x.dtype, back_end)


@lru_cache(maxsize=1024)
def choice_for(recurrence: Recurrence, device: str, dtype: torch.dtype, asked: str) -> Choice:
    """As `back_end_for`, from the input's device type and dtype."""
    check_name("back end", asked, BACK_ENDS, ", ".join(BACK_ENDS))
    if asked == "reference":
        return Choice("reference", "asked for")
    fast = "cuda" if device == "cuda" else "cpu"
    back_end, why = (fast, f"fastest for {device} tensors") if asked == "auto" else (asked, "asked for")
    if reason := _obstacle(recurrence, device, dtype, back_end):
        if asked != "auto":
            refuse("back end", repr(asked), f"one that can run here: {reason}")
        return Choice("reference", reason)
    return Choice(back_end, why, operator.define(recurrence.traced), recurrence.traced.settings)


@constant_in_graphs
def chosen(
    state: type[Any], constants: type[Any], spike: Spike, pool: int, device: str, dtype: torch.dtype, back_end: str,
    step: Any, *made_of: Any,
) -> tuple[Recurrence, Choice]:  # fmt: skip
    """A recurrence and its back end; torch.compile does not look into how they are found, which reads files.

    step: a step, or what makes one of `made_of`; each its own argument, as torch.compile hands objects on.
    """
    made = step(*made_of) if made_of else step
    recurrence = Recurrence(made, state, constants, spike, pool)
    return recurrence, choice_for(recurrence, device, dtype, back_end)


class Chooser:
    """Remembers the recurrence that ran last and its back end, where torch.compile can see that they do not change.

    A copy or a pickle of it remembers nothing: the choice is made again.
    """

    def __init__(self) -> None:
        self._last: tuple[Any, Recurrence, Choice] | None = None

    def __reduce__(self) -> tuple[type[Chooser], tuple[()]]:
        return Chooser, ()

    def __call__(
        self, step: Any, state: type[Any], constants: type[Any], spike: Spike, x: Tensor, back_end: str, pool: int = 1
    ) -> tuple[Recurrence, Choice]:
        """The recurrence of this step and the back end for input x.

        step: a step, or (what makes it, its arguments ...).
        """
        asked = (step, spike, pool, x.device.type, x.dtype, back_end)
        if self._last is not None and self._last[0] == asked:
            return self._last[1:]
        parts = step if isinstance(step, tuple) else (step,)
        found = chosen(state, constants, spike, pool, x.device.type, x.dtype, back_end, *parts)
        if not torch.compiler.is_compiling():
            self._last = (asked, *found)
        return found


def _obstacle(recurrence: Recurrence, device: str, dtype: torch.dtype, back_end: str) -> str | None:
    module = operator.BACK_ENDS[back_end]
    if device != back_end and not (back_end == "cuda" and cuda.interpreted()):
        return f"the input is on {device}"
    if recurrence.pool > 1 and back_end == "cuda":
        return "pooled outputs are made on the processor only"
    if dtype not in cpu.DTYPES:
        return f"{dtype} is neither float32 nor float64"
    missing: str | None = module.unavailable()
    return missing or recurrence.untraceable


def run(recurrence: Recurrence, x: Tensor, state: Any, constants: Any, back_end: str = "auto") -> tuple[Tensor, Any]:
    """Output (T, B, *features) and the state after the last step.

    x: (T, B, *features) of any real dtype (see `dtypes`); state: NamedTuple of tensors (B, *features); constants:
    NamedTuple of numbers or tensors that broadcast to (B, *features).
    Gradients reach x, the state and every constant that is a tensor. Raises BitspikeError for a shape that does not
    fit and for a back end that cannot run. Where the recurrence pools, the output is (T, B, *, H // pool, W // pool).
    """
    given, x = x.dtype, computing(x)
    y, last = run_on(back_end_for(recurrence, x, back_end), recurrence, x, state, constants)
    return given_back(y, given), last


def run_on(choice: Choice, recurrence: Recurrence, x: Tensor, state: Any, constants: Any) -> tuple[Tensor, Any]:
    """As `run`, on a back end chosen before."""
    check(x, state)
    if recurrence.pool > 1 and (x.ndim < 4 or min(x.shape[-2:]) < recurrence.pool):
        size = f"{recurrence.pool} x {recurrence.pool}"
        refuse("pooled neurons", tuple(x.shape), f"(T, B, *, H, W) of at least {size} neurons")
    constants = type(constants)(*(fitting(c, x) for c in constants)) if constants else constants
    if choice.back_end == "reference":
        state = type(state)(*(part.to(x.dtype) for part in state))
        if constants and not torch.compiler.is_compiling():
            # What is computed of constants alone rounds as it does in kernels.
            constants = type(constants)(*(_in_dtype(c, x.dtype) for c in constants))
        y, last = scan(recurrence.step, x, state, constants, recurrence.spike)
        return pooled(y, recurrence.pool), last
    parts, values = as_tensors(x, state, constants, choice)
    wants = [wants_gradient(x), any(map(wants_gradient, parts)), *map(wants_gradient, values)]
    if not any(wants):
        found = operator.scan(x, parts, values, choice.key, choice.back_end, [0, *map(int, wants)])
        return found[0], type(state)(*found[1 : 1 + len(parts)])
    call = Call(choice.key, choice.back_end, (int(any(wants)), *map(int, wants)), len(parts))
    y, *last = differentiable_scan(call, x, parts, values)
    return y, type(state)(*last)


@torch.no_grad()
def run_into(y: Tensor, choice: Choice, recurrence: Recurrence, x: Tensor, state: Any, constants: Any) -> Any:
    """As `run_on` without gradients, the output written into y (contiguous); returns the state after the last step."""
    if choice.back_end != "cpu":
        part, last = run_on(choice, recurrence, x, state, constants)
        y.copy_(part)
        return last
    check(x, state)
    constants = type(constants)(*(fitting(c, x) for c in constants)) if constants else constants
    parts, values = as_tensors(x, state, constants, choice)
    loop = cpu.Forward(operator.TABLE[choice.key], (), x, parts, values, y if y.dtype == x.dtype else None)
    loop.run(0, len(x))
    if y.dtype != x.dtype:
        y.copy_(loop.y)
    return type(state)(*loop.state)


def pooled(y: Tensor, size: int) -> Tensor:
    """The largest of each size x size neighbours in the last two dimensions of y (T, B, *, H, W)."""
    if size == 1:
        return y
    flat = y.reshape(-1, 1, *y.shape[-2:])
    return F.max_pool2d(flat, size).reshape(*y.shape[:-2], y.shape[-2] // size, y.shape[-1] // size)


def as_tensors(x: Tensor, state: Any, constants: Any, choice: Choice) -> tuple[list[Tensor], list[Tensor]]:
    """State and constants as the operators take them; refuses shapes and devices that do not fit the input."""
    values = [_tensor(c) for c in (*constants, *choice.settings)]
    parts = [s.to(x.dtype) for s in state]
    for part in (*parts, *values):
        if part.device != x.device and part.numel() != 1:
            refuse("neuron state or constant", f"on {part.device}", f"on {x.device}, as the input")
    return parts, values


def fitting(value: Any, x: Tensor) -> Any:
    """A constant that broadcasts to one time step of x; in x's dtype, but for bare numbers."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    if value.numel() == 1:
        return value.to(x.dtype)
    try:
        fits = torch.broadcast_shapes(value.shape, x.shape[1:]) == x.shape[1:]
    except RuntimeError:
        fits = False
    if not fits:
        refuse("neuron constant", tuple(value.shape), f"one value, or {tuple(x.shape[2:])} per neuron")
    return value.to(x.dtype)


def _in_dtype(value: Any, dtype: torch.dtype) -> Any:
    """A scalar constant as a tensor of this dtype."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.ndim == 0 and value.is_floating_point() else value
    return torch.tensor(value, dtype=dtype) if isinstance(value, float) else value


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(float(value), dtype=torch.float64)
