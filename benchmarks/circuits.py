"""Online learning of probabilistic circuits: steps per second of the compiled loop, and of a dense loop beside it.

Run: python -m benchmarks.circuits [--seconds S]. The dense loop does the same arithmetic for every weight at every
step, in one compiled pass too. Both learn the same stream from the same start and are timed in turns in one process.
After half an example (40 steps) in float64 they must have the same weights within 1e-6; later a last bit decides a
draw, and sends them apart. Processor seconds of one thread. An input is active in a step in which its filters are not
all 0, that is up to ten steps behind an event.
"""

from __future__ import annotations

import argparse
import time
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks import common
from bitspike.kernels.cpu import circuit_parts as codes
from bitspike.kernels.cpu.compiled import compiled
from bitspike.learners.circuits import GLM, CircuitLearner, Vowel
from bitspike.models.circuits import Circuits

EXAMPLE = 80  # steps in which the same pixels are active


class Case(NamedTuple):
    """pixels active in an example (share), features for each pixel, hidden circuits, symbols."""

    active: float
    polarities: int
    hidden: int
    symbols: int
    rule: type[CircuitLearner]


CASES = (
    *(Case(active, 2, 128, 2, Vowel) for active in (0.5, 0.2, 0.1)),
    *(Case(active, 1, 8, 1, GLM) for active in (0.5, 0.2, 0.1)),
)


def stream(case: Case, steps: int, seed: int) -> Tensor:
    """Events (steps, 1, pixels x polarities): pixels of an example fire in a third of its steps, with either sign."""
    source = torch.Generator().manual_seed(seed)
    x = torch.zeros(steps, 676, case.polarities)
    for begin in range(0, steps, EXAMPLE):
        some = torch.rand(676, generator=source) < case.active
        for t in range(begin, min(begin + EXAMPLE, steps)):
            fires = (some & (torch.rand(676, generator=source) < 1 / 3)).float()
            sign = (torch.rand(676, generator=source) < 0.5).long() * (case.polarities - 1)
            x[t].scatter_(1, sign[:, None], fires[:, None])
    return x.flatten(1)[:, None]


def learner(case: Case, dtype: torch.dtype = torch.float32) -> CircuitLearner:
    model = Circuits(676 * case.polarities, 10, hidden=case.hidden, symbols=case.symbols).to(dtype)
    return case.rule(model, rate=0.005)


def dense(
    spikes: Any, targets: Any, keys: Any, w: Any, own: Any, basis: Any, feedback: Any, mask: Any, e: Any, n: Any,
    m: Any, d: Any, own_e: Any, own_n: Any, own_m: Any, own_d: Any, past: Any, c: Any, mode: int, symbols: int,
    filtered: Any, begin: int,
) -> None:  # fmt: skip
    """The same rule (baseline "before", one stream) for every weight at every step; spikes (T, inputs) of 0 and 1."""
    steps, outputs = targets.shape
    units, filters, columns = w.shape
    circuits = columns // symbols
    hidden, first_own = (circuits - outputs) * symbols, units - columns
    u, q = np.zeros(columns, w.dtype), np.zeros(columns, w.dtype)
    g, none = np.zeros(columns, w.dtype), np.zeros(columns, w.dtype)
    traces = np.zeros((units, filters), w.dtype)
    one = w.dtype.type(1)
    for step in range(steps):
        for unit in range(units):
            for k in range(filters):
                a = w.dtype.type(0)
                for tap in range(basis.shape[1]):
                    a += basis[k, tap] * past[tap, unit]
                traces[unit, k] = a
        for j in range(columns):
            trace = w.dtype.type(0)
            for tap in range(basis.shape[1]):
                trace += feedback[0, tap] * past[tap, first_own + j]
            none[j] = trace
            u[j] = own[0, j] + own[1, j] * trace
        for unit in range(units):
            for k in range(filters):
                for j in range(columns):
                    u[j] += traces[unit, k] * w[unit, k, j]
        log_p, divergence = w.dtype.type(0), w.dtype.type(0)
        for i in range(circuits):
            _, log_silence = codes.symbol_chances(u, q, i * symbols, symbols)
            clamped = i * symbols >= hidden
            symbol = targets[step, i - hidden // symbols] if clamped else codes.FREE
            if not clamped:
                symbol = codes.drawn_symbol(q, i * symbols, symbols, (begin + step) * circuits + i, keys[0], keys[1])
            log = log_silence if symbol < 0 else log_silence + u[i * symbols + symbol]
            for s in range(symbols):
                g[i * symbols + s] = -q[i * symbols + s]
            if symbol >= 0:
                g[i * symbols + symbol] += one
            if clamped:
                log_p += log
            else:
                prior = one - c[codes.PRIOR] if symbol < 0 else c[codes.PRIOR] / w.dtype.type(symbols)
                divergence += log - np.log(prior)
        r = log_p - c[codes.GAMMA] * divergence
        if mode == codes.FILTERED_SIGNAL:
            filtered[0] = c[codes.KAPPA] * filtered[0] + c[codes.MORE] * r
            r = filtered[0]
        keep, more, slow, fast, eta = c[codes.KAPPA], c[codes.MORE], c[codes.BETA], c[codes.FAST], c[codes.ETA]
        for part in range(units * filters + 2):
            bias = part - units * filters
            unit, k = part // filters, part % filters
            ww = w[unit, k] if bias < 0 else own[bias]
            ee = e[unit, k] if bias < 0 else own_e[bias]
            nn = n[unit, k] if bias < 0 else own_n[bias]
            mm = m[unit, k] if bias < 0 else own_m[bias]
            dd = d[unit, k] if bias < 0 else own_d[bias]
            a = traces[unit, k] if bias < 0 else one
            for j in range(hidden):
                gain = a * mask[unit, j] if bias < 0 else (one if bias == 0 else none[j])
                x = keep * ee[j] + more * (gain * g[j])
                s2 = x * x
                way = (r - nn[j] / (mm[j] + c[codes.SMALL])) * x
                ee[j] = x
                nn[j] = slow * nn[j] + fast * (s2 * r)
                mm[j] = slow * mm[j] + fast * s2
                if mode == codes.FILTERED_UPDATE:
                    way = keep * dd[j] + more * way
                    dd[j] = way
                ww[j] += eta * way
            for j in range(hidden, columns):
                gain = a * mask[unit, j] if bias < 0 else (one if bias == 0 else none[j])
                x = keep * ee[j] + more * (gain * g[j])
                ee[j] = x
                ww[j] += eta * x
        for tap in range(basis.shape[1] - 1, 0, -1):
            past[tap] = past[tap - 1]
        past[0, :first_own] = spikes[step]
        for i in range(circuits):
            for s in range(symbols):
                past[0, first_own + i * symbols + s] = g[i * symbols + s] + q[i * symbols + s]


@cache
def dense_function() -> Any:
    return compiled(dense)


class Dense:
    """The dense loop on a network of its own."""

    def __init__(self, case: Case, dtype: torch.dtype = torch.float32) -> None:
        self.made = learner(case, dtype)
        model, (w, own, _, _) = self.made.model, self.made.model.arrays()
        hidden = model.hidden * model.symbols
        self.w, self.own = w, own
        self.basis, self.feedback = (f.to(model.weight.dtype).numpy() for f in (model.basis, model.feedback))
        self.mask = np.repeat(model.mask.numpy(), model.symbols, 1).astype(w.dtype)
        shapes = [(*w.shape[:2], width) for width in (w.shape[2], hidden, hidden, hidden)]
        self.parts = [np.zeros(shape, w.dtype) for shape in shapes]
        self.own_parts = [np.zeros((2, shape[2]), w.dtype) for shape in shapes]
        self.past = np.zeros((model.taps, model.units), w.dtype)
        self.filtered = np.zeros(1, w.dtype)
        rule = self.made.rule()
        self.c, self.mode, self.begin = codes.constants(*rule[:7], w.dtype), rule.mode, 0

    def learn(self, x: Tensor, targets: Any) -> None:
        keys = np.asarray(loops_keys(self.made), np.uint32)
        dense_function()(
            x[:, 0].numpy(), targets, keys, self.w, self.own, self.basis, self.feedback, self.mask, *self.parts,
            *self.own_parts, self.past, self.c, self.mode, self.made.model.symbols, self.filtered, self.begin,
        )  # fmt: skip
        self.begin += len(x)


def loops_keys(made: CircuitLearner) -> tuple[int, int]:
    """The words that name the draws of a learner's first stream."""
    from bitspike.draws import key_words

    return key_words(*made.keys, "circuits", 0)


def apart(case: Case) -> float:
    """Largest difference of the two loops' weights after half an example, in float64."""
    ours, theirs = learner(case, torch.float64), Dense(case, torch.float64)
    x, classes = stream(case, EXAMPLE, 0).double()[: EXAMPLE // 2], torch.tensor([0])
    ours.fit_batch(x, classes, reset=False)
    theirs.learn(x, np.ascontiguousarray(ours.clamped(classes, len(x))[:, 0].numpy()))
    found = float(np.abs(ours.model.arrays()[0] - theirs.w).max())
    assert found < 1e-6, f"weights differ by {found}"
    return found


def measure(case: Case, seconds: float) -> dict[str, Any]:
    """Both loops in turns on the same stream; the first example is learned untimed."""
    ours, theirs = learner(case), Dense(case)
    spent = {"ours": 0.0, "dense": 0.0}
    steps, examples, active, hidden = 0, 0, [], []
    while min(spent.values()) < seconds or examples < 3:
        x = stream(case, EXAMPLE, examples)
        classes = torch.tensor([examples % 10])
        targets = np.ascontiguousarray(ours.clamped(classes, EXAMPLE)[:, 0].numpy())
        began = time.process_time()
        ours.fit_batch(x, classes, reset=False)
        between = time.process_time()
        theirs.learn(x, targets)
        done = time.process_time()
        if examples:
            spent["ours"] += between - began
            spent["dense"] += done - between
            steps += EXAMPLE
            reached = torch.nn.functional.max_pool1d(x[:, 0].T[None], 10, 1)[0].T
            active.append(float(reached.view(len(reached), 676, -1).amax(2).mean()))
            hidden.append(float((theirs.past[:, -theirs.w.shape[2] : -10 * case.symbols] != 0).any(0).mean()))
        examples += 1
    rates = {name: steps / value for name, value in spent.items()}
    return {
        "case": f"676 x {case.polarities} inputs, {case.hidden} hidden, 10 outputs, C = {case.symbols}, K = 8",
        "weights": int(theirs.w.size),
        "active_inputs": float(np.mean(active)),
        "active_symbols_of_hidden": float(np.mean(hidden)),
        "steps_per_second": rates["ours"],
        "dense_steps_per_second": rates["dense"],
        "ratio": rates["ours"] / rates["dense"],
        "steps": steps,
        "largest_difference_of_weights_in_float64": apart(case),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0, help="processor seconds of the faster loop in each case")
    chosen = common.arguments(__doc__, parser)
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        rows.append(measure(case, chosen.seconds))
        print(
            {key: round(value, 4) if isinstance(value, float) else value for key, value in rows[-1].items()}, flush=True
        )
    common.save("circuits", {"cases": rows}, chosen)


if __name__ == "__main__":
    main()
