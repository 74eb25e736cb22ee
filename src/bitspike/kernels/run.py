"""Run a recurrence over time on the back end asked for."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.kernels import cpu, cuda, operator
from bitspike.kernels.recurrence import Recurrence
from bitspike.kernels.scan import check, scan

BACK_ENDS = ("auto", "reference", "cpu", "cuda")


class Choice(NamedTuple):
    """A back end and why it was taken."""

    back_end: str
    reason: str


def back_end_for(recurrence: Recurrence, x: Tensor, back_end: str = "auto") -> Choice:
    """The back end for input x: the one asked for, or an error that says why it cannot run; "auto" takes the fastest."""
    if back_end == "reference":
        return Choice("reference", "asked for")
    return _choose(recurrence, x.device.type, x.dtype, back_end)


@lru_cache(maxsize=1024)
def _choose(recurrence: Recurrence, device: str, dtype: torch.dtype, asked: str) -> Choice:
    if asked not in BACK_ENDS:
        refuse("back end", repr(asked), ", ".join(BACK_ENDS))
    fast = "cuda" if device == "cuda" else "cpu"
    reason = _obstacle(recurrence, device, dtype, fast if asked == "auto" else asked)
    if asked == "auto":
        return Choice("reference", reason) if reason else Choice(fast, f"fastest for {device} tensors")
    if reason:
        refuse("back end", repr(asked), f"one that can run here: {reason}")
    return Choice(asked, "asked for")


def _obstacle(recurrence: Recurrence, device: str, dtype: torch.dtype, back_end: str) -> str | None:
    module = operator.BACK_ENDS[back_end]
    if device != back_end and not (back_end == "cuda" and cuda.interpreted()):
        return f"the input is on {device}"
    if dtype not in cpu.DTYPES:
        return f"{dtype} is neither float32 nor float64"
    missing: str | None = module.unavailable()
    return missing or recurrence.untraceable


def run(recurrence: Recurrence, x: Tensor, state: Any, constants: Any, back_end: str = "auto") -> tuple[Tensor, Any]:
    """Output (T, B, *features) and the state after the last step.

    x: (T, B, *features), also in half precision (computed in float32); state: NamedTuple of tensors
    (B, *features); constants: NamedTuple of numbers or tensors that broadcast to (B, *features).
    Gradients reach x, the state and every constant that is a tensor. Raises BitspikeError for a shape that does not
    fit and for a back end that cannot run.
    """
    check(x, state)
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    choice = back_end_for(recurrence, x, back_end)
    if choice.back_end == "reference":
        return scan(recurrence.step, x, state, constants, recurrence.spike)
    for part in (*state, *constants):
        if isinstance(part, Tensor) and part.device != x.device and part.numel() != 1:
            refuse("neuron state or constant", f"on {part.device}", f"on {x.device}, as the input")
    values = [_tensor(c, x) for c in constants]
    parts = [s.to(x.dtype) for s in state]
    grad = torch.is_grad_enabled()
    wants = [
        grad and x.requires_grad,
        grad and any(s.requires_grad for s in parts),
        *(grad and v.requires_grad for v in values),
    ]
    key = operator.define(recurrence.traced)
    y, *rest = operator.scan(x, parts, values, key, choice.back_end, [int(any(wants)), *map(int, wants)])
    return y, type(state)(*rest[: len(parts)])


def _tensor(value: Any, x: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        if value.numel() != 1 and value.shape != x.shape[1:]:
            try:
                torch.broadcast_shapes(value.shape, x.shape[1:])
            except RuntimeError:
                refuse("neuron constant", tuple(value.shape), f"one value, or {tuple(x.shape[2:])} per neuron")
        return value
    return torch.tensor(float(value), dtype=torch.float64)
