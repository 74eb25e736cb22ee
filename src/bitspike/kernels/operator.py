"""`bitspike::scan` and `bitspike::scan_adjoint`: a traced step over time as torch custom operators.

Custom operators are what torch.compile and vmap understand without looking inside (`kernels.mapped` has their vmap
rules, `kernels.differentiable` their gradient). An operator takes tensors and plain values only, so a step is named
by the digest of its assignments; `define` enters it into the table first.

The forward operator returns [y, *final state, *values kept for the adjoint]. `wants` is [keep anything, gradient of
the input, of the initial state, and one flag per constant].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.kernels.adjoint import Adjoint
from bitspike.kernels.cpu import back_end as cpu
from bitspike.kernels.cpu.source import by_reference, stored
from bitspike.kernels.cuda import back_end as cuda
from bitspike.kernels.recurrence import keeping, variant
from bitspike.kernels.trace import Node, Trace
from bitspike.kernels.transforms import constant_in_graphs

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


def kept_by(key: str, wants: Sequence[int]) -> tuple[Node, ...]:
    """The values the forward pass keeps; none if no gradient is wanted."""
    return _widest(key, wants).kept if wants[0] else ()


class Keeps(NamedTuple):
    """Whether the input and the output are among the values kept."""

    input: bool
    output: bool


_KEEPS: dict[tuple[str, tuple[int, ...]], Keeps] = {}


@constant_in_graphs
def keeps(key: str, wants: tuple[int, ...]) -> Keeps:
    """What autograd must save besides the values kept."""
    found = _KEEPS.get((key, wants))
    if found is None:
        found = _KEEPS[key, wants] = Keeps(*by_reference(TABLE[key], kept_by(key, wants)))
    return found


def _wanted(key: str, wants: Sequence[int]) -> tuple[str, ...]:
    return tuple(name for name, flag in zip(TABLE[key].constants, wants[3:], strict=True) if flag)


# Defined without an autograd rule (`torch.library.custom_op` would add one that torch.func cannot see through).
torch.library.define(
    "bitspike::scan", "(Tensor x, Tensor[] state, Tensor[] constants, str key, str back_end, int[] wants) -> Tensor[]"
)
torch.library.define(
    "bitspike::scan_adjoint",
    "(Tensor gy, Tensor[] final, Tensor x, Tensor y, Tensor[] keep, Tensor[] state, Tensor[] constants, "
    "str key, str back_end, int[] wants, int[] given) -> Tensor[]",
)


@torch.library.impl("bitspike::scan", "CompositeExplicitAutograd")
def _scan(
    x: Tensor, state: list[Tensor], constants: list[Tensor], key: str, back_end: str, wants: list[int]
) -> list[Tensor]:
    """Run the step called `key` over x (T, *shape); see the module."""
    y, last, keep = BACK_ENDS[back_end].forward(TABLE[key], kept_by(key, wants), x, state, constants)
    return [y, *last, *keep]


def _scan_fake(
    x: Tensor, state: list[Tensor], constants: list[Tensor], key: str, back_end: str, wants: list[int]
) -> list[Tensor]:
    keep = stored(TABLE[key], kept_by(key, wants))
    y, *kept = (x.new_empty(shape) for shape in (TABLE[key].handed_on(x.shape), *(x.shape for _ in keep)))
    return [y, *(torch.empty_like(s) for s in state), *kept]


@torch.library.impl("bitspike::scan_adjoint", "CompositeExplicitAutograd")
def _scan_adjoint(
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
        result.append(gx if gx is not None else gy.new_zeros(cpu.run_shape(TABLE[key], gy, state)))
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


def _scan_adjoint_fake(
    gy: Tensor, final: list[Tensor], x: Tensor, y: Tensor, keep: list[Tensor], state: list[Tensor],
    constants: list[Tensor], key: str, back_end: str, wants: list[int], given: list[int],
) -> list[Tensor]:  # fmt: skip
    result = [gy.new_empty(cpu.run_shape(TABLE[key], gy, state))] if wants[1] else []
    result += [torch.empty_like(s) for s in state] if wants[2] else []
    return result + [torch.empty_like(c) for c, flag in zip(constants, wants[3:], strict=True) if flag]


torch.library.register_fake("bitspike::scan", _scan_fake)
torch.library.register_fake("bitspike::scan_adjoint", _scan_adjoint_fake)
scan = torch.ops.bitspike.scan
scan_adjoint = torch.ops.bitspike.scan_adjoint
