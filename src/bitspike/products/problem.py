"""One product to be made: its class by name, and the methods that its kinds and the policy allow.

A class of products is a part (forward, grad_input, grad_weight), the kinds, and the sizes rounded to powers of two.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from bitspike.products.kinds import Part, few_bit, fits_float32, fits_int32
from bitspike.products.processor import capabilities

SMALL = 2**25  # multiplications; below, the calls and conversions cost what the product does
DENSITIES = (0.02, 0.2)  # at which the sums over spikes are timed
WORK = 2**30  # multiplications that a measurement may cost


class Problem(NamedTuple):
    """One product: its part, kinds, policy and sizes: rows M, inputs K, outputs N."""

    part: Part
    x_kind: str
    weight_kind: str
    policy: str
    rows: int
    inputs: int
    outputs: int

    @property
    def work(self) -> int:
        """Multiplications of the plain product."""
        return self.rows * self.inputs * self.outputs

    @property
    def name(self) -> str:
        """The class of this problem; the policy is no part of it, since it only allows methods."""
        m, k, n = self.measured_sizes()
        return f"{self.part}-{self.x_kind}-{self.weight_kind}-{m}x{k}x{n}"

    def measured_sizes(self) -> tuple[int, int, int]:
        """Powers of two next to the sizes; fewer rows where the product would take too long."""
        m, k, n = (2 ** round(math.log2(max(size, 1))) for size in (self.rows, self.inputs, self.outputs))
        return max(min(m, WORK // (k * n)), 16), k, n


def allowed(problem: Problem) -> tuple[str, ...]:
    """The methods that this problem may take besides float32, on this processor."""
    can = capabilities()
    part, x_kind, weight_kind, policy, rows, inputs, outputs = problem
    methods: list[str] = []
    if policy == "float32" or problem.work < SMALL:
        return ()
    if part == "forward":
        both = few_bit(x_kind) and few_bit(weight_kind)
        if both and can.integers and fits_int32(x_kind, weight_kind, inputs):
            methods.append("int8")
        adds = weight_kind in ("signs", "real") or fits_float32(x_kind, weight_kind, inputs)
        if x_kind == "spikes" and adds and can.compiled:
            methods.append("sparse")
    elif part == "grad_weight":
        if x_kind == "spikes" and can.compiled:
            methods.append("sparse")
        if policy == "fast" and few_bit(x_kind) and can.integers and can.compiled and 128 * 127 * rows < 2**31:
            methods.append("digits")
    elif policy == "fast" and few_bit(weight_kind) and can.integers and can.compiled and 128 * 127 * outputs < 2**31:
        methods.append("digits")
    return tuple(methods)


def why_float32(problem: Any) -> str:
    """The reason why nothing but torch's product is allowed, to a `Problem` or `ConvProblem`."""
    if problem.policy == "float32":
        return "asked for by the policy"
    if problem.work < SMALL:
        return f"small: {problem.work} multiplications, conversions would cost more than they save"
    if not few_bit(problem.x_kind) and not few_bit(problem.weight_kind):
        return "both operands are real"
    can = capabilities()
    if not can.integers or not can.compiled:
        return str(can)
    if problem.part == "grad_input" and problem.policy == "exact":
        return "a real operand cut into integer digits keeps float32's error bound only at float32's own speed"
    return "no faster method is exact for these kinds"
