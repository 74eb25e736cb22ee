"""Times of the methods of one class of products, in turn, on operands made for it; conversions included."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from bitspike.draws import generator
from bitspike.products import methods
from bitspike.products.operands import to_int8, transposed
from bitspike.products.problem import DENSITIES, Problem, allowed
from bitspike.products.table import Seconds

WARM, FEWEST, MOST = 1, 5, 25  # rounds
LONG = 0.5  # seconds after which no round beyond the fewest begins


def in_turn(calls: dict[str, Callable[[], object]]) -> Seconds:
    """The shortest of several rounds of each call, interleaved, on one thread and in that thread's own time.

    A thread's own time hardly sees what else the machine is doing, and every method shares its work evenly among
    threads, so that their order holds for any number of them.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times: dict[str, list[float]] = {name: [] for name in calls}
        begun = time.perf_counter()
        for number in range(WARM + MOST):
            if number >= WARM + FEWEST and time.perf_counter() - begun > LONG:
                break
            for name, call in calls.items():
                started = time.thread_time()
                call()
                if number >= WARM:
                    # A clock of coarse ticks must not make a time of zero.
                    times[name].append(max(time.thread_time() - started, 1e-9))
    finally:
        torch.set_num_threads(threads)
    return {name: min(values) for name, values in times.items()}


def operand(kind: str, shape: tuple[int, ...], density: float = 0.1) -> Tensor:
    """Values of this kind, always the same ones."""
    source = generator(0, "measure", kind)
    uniform = torch.rand(shape, generator=source)
    if kind == "spikes":
        return (uniform < density).float()
    if kind == "signs":
        return torch.where(uniform < 0.5, -1.0, 1.0)
    if kind == "integers":
        return (uniform * 255).floor() - 127
    return uniform - 0.5


@torch.no_grad()
def linear(problem: Problem) -> Seconds:
    """Times of float32 and of whatever could be allowed for this class under any policy."""
    rows, inputs, outputs = problem.measured_sizes()
    part, x_kind, w_kind = problem.part, problem.x_kind, problem.weight_kind
    able = allowed(problem._replace(policy="fast"))
    x, w, g = operand(x_kind, (rows, inputs)), operand(w_kind, (outputs, inputs)), operand("real", (rows, outputs))
    calls: dict[str, Callable[[], object]]
    if part == "forward":
        calls = {"float32": lambda: torch.nn.functional.linear(x, w)}
        if "int8" in able:
            calls["int8"] = lambda: methods.int8_forward(to_int8("x", x, x_kind)[0], to_int8("w", w, w_kind)[0])
    elif part == "grad_input":
        calls = {"float32": lambda: g @ w}
        if "digits" in able:
            calls["digits"] = lambda: methods.digits(g, to_int8("w", w, w_kind)[0])
    else:
        # Kept from the forward pass as int8, so float32 has to convert it back.
        x8 = to_int8("x", x, x_kind)[0]
        calls = {"float32": lambda: g.t() @ x8.float()}
        if "digits" in able:
            calls["digits"] = lambda: methods.digits(transposed(g), x8)
    if "sparse" in able:
        for density in DENSITIES:
            calls[f"sparse {density}"] = _sparse(part, operand("spikes", (rows, inputs), density), w, w_kind, g)
    return in_turn(calls)


def _sparse(part: str, x: Tensor, w: Tensor, w_kind: str, g: Tensor) -> Callable[[], object]:
    if part == "grad_weight":
        x8 = to_int8("x", x, "spikes")[0]
        return lambda: methods.sparse_grad_weight(g, x8)

    def forward() -> Tensor:
        weight = to_int8("w", w, w_kind)[0] if w_kind == "signs" else w
        return methods.sparse_forward(to_int8("x", x, "spikes")[0], weight)

    return forward
