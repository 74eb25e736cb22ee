"""What a product would take, and why: for `doctor` and for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bitspike.errors import refuse
from bitspike.kernels.products.choose import Problem, plan
from bitspike.kernels.products.kinds import Kind, Part, Policy, check_names


def explain_product(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    x_kind: Kind = "real",
    weight_kind: Kind = "real",
    policy: Policy = "exact",
    part: Part = "forward",
) -> tuple[str, str]:
    """(method, reason) of one part of a float32 product on this processor; measures the class if it is new.

    x_shape (..., K) with weight_shape (N, K), or (B, C, H, W) with (O, C, kH, kW): stride 1, padding kH // 2.
    A method "sparse below D, else METHOD" depends on the density of ones in x.
    """
    check_names(x_kind, weight_kind, policy, part)
    if len(weight_shape) != 2 or not x_shape or x_shape[-1] != weight_shape[1]:
        refuse("product sizes", f"x {tuple(x_shape)}, weight {tuple(weight_shape)}", "x (..., K), weight (N, K)")
    # A gradient's class is named by the operand it multiplies; the other one is the real gradient.
    kinds = {"forward": (x_kind, weight_kind), "grad_input": ("real", weight_kind), "grad_weight": (x_kind, "real")}
    rows = math.prod(x_shape[:-1])
    found = plan(Problem(part, *kinds[part], policy, rows, weight_shape[1], weight_shape[0]))
    if found.sparse_below > 0:
        return f"sparse below density {found.sparse_below:.2f}, else {found.dense}", found.reason
    return found.dense, found.reason
