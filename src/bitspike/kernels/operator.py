"""`bitspike::scan` and `bitspike::scan_adjoint`: a traced step over time as torch custom operators.

Custom operators are what torch.compile, autograd, torch.func.grad and vmap understand without looking inside. An
operator takes tensors and plain values only, so a step is named by the digest of its assignments; `define` enters
it into the table first.

The forward operator returns [y, *final state, *values kept for the adjoint]. `wants` is [keep anything, gradient of
the input, of the initial state, and one flag per constant].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bitspike.kernels import cpu, cuda
from bitspike.kernels.adjoint import Adjoint
from bitspike.kernels.cpu_source import stored
from bitspike.kernels.recurrence import keeping, variant
from bitspike.kernels.trace import Trace

TABLE: dict[str, Trace] = {}
BACK_ENDS: dict[str, Any] = {"cpu": cpu, "cuda": cuda}


def define(traced: Trace) -> str:
    """Enter a step into the table of the operators; returns its key."""
    key = traced.key()
    TABLE.setdefault(key, traced)
    return key


def _widest(key: str, wants: Sequence[int]) -> Adjoint:
    """The adjoint that decides what is kept: as if every final state had a gradient."""
    traced = TABLE[key]
    return variant(traced, _wanted(key, wants), bool(wants[1]), bool(wants[2]), tuple(traced.state))


def _wanted(key: str, wants: Sequence[int]) -> tuple[str, ...]:
    return tuple(name for name, flag in zip(TABLE[key].constants, wants[3:], strict=True) if flag)


@torch.library.custom_op("bitspike::scan", mutates_args=())
def scan(
    x: Tensor, state: list[Tensor], constants: list[Tensor], key: str, back_end: str, wants: list[int]
) -> list[Tensor]:
    """Run the step called `key` over x (T, *shape); see the module."""
    kept = _widest(key, wants).kept if wants[0] else ()
    y, last, keep = BACK_ENDS[back_end].forward(TABLE[key], kept, x, state, constants)
    return [y, *last, *keep]


@scan.register_fake
def _(
    x: Tensor, state: list[Tensor], constants: list[Tensor], key: str, back_end: str, wants: list[int]
) -> list[Tensor]:
    keep = stored(TABLE[key], _widest(key, wants).kept) if wants[0] else []
    over_time = [x.new_empty(x.shape) for _ in range(1 + len(keep))]
    return [over_time[0], *(torch.empty_like(s) for s in state), *over_time[1:]]


@torch.library.custom_op("bitspike::scan_adjoint", mutates_args=())
def scan_adjoint(
    gy: Tensor, final: list[Tensor], x: Tensor, y: Tensor, keep: list[Tensor], state: list[Tensor],
    constants: list[Tensor], key: str, back_end: str, wants: list[int], given: list[int],
) -> list[Tensor]:  # fmt: skip
    """Gradients [of the input, if wanted], [of the initial states, if wanted], [of each wanted constant].

    final: gradients of the final states flagged in `given`.
    """
    found, names = _found(key, wants, given), list(TABLE[key].state)
    waiting = iter(final)
    carries = [next(waiting) if flag else None for flag in given]
    gx, running, shares = BACK_ENDS[back_end].backward(found, gy, carries, x, y, keep, state, constants)
    result: list[Tensor] = []
    if wants[1]:
        result.append(gx if gx is not None else torch.zeros_like(gy))
    if wants[2]:
        result += [running[n] if n in running else torch.zeros_like(s) for n, s in zip(names, state, strict=True)]
    for name, value, flag in zip(TABLE[key].constants, constants, wants[3:], strict=True):
        if flag:
            share = shares[name].sum_to_size(value.shape) if name in shares else torch.zeros_like(value)
            # A constant of the neurons' own shape is not summed; an operator's result may be no view either way.
            result.append(share.to(value.dtype))
    return result


def _found(key: str, wants: Sequence[int], given: Sequence[int]) -> Adjoint:
    traced = TABLE[key]
    finals = tuple(name for name, flag in zip(traced.state, given, strict=True) if flag)
    narrow = variant(traced, _wanted(key, wants), bool(wants[1]), bool(wants[2]), finals)
    return keeping(narrow, _widest(key, wants).kept)


@scan_adjoint.register_fake
def _(
    gy: Tensor, final: list[Tensor], x: Tensor, y: Tensor, keep: list[Tensor], state: list[Tensor],
    constants: list[Tensor], key: str, back_end: str, wants: list[int], given: list[int],
) -> list[Tensor]:  # fmt: skip
    result = [gy.new_empty(gy.shape)] if wants[1] else []
    result += [torch.empty_like(s) for s in state] if wants[2] else []
    return result + [torch.empty_like(c) for c, flag in zip(constants, wants[3:], strict=True) if flag]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    x, state, constants, key, back_end, wants = inputs
    found, count = _widest(key, wants), len(state)
    nothing = x.new_empty(0)
    kept_input = x if found.trace.input in found.kept else nothing
    kept_output = output[0] if found.trace.output in found.kept else nothing
    ctx.save_for_backward(kept_input, kept_output, *output[1 + count :], *state, *constants)
    ctx.counts = (len(output) - 1 - count, count)
    ctx.plain, ctx.steps = (key, back_end, wants), x.shape[0]
    # Otherwise every value kept would get a gradient of zeros of its size.
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    key, back_end, wants = ctx.plain
    keep_count, count = ctx.counts
    x, y, *rest = ctx.saved_tensors
    keep, state, constants = rest[:keep_count], rest[keep_count : keep_count + count], rest[keep_count + count :]
    if not wants[0]:
        raise RuntimeError("bitspike.scan ran without keeping what its gradient needs")
    finals = grads[1 : 1 + count]
    gy = grads[0]
    if gy is None:
        like = next(g for g in finals if g is not None)
        gy = like.new_zeros((ctx.steps, *like.shape))
    given = [int(g is not None) for g in finals]
    present = [g for g in finals if g is not None]
    found = iter(scan_adjoint(gy, present, x, y, keep, state, constants, key, back_end, wants, given))
    gx = next(found) if wants[1] else None
    gs = [next(found) for _ in state] if wants[2] else [None] * count
    gp = [next(found) if flag else None for flag in wants[3:]]
    return gx, gs, gp, None, None, None


scan.register_autograd(_backward, setup_context=_setup)
