"""Which method a product takes: allowed by its kinds and the policy, then by times measured on this processor.

A class of products is a part (forward, grad_input, grad_weight), the kinds, and the sizes rounded to powers of two.
Its times include every conversion from and to float32. The sums over spikes are timed at two densities; the choice
then depends on the density of the operand itself, so it is a function of the data and the stored table alone.

Where no table can be kept, only methods that are exact by arithmetic are taken, by a fixed rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

from bitspike.products import table
from bitspike.products.kinds import Part, few_bit, fits_float32, fits_int32
from bitspike.products.processor import capabilities

SMALL = 2**25  # multiplications; below, the calls and conversions cost what the product does
DENSITIES = (0.02, 0.2)
GAIN = 0.95  # a method replaces float32 when it takes at most this part of its time
MOST_DENSE = 0.6  # sums over spikes were never found to win above; guards a bad measurement
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


class Plan(NamedTuple):
    """dense: the method at any density; sparse_below: the density of x below which sums over spikes win."""

    dense: str
    sparse_below: float
    reason: str

    def method(self, density: float) -> str:
        """The method at this density of ones in x."""
        return "sparse" if density < self.sparse_below else self.dense


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


def plan(problem: Problem) -> Plan:
    """The method for this problem, from the table (measured now if it is not there)."""
    methods = allowed(problem)
    if not methods:
        return Plan("float32", 0.0, why_float32(problem, problem.work))

    def measure() -> table.Seconds:
        # Imported late: measuring runs the methods themselves.
        from bitspike.products import measure

        return measure.linear(problem)

    return decide(methods, problem.name, measure)


def decide(methods: tuple[str, ...], name: str, measure: Callable[[], table.Seconds]) -> Plan:
    """The plan for the class called `name`, to which these methods are allowed."""
    times = table.seconds(name, measure)
    if times is None:
        dense = "int8" if "int8" in methods else "float32"
        return Plan(dense, 0.0, "no table of measured times can be kept here: exact methods only")
    return from_times(methods, times)


def from_times(methods: tuple[str, ...], times: table.Seconds) -> Plan:
    """The plan that these times ask for."""
    plain = times["float32"]
    dense, best = "float32", plain
    for method in methods:
        if method in times and times[method] < min(best, GAIN * plain):
            dense, best = method, times[method]
    below = 0.0
    low, high = (times.get(f"sparse {d}", math.inf) for d in DENSITIES)
    if "sparse" in methods and math.isfinite(high) and low < GAIN * best:
        slope = max(high - low, 1e-12) / (DENSITIES[1] - DENSITIES[0])
        below = min(max(DENSITIES[0] + (GAIN * best - low) / slope, 0.0), MOST_DENSE)
    told = ", ".join(f"{name} {1e3 * value:.2f} ms" for name, value in times.items())
    return Plan(dense, below, f"measured here: {told}")


class Kinds(Protocol):
    """What a linear and a convolution problem share."""

    @property
    def part(self) -> Part: ...
    @property
    def x_kind(self) -> str: ...
    @property
    def weight_kind(self) -> str: ...
    @property
    def policy(self) -> str: ...


def why_float32(problem: Kinds, work: int) -> str:
    """The reason why nothing but torch's product is allowed."""
    if problem.policy == "float32":
        return "asked for by the policy"
    if work < SMALL:
        return f"small: {work} multiplications, conversions would cost more than they save"
    if not few_bit(problem.x_kind) and not few_bit(problem.weight_kind):
        return "both operands are real"
    can = capabilities()
    if not can.integers or not can.compiled:
        return str(can)
    if problem.part == "grad_input" and problem.policy == "exact":
        return "a real operand cut into integer digits keeps float32's error bound only at float32's own speed"
    return "no faster method is exact for these kinds"
