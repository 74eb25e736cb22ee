"""Learning of probabilistic circuits as the papers write it, every weight at every step: the oracle of the loops.

Per step, with g = d log p / d u times the trace of the synapse, out = clamped circuits, hid = drawn ones:

    e  <- kappa e + (1 - kappa) g
    r   = sum_out log p(s) - gamma sum_hid [log q(s) - log prior(s)]
    n  <- beta n + (1 - beta) e^2 r,   m <- beta m + (1 - beta) e^2,   b = n / (m + 1e-7)
    VOWEL    d <- kappa d + (1 - kappa) (r - b) e;    hid: w += eta d          out: w += eta e
    FL-SNN   l <- kappa l + (1 - kappa) r (in the place of r);  hid: w += eta (l - b) e
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.draws import threefry
from bitspike.kernels.cpu import circuit_parts as codes
from bitspike.models.circuits import Circuits
from bitspike.neurons.winner_take_all import divergence_term, log_probability, one_hot, symbols_of


@dataclass
class PlainState:
    """What goes on from step to step, for B streams."""

    past: Tensor  # (D, B, U), the latest first
    parts: dict[str, list[Tensor]]  # e, n, m, d of weight and own
    filtered: Tensor
    level: Tensor
    step: int = 0


def begin(model: Circuits, streams: int) -> PlainState:
    """At rest."""
    dtype = model.weight.dtype
    zeros = {
        name: [torch.zeros(streams, *part.shape, dtype=dtype) for part in (model.weight, model.own)] for name in "enmd"
    }
    past = torch.zeros(model.basis.shape[1], streams, model.units, dtype=dtype)
    return PlainState(past, zeros, torch.zeros(streams, dtype=dtype), torch.zeros((), dtype=dtype))


@torch.no_grad()
def learn(
    model: Circuits, state: PlainState, x: Tensor, targets: Tensor, words: list[tuple[int, int]], rule: Any,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Learn steps x (T, B, *features), targets (T, B, O) as `kernels.cpu.circuit_loops` has them.

    rule: eta, kappa, beta, gamma, prior, guard, first, mode, base, several. Returns symbols (T, B, N), log p (T, B) of
    clamped outputs and signals (T, B).
    """
    found: list[list[Tensor]] = [[], [], []]
    for now, wanted in zip(x.flatten(2), targets, strict=True):
        for kept, value in zip(found, _step(model, state, now, wanted, words, rule), strict=True):
            kept.append(value)
    symbols, log_p, signal = (torch.stack(values) for values in found)
    return symbols, log_p, signal


def _step(
    model: Circuits, state: PlainState, x: Tensor, wanted: Tensor, words: list[tuple[int, int]], rule: Any
) -> tuple[Tensor, Tensor, Tensor]:
    streams, hidden, c = len(x), model.hidden, rule
    traces = torch.einsum("kd,dbu->buk", model.basis.to(x.dtype), state.past)
    mine = torch.einsum("d,dbu->bu", model.feedback[0].to(x.dtype), state.past)[:, model.inputs :]
    mine = (mine * (torch.arange(mine.shape[1]) < model.heard)).view(streams, model.circuits, model.symbols)
    u = torch.einsum("buk,ukic->bic", traces, model.weight) + model.own[0] + model.own[1] * mine
    numbers = np.arange(model.circuits, dtype=np.int64) + state.step * model.circuits
    high = (numbers >> 32).astype(np.uint32)
    uniform = torch.stack(
        [torch.from_numpy((threefry(numbers.astype(np.uint32), high, *two)[0] >> 8) * 2.0**-24) for two in words]
    )
    symbols = symbols_of(u, uniform.to(x.dtype))
    clamped = wanted.long()
    symbols[:, hidden:] = torch.where(clamped == codes.FREE, symbols[:, hidden:], clamped)
    learned = torch.ones_like(symbols, dtype=torch.bool)
    learned[:, hidden:] = clamped != codes.FREE
    vectors = one_hot(symbols, model.symbols, x.dtype)
    g = (vectors - (u - u.logsumexp(-1, keepdim=True).logaddexp(torch.zeros_like(u[..., :1]))).exp()) * learned[
        ..., None
    ]
    logs = log_probability(u, symbols)
    if c.guard and model.symbols == 1:
        logs = (c.guard + logs.exp()).log()
    log_p = (logs * learned)[:, hidden:].sum(1)
    terms = divergence_term(u, symbols, c.prior)[:, :hidden]
    r = log_p - c.gamma * ((c.guard + terms.exp()).log() if c.guard else terms).sum(1)
    importance = torch.full((streams,), 1 / streams, dtype=x.dtype)
    if c.several:
        state.filtered = c.kappa * state.filtered + r
        importance = state.filtered.softmax(0)
        bound = state.filtered.logsumexp(0) - np.log(streams)
        one = (1 - c.kappa) * bound if c.mode == codes.FILTERED_SIGNAL else bound - c.kappa * state.level
        state.level, r = bound, one.expand(streams)
    elif c.mode == codes.FILTERED_SIGNAL:
        state.filtered = c.kappa * state.filtered + (1 - c.kappa) * r
        r = state.filtered
    if state.step == 0:
        g = g * c.first
    by_synapse = torch.einsum("buk,bic->bukic", traces, g) * model.mask[:, None, :, None]
    for number, (weights, gradient) in enumerate(
        ((model.weight, by_synapse), (model.own, torch.stack([g, g * mine], 1)))
    ):
        _update(weights, gradient, r, importance, {name: state.parts[name][number] for name in "enmd"}, hidden, c)
    state.past = torch.cat([torch.cat([x, vectors.flatten(1)], 1)[None], state.past[:-1]])
    state.step += 1
    return symbols, log_p, r


def _update(
    weights: Tensor, gradient: Tensor, r: Tensor, importance: Tensor, parts: dict[str, Tensor], hidden: int, c: Any
) -> None:
    """One step of all weights (..., N, C), given the gradient (B, ..., N, C) and what is carried, changed in place."""
    e, n, m, d = (parts[name] for name in "enmd")
    signal = r.view(-1, *[1] * (gradient.ndim - 1))
    share = importance.view_as(signal)
    e.mul_(c.kappa).add_(gradient, alpha=1 - c.kappa)
    before = n / (m + 1e-7)
    n.mul_(c.beta).add_(e**2 * signal, alpha=1 - c.beta)
    m.mul_(c.beta).add_(e**2, alpha=1 - c.beta)
    after = n / (m + 1e-7)
    baseline: Any = {codes.NO_BASELINE: 0.0, codes.BASELINE_BEFORE: before, codes.BASELINE_WITH: after}[c.base]
    own = torch.arange(weights.shape[-2]) < hidden
    if c.mode == codes.FILTERED_UPDATE:
        d.mul_(c.kappa).add_((signal - baseline) * e, alpha=1 - c.kappa)
        way = d
    elif c.mode == codes.FILTERED_SIGNAL:
        way = (signal - baseline) * e
    elif c.mode == codes.ALIASED:
        aliased = c.kappa * (e + (1 - c.kappa) * (signal - after) * e)
        e.copy_(torch.where(own[:, None], aliased, e))
        way = e
    else:
        way = e
    weights += c.eta * torch.where(own[:, None], way.mean(0), (share * e).sum(0))
