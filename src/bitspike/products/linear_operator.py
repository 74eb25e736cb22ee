"""The product y = x w^T of few-bit operands, as torch custom operators with gradients.

    y = x w^T          x_grad = y_grad w          w_grad = y_grad^T x

    float32   torch's own product everywhere
    exact     bit-exact where arithmetic guarantees it; otherwise float32 sums over the spikes, in the order that
              torch's product was found to have, or torch's product
    fast      forward as `exact`; in backward the gradient is cut to 16 bits (a scale per row or column) where that
              is faster

Only float32 operands take these ways; any other dtype, an empty operand and a small product go to torch as they
are. What backward needs of a few-bit x is kept as int8: a quarter of its bytes. Spikes that are int8 already (then
without a gradient of their own) are taken as they come.
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
from bitspike.products import methods
from bitspike.products import problem as problems
from bitspike.products.batched import one_by_one
from bitspike.products.choice import Plan, plan
from bitspike.products.kinds import Kind, Policy, check_names, few_bit, kinds_of_part
from bitspike.products.operands import count, parts_wanted, takes_part, to_int8, transposed, wild
from bitspike.products.problem import Problem


def linear(
    x: Tensor, weight: Tensor, x_kind: Kind = "real", weight_kind: Kind = "real", policy: Policy = "exact"
) -> Tensor:
    """x (..., K) and weight (N, K) to (..., N); differentiable once in both.

    x_kind, weight_kind: what the entries are claimed to be (`kinds`); a claim is checked wherever it is made use of,
    except of an x that is int8: whoever made it so has seen it.
    Raises BitspikeError when a claim is false, sizes do not match or a name is unknown.
    """
    check_names(x_kind, weight_kind, policy)
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        refuse("product sizes", f"x {tuple(x.shape)}, weight {tuple(weight.shape)}", "x (..., K) and weight (N, K)")
    if not _pays(x, weight, x_kind, weight_kind, policy):
        return mixed(F.linear, x, weight)
    rows = x.reshape(-1, x.shape[-1])
    if wants_gradient(x) or wants_gradient(weight):
        y = _product(rows, weight, x_kind, weight_kind, policy, True)[0]
    else:
        y = product(rows, weight, x_kind, weight_kind, policy, False)[0]
    return y.view(*x.shape[:-1], weight.shape[0])


def _pays(x: Tensor, weight: Tensor, x_kind: Kind, weight_kind: Kind, policy: Policy) -> bool:
    """Whether any part of this product may take another way than torch's."""
    few = few_bit(x_kind) or (few_bit(weight_kind) and policy == "fast")
    if not few or policy == "float32" or x.numel() * weight.shape[0] < max(problems.SMALL, 1):
        return False
    if not takes_part(weight if x.dtype == torch.int8 else x, weight):
        return False
    if torch.compiler.is_compiling():
        return True  # no files are read while tracing: the operator decides when it runs
    rows = x.numel() // x.shape[-1]
    sizes = (rows, x.shape[-1], weight.shape[0])
    made = (Problem(p, *kinds_of_part(p, x_kind, weight_kind), policy, *sizes) for p in parts_wanted(x, weight))
    return any(_plan(problem, x).gains for problem in made)


def _plan(problem: Problem, like: Tensor) -> Plan:
    if like.device.type == "cpu":
        return plan(problem)
    both = few_bit(problem.x_kind) and few_bit(problem.weight_kind)
    takes = problem.part == "forward" and both and methods.cuda_int8(like.device)
    return Plan("int8" if takes else "float32", 0.0, "int8 tensor cores" if takes else "float32 on this device")


@torch.library.custom_op("bitspike::product", mutates_args=())
def product(
    x: Tensor, weight: Tensor, x_kind: str, weight_kind: str, policy: str, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """x (M, K), weight (N, K) to y (M, N), x as int8 (M, K) if it is few-bit and to be kept, and its non-zeros."""
    found = _plan(Problem("forward", x_kind, weight_kind, policy, *x.shape, weight.shape[0]), x)
    nothing = x.new_empty(0, dtype=torch.int8)
    wanted = few_bit(x_kind) and (keep or found.gains)
    given = x.dtype == torch.int8
    x8, ones = (x, count(x)) if given else to_int8("x", x, x_kind) if wanted else (nothing, 0)
    way = found.method(ones / max(x.numel(), 1))
    if way == "sparse" and weight_kind == "real" and wild(weight.contiguous()):
        way = "float32"
    if way == "int8":
        y = methods.int8_forward(x8, to_int8("weight", weight, weight_kind)[0])
    elif way == "sparse":
        signs = weight_kind == "signs"
        y = methods.sparse_forward(x8, to_int8("weight", weight, weight_kind)[0] if signs else weight)
    else:
        y = F.linear(x.to(weight.dtype), weight)
    # An operator's result may not be its input.
    return y, x8 if keep and not given else nothing, torch.tensor(ones)


@torch.library.custom_op("bitspike::product_grad_input", mutates_args=())
def grad_input(g: Tensor, weight: Tensor, weight_kind: str, policy: str) -> Tensor:
    """g (M, N), weight (N, K) to dL/dx (M, K)."""
    g = g.contiguous()
    problem = Problem("grad_input", "real", weight_kind, policy, g.shape[0], weight.shape[1], g.shape[1])
    made = None
    if _plan(problem, g).dense == "digits":
        made = methods.digits(g, to_int8("weight", weight, weight_kind)[0])
    return g @ weight if made is None else made


@torch.library.custom_op("bitspike::product_grad_weight", mutates_args=())
def grad_weight(g: Tensor, x8: Tensor, ones: Tensor, x_kind: str, policy: str) -> Tensor:
    """g (M, N), x8 int8 (M, K) with so many non-zeros to dL/dweight (N, K)."""
    g = g.contiguous()
    problem = Problem("grad_weight", x_kind, "real", policy, g.shape[0], x8.shape[1], g.shape[1])
    way = _plan(problem, g).method(int(ones) / max(x8.numel(), 1))
    made = None
    if way == "digits":
        made = methods.digits(transposed(g), x8)
    elif way == "sparse" and not wild(g):
        made = methods.sparse_grad_weight(g, x8)
    return g.t() @ x8.to(g.dtype) if made is None else made


@product.register_fake
def _(
    x: Tensor, weight: Tensor, x_kind: str, weight_kind: str, policy: str, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    kept = keep and few_bit(x_kind) and x.dtype != torch.int8
    x8 = x.new_empty(x.shape if kept else (0,), dtype=torch.int8)
    return weight.new_empty(x.shape[0], weight.shape[0]), x8, torch.empty((), dtype=torch.int64)


@grad_input.register_fake
def _(g: Tensor, weight: Tensor, weight_kind: str, policy: str) -> Tensor:
    return g.new_empty(g.shape[0], weight.shape[1])


@grad_weight.register_fake
def _(g: Tensor, x8: Tensor, ones: Tensor, x_kind: str, policy: str) -> Tensor:
    return g.new_empty(g.shape[1], x8.shape[1])


class _Product(torch.autograd.Function):
    """`product` with its gradients: an autograd function, since operators' own cannot be used in torch.func."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, x_kind: str, weight_kind: str, policy: str, keep: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        return cast(tuple[Tensor, Tensor, Tensor], product(x, weight, x_kind, weight_kind, policy, keep))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        x, weight, ctx.x_kind, ctx.weight_kind, ctx.policy, _ = inputs
        ctx.mark_non_differentiable(*output[1:])
        converted = few_bit(ctx.x_kind) and x.dtype != torch.int8
        ctx.save_for_backward(output[1] if converted else x, weight, output[2])
        ctx.set_materialize_grads(False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        x, weight, ones = ctx.saved_tensors
        gx = gw = None
        if g is not None and ctx.needs_input_grad[0]:
            digits = ctx.policy == "fast" and few_bit(ctx.weight_kind)
            gx = grad_input(g, weight, ctx.weight_kind, ctx.policy) if digits else g @ weight
        if g is not None and ctx.needs_input_grad[1]:
            gw = grad_weight(g, x, ones, ctx.x_kind, ctx.policy) if few_bit(ctx.x_kind) else g.t() @ x
        return gx, gw, None, None, None, None


_product: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Product.apply
for operator in (product, grad_input, grad_weight):
    one_by_one(cast(Any, operator))
