"""A traced step over time with its gradient, for autograd and torch.func (grad, vmap, and both in either order)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.kernels import mapped
from bitspike.kernels.operator import keeps, scan, scan_adjoint
from bitspike.kernels.transforms import once


class Call(NamedTuple):
    """What stays the same over a run: step, back end, wanted gradients (see `operator`), number of states."""

    key: str
    back_end: str
    wants: tuple[int, ...]
    states: int


class _Scan(torch.autograd.Function):
    """(call, x, *state, *constants) -> (y, *final state, *values kept)."""

    @staticmethod
    def forward(call: Call, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        state, constants = list(rest[: call.states]), list(rest[call.states :])
        return tuple(scan(x, state, constants, call.key, call.back_end, list(call.wants)))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        call, x, *rest = inputs
        ctx.call, ctx.shape = call, output[0].shape
        # Otherwise every value kept would get a gradient of zeros of its size.
        ctx.set_materialize_grads(False)
        keep = output[1 + call.states :]
        ctx.mark_non_differentiable(*keep)
        ctx.has_x, ctx.has_y = keeps(call.key, call.wants)
        ctx.keeps = len(keep)
        ctx.save_for_backward(*([x] if ctx.has_x else []), *([output[0]] if ctx.has_y else []), *keep, *rest)

    @staticmethod
    @once
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        call: Call = ctx.call
        saved: list[Tensor] = list(ctx.saved_tensors)
        gy, finals, count = grads[0], grads[1 : 1 + call.states], call.states
        present = [g for g in finals if g is not None]
        wants = call.wants
        if gy is None and not present:
            return (None,) * (2 + len(wants) - 3 + count)
        if gy is None:
            gy = present[0].new_zeros(()).expand(ctx.shape)
        nothing = gy.new_empty(0)
        x = saved.pop(0) if ctx.has_x else nothing
        y = saved.pop(0) if ctx.has_y else nothing
        keep, rest = saved[: ctx.keeps], saved[ctx.keeps :]
        given = [int(g is not None) for g in finals]
        found = iter(
            scan_adjoint(
                gy, present, x, y, keep, rest[:count], rest[count:], call.key, call.back_end, list(wants), given
            )
        )
        gx = next(found) if wants[1] else None
        gs = [next(found) if wants[2] else None for _ in range(count)]
        return None, gx, *gs, *(next(found) if flag else None for flag in wants[3:])

    @staticmethod
    def vmap(info: Any, dims: tuple[Any, ...], call: Call, x: Tensor, *rest: Tensor) -> Any:
        """Fold the mapped dimension into the neurons; see `mapped`."""
        _, x_dim, *rest_dims = dims
        n = call.states
        x, state, constants = mapped.fold_forward(
            info.batch_size, x, x_dim, rest[:n], rest_dims[:n], rest[n:], rest_dims[n:]
        )
        found = _apply(call, x, *state, *constants)
        return found, (1, *(0 for _ in state), *(1 for _ in found[1 + n :]))


_apply: Callable[..., tuple[Tensor, ...]] = _Scan.apply


def differentiable_scan(call: Call, x: Tensor, state: list[Tensor], constants: list[Tensor]) -> tuple[Tensor, ...]:
    """y and the final state, with gradients for what `call.wants` names."""
    return _apply(call, x, *state, *constants)[: 1 + call.states]
