"""What a product would take, and why: for `doctor` and for people."""

from __future__ import annotations

from collections.abc import Sequence

from bitspike.errors import refuse
from bitspike.products.conv_choice import plan, problem_of
from bitspike.products.conv_methods import Geometry
from bitspike.products.kinds import Kind, Part, Policy, check_names, kinds_of_part


def explain_product(
    x_shape: Sequence[int],
    weight_shape: Sequence[int],
    x_kind: Kind = "real",
    weight_kind: Kind = "real",
    policy: Policy = "exact",
    part: Part = "forward",
    geometry: Geometry | None = None,
) -> tuple[str, str]:
    """(method, reason) of one part of a float32 product on this processor; measures the class if it is new.

    x_shape (..., K) with weight_shape (N, K), or (B, C, H, W) with (O, C/groups, R, S) and a geometry (default:
    stride 1, padding R // 2, S // 2).
    A method "sparse below D, else METHOD" depends on the density of ones in x.
    """
    check_names(x_kind, weight_kind, policy, part)
    # A gradient's class is named by the operand it multiplies; the other one is the real gradient.
    kinds = kinds_of_part(part, x_kind, weight_kind)
    form: list[int] = []
    if len(weight_shape) == len(x_shape) == 4:
        form = (geometry or Geometry((1, 1), (weight_shape[2] // 2, weight_shape[3] // 2), (1, 1), 1)).form
    elif len(weight_shape) != 2 or not x_shape or x_shape[-1] != weight_shape[1]:
        refuse("product sizes", f"x {tuple(x_shape)}, weight {tuple(weight_shape)}", "x (..., K), weight (N, K)")
    found = plan(problem_of(part, *kinds, policy, x_shape, weight_shape, form))
    if found.sparse_below > 0:
        return f"sparse below density {found.sparse_below:.2f}, else {found.dense}", found.reason
    return found.dense, found.reason
