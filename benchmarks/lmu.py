"""A training step of the LMU on a sequence of 784 steps: plain PyTorch loops, ours, and the parallel form.

Run: python -m benchmarks.lmu [--quick]. Forward, cross-entropy and backward; B = 100, order 256, 212 hidden units.
Before any time is taken, gradients of ours are compared with those of the loop under autograd, and the hidden states
of the parallel form with those of a cell without feedback. "products alone" are the plain loop's matrix products, T
times each, on arrays that are there: the floor of a loop that takes them, as ours does for the hybrid. Real-valued, it
takes 16 steps of the memory at once and needs fewer products.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import common
from benchmarks.memory import give_back, resident
from bitspike.cells import LMU, ParallelLMU
from bitspike.neurons import TemporalQuantiser, redraw_carry

CLASSES = 10
PLAIN, OURS, FAST = "plain PyTorch loop", "ours, exact", "ours, bfloat16 products"


def cell(hybrid: bool, back_end: str = "cpu", products: str = "exact") -> LMU:
    """The psMNIST cell; all weights away from zero, so that every product is of numbers."""
    memory = TemporalQuantiser(torch.full((256,), 100.0), limit=16) if hybrid else None
    spikes = TemporalQuantiser(1.0, "tanh", limit=1) if hybrid else None
    made = LMU(1, memory=memory, spikes=spikes, own_leak=True, back_end=back_end, products=products)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in (made.e_h, made.e_m, made.w_x, made.w_h):
            weight.normal_(0, 0.02, generator=draw)
    return made


def plain(made: LMU, x: Tensor) -> Tensor:
    """The last hidden state of a real-valued LMU, as one would write it."""
    h, m = x.new_zeros(x.shape[1], made.hidden), x.new_zeros(x.shape[1], made.order)
    for x_t in x.unbind(0):
        u = F.linear(x_t, made.e_x) + F.linear(h, made.e_h) + F.linear(m, made.e_m)
        m = F.linear(m, made.a) + u * made.b
        h = torch.tanh(F.linear(x_t, made.w_x) + F.linear(h, made.w_h) + F.linear(m, made.w_m))
    return h


def plain_hybrid(made: LMU, x: Tensor) -> Tensor:
    """The last hidden state of the hybrid: `floor` with carried residual, straight through."""
    h, m = x.new_zeros(x.shape[1], made.hidden), x.new_zeros(x.shape[1], made.order)
    held, v_m, v_h = torch.zeros_like(m), torch.rand_like(m), torch.rand_like(h)
    leak = made.a.diagonal()

    def send(r: Tensor, v: Tensor, dt: float) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            total = v + dt * r
            n = total.floor()
        return r + (n / dt - r).detach(), total - n

    for x_t in x.unbind(0):
        u = F.linear(x_t, made.e_x) + F.linear(h, made.e_h) + F.linear(m, made.e_m)
        r = (F.linear(m, made.a) + u * made.b + leak * held).clamp(-0.16, 0.16)
        m, v_m = send(r, v_m, 100.0)
        held = (r - m).detach()
        current = F.linear(x_t, made.w_x) + F.linear(h, made.w_h) + F.linear(m, made.w_m)
        h, v_h = send(torch.tanh(current), v_h, 1.0)
    return h


def products(made: LMU, x: Tensor) -> None:
    """The products of one step forward and backward, and nothing else."""
    steps, batch = x.shape[:2]
    m, h = torch.randn(batch, made.order), torch.randn(batch, made.hidden)
    weights = [w.detach() for w in (made.a, made.w_m, made.w_h)]
    for _ in range(steps):
        for source, weight in zip((m, m, h), weights, strict=True):
            torch.mm(source, weight.t())
        for source, weight in zip((m, h, h), weights, strict=True):
            torch.mm(source, weight)
    rows = torch.randn(steps * batch, made.hidden)
    torch.mm(rows.t(), rows)
    torch.mm(rows.t(), torch.randn(steps * batch, made.order))


def trained(module: nn.Module, hidden: Callable[[Tensor], Tensor], x: Tensor, y: Tensor) -> Callable[[], list[Tensor]]:
    """A step of the module with a read-out: gradients of what it trains."""
    readout = torch.randn(CLASSES, getattr(module, "hidden", 1), generator=torch.Generator().manual_seed(1)) * 0.1
    weights = [p for p in module.parameters() if p.requires_grad]

    def step() -> list[Tensor]:
        loss = F.cross_entropy(F.linear(hidden(x), readout), y)
        return list(torch.autograd.grad(loss, weights))

    return step


def parallel(hybrid: bool) -> ParallelLMU:
    """The feed-forward form of the same size."""
    if not hybrid:
        return ParallelLMU(1, 212, 256).train()
    memory = TemporalQuantiser(torch.full((256,), 7 / 4), limit=7)
    return ParallelLMU(1, 212, 256, memory=memory, spikes=TemporalQuantiser(1.0, "tanh", limit=1)).train()


def peak(step: Callable[[], object]) -> float:
    """Growth of the process over one step, in MB."""
    step()
    give_back()
    before = resident("VmRSS")
    step()
    return (resident("VmHWM") - before) / 1e6


def check(found: list[Tensor], expected: list[Tensor], name: str) -> float:
    """Largest relative distance of a gradient to the plain loop's."""
    worst = max(float((f - e).norm() / e.norm()) for f, e in zip(found, expected, strict=True))
    if not worst < 1e-3:
        raise AssertionError(f"{name}: a gradient is {worst:.1e} away from the plain loop's")
    return worst


def check_parallel(form: ParallelLMU, x: Tensor) -> float:
    """Largest distance of a real-valued parallel form's hidden states to those of a cell without feedback."""
    plain_cell = LMU(1, form.hidden, form.order, bias=True, back_end="reference")
    with torch.no_grad():
        every = form.run(x)[0]  # the first run in training sets the scale
        plain_cell.w_m.copy_(form.from_memory.weight * form.scale)
        distance = float((every - plain_cell.run(x)[0]).abs().max())
    if not distance < 1e-4:
        raise AssertionError(f"parallel form: a hidden state is {distance:.1e} away from the plain loop's")
    return distance


def measure(hybrid: bool, steps: int, batch: int, seconds: float, most: int) -> dict[str, Any]:
    """All candidates of one kind, interleaved."""
    x = torch.rand(steps, batch, 1, generator=torch.Generator().manual_seed(2))
    y = torch.arange(batch) % CLASSES
    exact, fast, reference = cell(hybrid), cell(hybrid, products="fast"), cell(hybrid, "reference")
    for made in (exact, fast, reference):
        redraw_carry(made, 0, "benchmark")
    written = plain_hybrid if hybrid else plain
    calls: dict[str, Callable[[], object]] = {
        OURS: trained(exact, lambda x: exact.run(x, last=1)[0][-1], x, y),
        FAST: trained(fast, lambda x: fast.run(x, last=1)[0][-1], x, y),
        PLAIN: trained(reference, lambda x: written(reference, x), x, y),
        "products alone": lambda: products(exact, x),
    }
    looped = trained(reference, lambda x: reference.run(x, last=1)[0][-1], x, y)()
    distance = check(calls[OURS](), looped, OURS)  # type: ignore[arg-type]
    form = parallel(hybrid)
    apart = None if hybrid else check_parallel(form, x)
    every = trained(form, lambda x: form.run(x)[0].mean(0), x, y)
    last = trained(form, lambda x: form.run(x, last=1)[0][-1], x, y)
    calls |= {"parallel, every step": every, "parallel, last step": last}
    for call in calls.values():
        call()
    memory = {name: peak(call) for name, call in calls.items() if name != "products alone"}
    times = common.compared(common.interleave(calls, seconds, most), PLAIN)
    title = f"{'hybrid' if hybrid else 'real-valued'}, T = {steps}, B = {batch}"
    return {
        "title": title,
        "gradient_distance": distance,
        "parallel_distance": apart,
        "peak_megabytes": memory,
        **times,
    }


def main() -> None:
    """Real-valued and hybrid."""
    chosen = common.arguments(__doc__, argparse.ArgumentParser(description="the LMU's training step"))
    steps, seconds, most = (100, 5.0, 3) if chosen.quick else (784, 60.0, 9)
    result = []
    for hybrid in (False, True):
        found = measure(hybrid, steps, 100, seconds, most)
        result.append(found)
        print(f"\n{found['title']}, ratio to {found['base']}; peak MB {found['peak_megabytes']}")
        print(common.ratio_table(found), flush=True)
    common.save("lmu", {"steps": result}, chosen)


if __name__ == "__main__":
    main()
