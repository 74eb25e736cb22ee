"""Products of few-bit operands, linear ones and convolutions, as torch custom operators with gradients.

    y = x w^T          x_grad = y_grad w          w_grad = y_grad^T x
    y[b, o, i, j] = sum over c, r, s of w[o, c, r, s] x[b, c, stride i + dilation r - padding, ...]

    float32   torch's own product everywhere
    exact     bit-exact where arithmetic guarantees it; otherwise float32 sums over the spikes, in the order that
              torch's product was found to have, or torch's product
    fast      forward as `exact`; in backward the gradient is cut to 16 bits (a scale per row or column), or, of a
              convolution, rounded to bfloat16, where that is faster

Only float32 operands take these ways; any other dtype, an empty operand and a small product go to torch as they
are. What backward needs of a few-bit x is kept as int8: a quarter of its bytes. Spikes of a linear product that are
int8 already (then without a gradient of their own) are taken as they come.

Operators know a convolution by its `form`, the seven numbers of its `Geometry`; a linear product has none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from bitspike.errors import refuse
from bitspike.kernels.dtypes import mixed
from bitspike.kernels.transforms import once, wants_gradient
from bitspike.products import conv_methods, methods
from bitspike.products import problem as problems
from bitspike.products.batched import one_by_one
from bitspike.products.choice import Plan
from bitspike.products.conv_choice import ConvProblem, eight, half, plan, problem_of
from bitspike.products.conv_methods import Geometry, Pair, geometry_of
from bitspike.products.kinds import Kind, Policy, check_names, few_bit, kinds_of_part
from bitspike.products.operands import count, parts_wanted, takes_part, transposed, wild
from bitspike.products.problem import Problem

Made = tuple[Tensor, Tensor, Tensor]


def linear(
    x: Tensor, weight: Tensor, x_kind: Kind = "real", weight_kind: Kind = "real", policy: Policy = "exact"
) -> Tensor:
    """x (..., K) and weight (N, K) to (..., N); differentiable once in both.

    x_kind, weight_kind: what the entries are claimed to be (`kinds`); a claim is checked wherever it is made use of.
    Raises BitspikeError when a claim is false, sizes do not match or a name is unknown.
    """
    check_names(x_kind, weight_kind, policy)
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        refuse("product sizes", f"x {tuple(x.shape)}, weight {tuple(weight.shape)}", "x (..., K) and weight (N, K)")
    y = _made(x, weight, x_kind, weight_kind, policy, [])
    return mixed(F.linear, x, weight) if y is None else y.view(*x.shape[:-1], weight.shape[0])


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
    y = _made(x, weight, x_kind, weight_kind, policy, geometry.form)
    return mixed(lambda a, b: F.conv2d(a, b, None, *geometry), x, weight) if y is None else y


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _made(x: Tensor, weight: Tensor, x_kind: Kind, weight_kind: Kind, policy: Policy, form: list[int]) -> Tensor | None:
    """The product by the operator, of rows (M, K) where it is linear; None where torch's own is as good."""
    few = few_bit(x_kind) or (few_bit(weight_kind) and policy == "fast")
    taken = weight if x.dtype == torch.int8 and not form else x
    if not few or policy == "float32" or not takes_part(taken, weight):
        return None
    if form and (x.device.type != "cpu" or min(geometry_of(form).sizes(x.shape, weight.shape)) < 1):
        return None
    problem = problem_of("forward", x_kind, weight_kind, policy, x.shape, weight.shape, form)
    if problem.work < max(problems.SMALL, 1):
        return None
    if not torch.compiler.is_compiling():  # no files are read while tracing: the operator decides when it runs
        kinds = ((part, *kinds_of_part(part, x_kind, weight_kind)) for part in parts_wanted(x, weight))
        made = (problem_of(*each, policy, x.shape, weight.shape, form) for each in kinds)
        if not any(_plan(each, x).gains for each in made):
            return None
    rows, keep = x if form else x.reshape(-1, x.shape[-1]), wants_gradient(x) or wants_gradient(weight)
    if keep:
        return _product(rows, weight, x_kind, weight_kind, policy, form, True)[0]
    y: Tensor = product(rows, weight, x_kind, weight_kind, policy, form, False)[0]
    return y


def _plan(problem: Problem | ConvProblem, like: Tensor) -> Plan:
    if like.device.type == "cpu":
        return plan(problem)
    both = few_bit(problem.x_kind) and few_bit(problem.weight_kind)
    takes = problem.part == "forward" and both and methods.cuda_int8(like.device)
    return Plan("int8" if takes else "float32", 0.0, "int8 tensor cores" if takes else "float32 on this device")


@torch.library.custom_op("bitspike::product", mutates_args=())
def product(
    x: Tensor, weight: Tensor, x_kind: str, weight_kind: str, policy: str, form: list[int], keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """y, x as int8 if it is few-bit and to be kept, and its non-zeros; x (M, K), weight (N, K), or a convolution's."""
    found = _plan(problem_of("forward", x_kind, weight_kind, policy, x.shape, weight.shape, form), x)
    nothing = x.new_empty(0, dtype=torch.int8)
    given, wanted = x.dtype == torch.int8, few_bit(x_kind) and (keep or found.gains)
    x8, ones = (x, counted(x, x_kind)) if given else eight("x", x, x_kind) if wanted else (nothing, 0)
    way = found.method(ones / max(x.numel(), 1))
    if way == "sparse" and weight_kind == "real" and wild(weight.flatten(1)):
        way = "float32"
    # Where sums over spikes take the weight as it is, only to check the claim.
    claimed = way == "int8" or (way == "sparse" and (weight_kind == "signs" or (form and few_bit(weight_kind))))
    w8 = eight("weight", weight, weight_kind)[0] if claimed else nothing
    if form:
        geometry = geometry_of(form)
        if way == "int8":
            y = conv_methods.int8_forward(x8, w8, x_kind, geometry)
        elif way == "sparse":
            y = conv_methods.sparse_forward(x8, weight, geometry)
        else:
            y = F.conv2d(x.contiguous(), weight.contiguous(), None, *geometry)
    elif way == "int8":
        y = methods.int8_forward(x8, w8)
    elif way == "sparse":
        y = methods.sparse_forward(x8, w8 if weight_kind == "signs" else weight)
    else:
        y = F.linear(x.to(weight.dtype), weight)
    # An operator's result may not be its input.
    return y.contiguous(), x8 if keep and not given else nothing, torch.tensor(ones)


def counted(x: Tensor, x_kind: str) -> int:
    """How many entries of an int8 x are not 0; one that is not of its kind, by which loops go astray, is refused."""
    ones = count(x)
    if x.numel() and (
        (x_kind == "spikes" and (int(x.min()) < 0 or int(x.sum(dtype=torch.int64)) != ones))
        or (x_kind == "signs" and int(x.abs().min()) + int(x.abs().max()) != 2)
    ):
        few = {"spikes": (0, 1), "signs": (-1, 1)}[x_kind]
        wrong = x[(x != few[0]) & (x != few[1])]
        refuse("product x", f"{int(wrong[0])} among '{x_kind}'", " and ".join(map(str, few)))
    return ones


@torch.library.custom_op("bitspike::product_grad_input", mutates_args=())
def grad_input(g: Tensor, weight: Tensor, weight_kind: str, policy: str, form: list[int], x_shape: list[int]) -> Tensor:
    """dL/dx from g = dL/dy and the weight."""
    g = g.contiguous()
    way = _plan(problem_of("grad_input", "real", weight_kind, policy, x_shape, weight.shape, form), g).dense
    if form:
        # The values of x are not read.
        take, x = half if way == "bfloat16" else conv_methods.torch_grads, g.new_empty(x_shape)
        return cast(Tensor, take(g, x, weight.contiguous(), geometry_of(form), (True, False))[0]).contiguous()
    made = methods.digits(g, eight("weight", weight, weight_kind)[0]) if way == "digits" else None
    return g @ weight if made is None else made


@torch.library.custom_op("bitspike::product_grad_weight", mutates_args=())
def grad_weight(
    g: Tensor, x8: Tensor, ones: Tensor, x_kind: str, policy: str, form: list[int], w_shape: list[int]
) -> Tensor:
    """dL/dweight from g = dL/dy and x as int8, with so many non-zeros."""
    g = g.contiguous()
    found = _plan(problem_of("grad_weight", x_kind, "real", policy, x8.shape, w_shape, form), g)
    way = found.method(int(ones) / max(x8.numel(), 1))
    sparse = way == "sparse" and not wild(g.flatten(1))
    if form:
        if sparse:
            return conv_methods.sparse_grad_weight(g, x8, tuple(w_shape), geometry_of(form))
        # The weight's values are not read.
        take, weight = half if way == "bfloat16" else conv_methods.torch_grads, g.new_empty(w_shape)
        return cast(Tensor, take(g, x8.to(g.dtype), weight, geometry_of(form), (False, True))[1]).contiguous()
    made = methods.digits(transposed(g), x8) if way == "digits" else None
    made = methods.sparse_grad_weight(g, x8) if sparse else made
    return g.t() @ x8.to(g.dtype) if made is None else made


@product.register_fake
def _(x: Tensor, weight: Tensor, x_kind: str, weight_kind: str, policy: str, form: list[int], keep: bool) -> Made:
    kept = keep and few_bit(x_kind) and x.dtype != torch.int8
    places = geometry_of(form).sizes(x.shape, weight.shape) if form else ()
    x8 = x.new_empty(x.shape if kept else (0,), dtype=torch.int8)
    return weight.new_empty(x.shape[0], weight.shape[0], *places), x8, torch.empty((), dtype=torch.int64)


@grad_input.register_fake
def _(g: Tensor, weight: Tensor, weight_kind: str, policy: str, form: list[int], x_shape: list[int]) -> Tensor:
    return g.new_empty(x_shape)


@grad_weight.register_fake
def _(g: Tensor, x8: Tensor, ones: Tensor, x_kind: str, policy: str, form: list[int], w_shape: list[int]) -> Tensor:
    return g.new_empty(w_shape)


class _Product(torch.autograd.Function):
    """`product` with its gradients: an autograd function, since operators' own cannot be used in torch.func."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, x_kind: str, weight_kind: str, policy: str, form: list[int], keep: bool
    ) -> Made:
        return cast(Made, product(x, weight, x_kind, weight_kind, policy, form, keep))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Made) -> None:
        x, weight, ctx.x_kind, ctx.weight_kind, ctx.policy, ctx.form, _ = inputs
        ctx.mark_non_differentiable(*output[1:])
        converted = few_bit(ctx.x_kind) and x.dtype != torch.int8
        ctx.save_for_backward(output[1] if converted else x, weight, output[2])
        ctx.set_materialize_grads(False)

    @staticmethod
    @once
    def backward(ctx: Any, g: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, ones = ctx.saved_tensors
        form = ctx.form
        gx = gw = None
        if g is not None and ctx.needs_input_grad[0]:
            by_operator = form or (ctx.policy == "fast" and few_bit(ctx.weight_kind))
            given = (g, weight, ctx.weight_kind, ctx.policy, form, list(x.shape))
            gx = grad_input(*given) if by_operator else g @ weight
        if g is not None and ctx.needs_input_grad[1]:
            if few_bit(ctx.x_kind):
                gw = grad_weight(g, x, ones, ctx.x_kind, ctx.policy, form, list(weight.shape))
            elif form:
                gw = conv_methods.torch_grads(g, x, weight, geometry_of(form), (False, True))[1]
            else:
                gw = g.t() @ x.to(g.dtype)
        return gx, gw, None, None, None, None, None


_product: Callable[..., Made] = _Product.apply
for operator in (product, grad_input, grad_weight):
    one_by_one(cast(Any, operator))
