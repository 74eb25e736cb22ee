"""The convolution of few-bit operands, as torch custom operators with gradients; policies as in `linear_operator`.

    y[b, o, i, j] = sum over c, r, s of w[o, c, r, s] x[b, c, stride i + dilation r - padding, ...]

x (B, C, H, W), weight (O, C/groups, R, S), y (B, O, HO, WO). What backward needs of a few-bit x is kept as int8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from bitspike.errors import refuse
from bitspike.kernels.dtypes import mixed
from bitspike.kernels.transforms import wants_gradient
from bitspike.products import conv_methods
from bitspike.products import problem as problems
from bitspike.products.batched import one_by_one
from bitspike.products.conv_choice import ConvProblem, eight, half, plan
from bitspike.products.conv_methods import Geometry, Pair
from bitspike.products.kinds import Kind, Policy, check_names, few_bit, kinds_of_part
from bitspike.products.operands import parts_wanted, takes_part, wild


def conv2d(
    x: Tensor,
    weight: Tensor,
    x_kind: Kind = "real",
    weight_kind: Kind = "real",
    policy: Policy = "exact",
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Tensor:
    """x (B, C, H, W) with weight (O, C/groups, R, S) to (B, O, HO, WO); differentiable once in both.

    Raises BitspikeError when a claimed kind is false where it is made use of, when sizes do not match, or for an
    unknown name.
    """
    check_names(x_kind, weight_kind, policy)
    if x.ndim != 4 or weight.ndim != 4 or x.shape[1] != weight.shape[1] * groups:
        wanted = f"x (B, C, H, W) and weight (O, C/{groups}, R, S)"
        refuse("convolution sizes", f"x {tuple(x.shape)}, weight {tuple(weight.shape)}", wanted)
    geometry = Geometry(_pair(stride), _pair(padding), _pair(dilation), groups)
    if not _pays(x, weight, x_kind, weight_kind, policy, geometry):
        return mixed(lambda a, b: F.conv2d(a, b, None, *geometry), x, weight)
    if wants_gradient(x) or wants_gradient(weight):
        return _convolution(x, weight, x_kind, weight_kind, policy, _listed(geometry), True)[0]
    y: Tensor = convolution(x, weight, x_kind, weight_kind, policy, _listed(geometry), False)[0]
    return y


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _listed(geometry: Geometry) -> list[int]:
    return [*geometry.stride, *geometry.padding, *geometry.dilation, geometry.groups]


def _geometry(n: list[int]) -> Geometry:
    return Geometry((n[0], n[1]), (n[2], n[3]), (n[4], n[5]), n[6])


def _pays(x: Tensor, weight: Tensor, x_kind: Kind, weight_kind: Kind, policy: Policy, geometry: Geometry) -> bool:
    few = few_bit(x_kind) or (few_bit(weight_kind) and policy == "fast")
    if not few or policy == "float32" or not takes_part(x, weight):
        return False
    if x.device.type != "cpu" or min(geometry.sizes(x.shape, weight.shape)) < 1:
        return False
    problem = ConvProblem("forward", x_kind, weight_kind, policy, tuple(x.shape), tuple(weight.shape), geometry)
    if problem.work < max(problems.SMALL, 1):
        return False
    if torch.compiler.is_compiling():
        return True  # no files are read while tracing: the operator decides when it runs
    plans = (
        plan(ConvProblem(p, *kinds_of_part(p, x_kind, weight_kind), policy, problem.x_shape, problem.w_shape, geometry))
        for p in parts_wanted(x, weight)
    )
    return any(found.gains for found in plans)


@torch.library.custom_op("bitspike::convolution", mutates_args=())
def convolution(
    x: Tensor, weight: Tensor, x_kind: str, weight_kind: str, policy: str, geometry: list[int], keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """y, x as int8 if it is few-bit and to be kept, and its non-zeros."""
    form = _geometry(geometry)
    found = plan(ConvProblem("forward", x_kind, weight_kind, policy, tuple(x.shape), tuple(weight.shape), form))
    nothing = x.new_empty(0, dtype=torch.int8)
    x8, ones = eight("x", x, x_kind) if few_bit(x_kind) and (keep or found.gains) else (nothing, 0)
    way = found.method(ones / max(x.numel(), 1))
    if way == "sparse" and weight_kind == "real" and wild(weight.flatten(1)):
        way = "float32"
    if way == "int8":
        y = conv_methods.int8_forward(x8, eight("weight", weight, weight_kind)[0], x_kind, form)
    elif way == "sparse":
        if weight_kind != "real":
            eight("weight", weight, weight_kind)  # only to check the claim
        y = conv_methods.sparse_forward(x8, weight, form)
    else:
        y = F.conv2d(x.contiguous(), weight.contiguous(), None, *form)
    return y.contiguous(), x8 if keep else nothing, torch.tensor(ones)


@torch.library.custom_op("bitspike::convolution_grad_input", mutates_args=())
def grad_input(
    g: Tensor, weight: Tensor, weight_kind: str, policy: str, geometry: list[int], x_shape: list[int]
) -> Tensor:
    """g (B, O, HO, WO) to dL/dx (B, C, H, W)."""
    form, g = _geometry(geometry), g.contiguous()
    problem = ConvProblem("grad_input", "real", weight_kind, policy, tuple(x_shape), tuple(weight.shape), form)
    # Its values are not read.
    x = g.new_empty(x_shape)
    take = half if plan(problem).dense == "bfloat16" else conv_methods.torch_grads
    return cast(Tensor, take(g, x, weight.contiguous(), form, (True, False))[0]).contiguous()


@torch.library.custom_op("bitspike::convolution_grad_weight", mutates_args=())
def grad_weight(
    g: Tensor, x8: Tensor, ones: Tensor, x_kind: str, policy: str, geometry: list[int], w_shape: list[int]
) -> Tensor:
    """g (B, O, HO, WO), x8 int8 (B, C, H, W) with so many non-zeros to dL/dweight."""
    form, g = _geometry(geometry), g.contiguous()
    problem = ConvProblem("grad_weight", x_kind, "real", policy, tuple(x8.shape), tuple(w_shape), form)
    way = plan(problem).method(int(ones) / max(x8.numel(), 1))
    if way == "sparse" and not wild(g.flatten(1)):
        return conv_methods.sparse_grad_weight(g, x8, tuple(w_shape), form)
    # The weight's values are not read.
    weight, take = g.new_empty(w_shape), half if way == "bfloat16" else conv_methods.torch_grads
    return cast(Tensor, take(g, x8.to(g.dtype), weight, form, (False, True))[1]).contiguous()


@convolution.register_fake
def _(
    x: Tensor, weight: Tensor, x_kind: str, weight_kind: str, policy: str, geometry: list[int], keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    y = x.new_empty(x.shape[0], weight.shape[0], *_geometry(geometry).sizes(x.shape, weight.shape))
    x8 = x.new_empty(x.shape if keep and few_bit(x_kind) else (0,), dtype=torch.int8)
    return y, x8, torch.empty((), dtype=torch.int64)


@grad_input.register_fake
def _(g: Tensor, weight: Tensor, weight_kind: str, policy: str, geometry: list[int], x_shape: list[int]) -> Tensor:
    return g.new_empty(x_shape)


@grad_weight.register_fake
def _(g: Tensor, x8: Tensor, ones: Tensor, x_kind: str, policy: str, geometry: list[int], w_shape: list[int]) -> Tensor:
    return g.new_empty(w_shape)


class _Convolution(torch.autograd.Function):
    """`convolution` with its gradients: an autograd function, since operators' own cannot be used in torch.func."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, x_kind: str, weight_kind: str, policy: str, geometry: list[int], keep: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        made = convolution(x, weight, x_kind, weight_kind, policy, geometry, keep)
        return cast(tuple[Tensor, Tensor, Tensor], made)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, weight, ctx.x_kind, ctx.weight_kind, ctx.policy, ctx.geometry, _ = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(output[1] if few_bit(ctx.x_kind) else x, weight, output[2])
        ctx.set_materialize_grads(False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, ones = ctx.saved_tensors
        kinds, geometry = (ctx.x_kind, ctx.policy), ctx.geometry
        gx = gw = None
        if g is not None and ctx.needs_input_grad[0]:
            gx = grad_input(g, weight, ctx.weight_kind, ctx.policy, geometry, list(x.shape))
        if g is not None and ctx.needs_input_grad[1]:
            if few_bit(ctx.x_kind):
                gw = grad_weight(g, x, ones, *kinds, geometry, list(weight.shape))
            else:
                gw = conv_methods.torch_grads(g, x, weight, _geometry(geometry), (False, True))[1]
        return gx, gw, None, None, None, None, None


_convolution: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Convolution.apply
for operator in (convolution, grad_input, grad_weight):
    one_by_one(cast(Any, operator))
