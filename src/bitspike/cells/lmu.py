"""Legendre Memory Unit, hybrid or not: a recurrent cell whose memory is the Legendre memory.

    u_t = e_x x_t + e_h h_{t-1} + e_m m_{t-1}                     K signals, one memory each
    m_t = Q_m( Abar m_{t-1} + Bbar u_t + leak (r_{t-1} - m_{t-1}) )
    h_t = Q_h( tanh(W_x x_t + W_h h_{t-1} + W_m m_t + bias) )

Q_m, Q_h: quantisers with carried residual (`neurons.TemporalQuantiser`), or nothing: then this is the LMU (Voelker,
Kajic & Eliasmith 2019). With them every weight, Abar among them, meets whole numbers only. r is what Q_m was given
and r - m what it held back: with leak = 0 (the published hybrid) a unit's own state enters the next step as the whole
number it sent; with leak = diag(Abar) it acts on its own state with its own rest, as a membrane does, and only the
other units see whole numbers. The gradient is that of f: straight through Q, none through what is held back.

m is small where the window is long (order i of white input has size sqrt(2i + 1) / sqrt(theta) or less), so weights of
the usual size see nearly nothing of it at first. `normalise` puts a fixed factor per unit between memory and W_m, e_m,
which brings it to a root-mean-square of 1; folded into the weights, the network is the same.

e_h, e_m and W_h start at 0, and while they are 0 this is the feed-forward LMU (`parallel_lmu`), whose final steps are
one product each. `feed_forward` trains that network at a small part of the cost; the loop starts from what it learnt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from bitspike.cells.calibration import sizes_of
from bitspike.cells.legendre import all_states, discrete, last_states
from bitspike.cells.lmu_cell import Cell, Start, Weights
from bitspike.cells.lmu_scan import scan
from bitspike.cells.quantised import quantisers
from bitspike.cells.without_graph import (
    check_back_end,
    check_products,
    check_sizes,
    checked_last,
    choice_for,
    products_here,
)
from bitspike.draws import Key, generator
from bitspike.errors import refuse
from bitspike.kernels.dtypes import computing, computing_dtype, given_back
from bitspike.kernels.run import Choice
from bitspike.neurons.quantiser import QuantiserState, TemporalQuantiser
from bitspike.neurons.quantiser_draws import DrawState
from bitspike.neurons.recordings import Note, Undo


def signal_weights(signals: int, inputs: int) -> Tensor:
    """e_x at the start, (K, F): one signal sums all inputs; of several, signal k reads input k mod F."""
    if signals == 1:
        return torch.ones(1, inputs)
    return torch.eye(inputs)[torch.arange(signals) % inputs]


def raw_memory(x: Tensor, h: Tensor, m: Tensor, held: Tensor, w: Weights, a: Tensor, b: Tensor, leak: Tensor) -> Tensor:
    """What Q_m is given in one step, (B, K d), from x (B, F) and what the step before left."""
    u = x @ w.e_x.t() + h @ w.e_h.t() + m @ w.e_m.t()
    return (m.view(-1, len(w.e_x), len(b)) @ a.t() + u.unsqueeze(-1) * b).flatten(1) + leak * held


def hidden_current(x: Tensor, h: Tensor, m: Tensor, w: Weights) -> Tensor:
    """What tanh, and Q_h, are given in one step, (B, H), from x (B, F), the last h and this step's m."""
    return x @ w.w_x.t() + w.bias + h @ w.w_h.t() + m @ w.w_m.t()


class LMUState(NamedTuple):
    """h: (B, H); m, held: (B, K d), memory and what its quantiser held back; the quantisers' own states.

    Gradients pass through h and m: slices have those of the whole, unless their states are detached.
    """

    h: Tensor
    m: Tensor
    held: Tensor
    memory: Any
    hidden: Any


class LMU(nn.Module):
    """The cell over a sequence: x (T, B, F) to hidden states (T, B, H).

    hidden: H; order: d; window: theta in steps; signals: K. memory, spikes: Q_m over K d units and Q_h over H units
    (its nonlinearity is tanh), or None. own_leak: see the module. memory_range: on the first training batch, Q_m's
    step sizes are set so that its limit lies at this many times a unit's root-mean-square. normalise: on it, `scale`
    is set to one over that (see the module). keys: name of the draw of
    the weights: e_x = 1, W_m Glorot-normal, all others 0, Abar and Bbar fixed, as in the LMU's reference
    implementation; bias is off there.
    back_end: "reference" (a loop under autograd), "cpu" (`lmu_scan`), "auto". products: "exact" (the input's dtype) or
    "fast" (bfloat16 in training, on the cpu back end; evaluation stays exact).
    """

    a: Tensor
    b: Tensor
    calibrated: Tensor
    scale: Tensor

    def __init__(
        self,
        inputs: int,
        hidden: int = 212,
        order: int = 256,
        window: float = 784.0,
        signals: int = 1,
        bias: bool = False,
        memory: TemporalQuantiser | None = None,
        spikes: TemporalQuantiser | None = None,
        own_leak: bool = False,
        memory_range: float | None = None,
        normalise: bool = False,
        keys: tuple[Key, ...] = (0, "init"),
        back_end: str = "auto",
        products: str = "exact",
    ) -> None:
        super().__init__()
        check_sizes("lmu", inputs=inputs, hidden=hidden, signals=signals, order=order)
        check_back_end("lmu", back_end)
        check_products("lmu", products)
        if spikes is not None and spikes.nonlinearity is not torch.tanh:
            refuse("lmu hidden quantiser", f"nonlinearity {spikes.nonlinearity}", "'tanh'")
        if memory is not None and memory.nonlinearity is not None:
            refuse("lmu memory quantiser", f"nonlinearity {memory.nonlinearity}", "none: the memory is linear")
        self.inputs, self.hidden, self.order, self.window, self.signals = inputs, hidden, order, window, signals
        # Called with input, memory and hidden states (T, B, *) of every run.
        self.watchers: list[Callable[[Tensor, Tensor, Tensor], None]] = []
        self.own_leak, self.back_end, self.products = own_leak, back_end, products
        a, b = discrete(order, window)
        dtype = torch.get_default_dtype()
        self.register_buffer("a", a.to(dtype))
        self.register_buffer("b", b.to(dtype))
        units = signals * order
        self.e_x = nn.Parameter(signal_weights(signals, inputs))
        self.e_h = nn.Parameter(torch.zeros(signals, hidden))
        self.e_m = nn.Parameter(torch.zeros(signals, units))
        self.w_x = nn.Parameter(torch.zeros(hidden, inputs))
        self.w_h = nn.Parameter(torch.zeros(hidden, hidden))
        spread = (2 / (units + hidden)) ** 0.5
        drawn = torch.randn(hidden, units, generator=generator(*keys, "w_m")) * spread
        self.w_m = nn.Parameter(drawn.to(dtype))
        self.bias = nn.Parameter(torch.zeros(hidden), requires_grad=bias)
        self.memory, self.spikes, self.memory_range = memory, spikes, memory_range
        bounded = memory is None or memory.limit is not None
        if memory_range is not None and not (memory_range > 0 and bounded):
            refuse("lmu memory range", memory_range, "a positive number, and a quantiser with a limit")
        if (memory_range is not None or normalise) and inputs == signals == 1:
            self.e_x.requires_grad_(False)
        self.normalise, self.feed_forward = normalise, False
        self.register_buffer("scale", torch.ones(units))
        self.register_buffer("calibrated", torch.tensor(memory_range is None and not normalise))

    @classmethod
    def from_options(cls, options: Any, inputs: int, setting: Any) -> LMU:
        """The cell of a recipe."""
        hybrid = options.hybrid
        memory, spikes = quantisers(hybrid, options.signals * options.order, setting.seed)
        return cls(
            inputs, options.hidden, options.order, options.window, options.signals, options.bias, memory, spikes,
            own_leak=hybrid is not None and hybrid.own_leak,
            memory_range=None if hybrid is None else hybrid.memory_range,
            normalise=options.normalise, keys=(setting.seed, "init"), back_end=setting.back_end,
            products=products_here(setting.products),
        )  # fmt: skip

    def initial(self, like: Tensor) -> LMUState:
        """Zeros, and new carries, for one time step of input `like` (B, F)."""
        dtype = computing_dtype(like.dtype)
        h = like.new_zeros(len(like), self.hidden, dtype=dtype)
        m = like.new_zeros(len(like), self.signals * self.order, dtype=dtype)
        states = [
            QuantiserState(torch.zeros_like(z)) if q is None else q.initial(z)
            for q, z in ((self.memory, m), (self.spikes, h))
        ]
        return LMUState(h, m, torch.zeros_like(m), states[0], states[1])

    def forward(self, x: Tensor, last: int | None = None) -> Tensor:
        """Hidden states after the `last` final steps, all if left out, (last, B, H), from zero."""
        return self.run(x, last=last)[0]

    def run(self, x: Tensor, state: LMUState | None = None, last: int | None = None) -> tuple[Tensor, LMUState]:
        """Hidden states after the `last` final steps (all, if left out), (last, B, H), and the state after them."""
        last = checked_last(last, x, self.inputs)
        given, x = x.dtype, computing(x).to(torch.promote_types(computing_dtype(x.dtype), self.e_x.dtype))
        with torch.autocast(x.device.type, enabled=False):
            y, state = self._run(x, state, last)
        return given_back(y, given), state

    def _run(self, x: Tensor, state: LMUState | None, last: int) -> tuple[Tensor, LMUState]:
        if self.training and x.shape[1] and not bool(self.calibrated):
            self.calibrate(x)
        new = x.shape[1] if state is None else 0
        if self.training and self.feed_forward and state is None:
            return self._without_feedback(x, last)
        state = self.initial(x[0]) if state is None else self._checked(state, x)
        if self.choice(x).back_end == "reference" or x.shape[1] == 0:
            return self._loop(x, state, last, new)
        watched = bool(self.watchers) or any(q is not None and q.observers for q in (self.memory, self.spikes))
        y, now, (m, held, v_m, v_h) = scan(
            self._cell(x), Start(state.h, state.m, state.held, state.memory.v, state.hidden.v), x, self.weights(x),
            len(x) if watched else last, watched,
        )  # fmt: skip
        for quantiser, seen in ((self.memory, m), (self.spikes, y)):
            if quantiser is not None and quantiser.observers and quantiser.step_size() is not None:
                quantiser.observe(seen, new)
        for watcher in self.watchers:
            watcher(x, m, y)
        end = LMUState(y[-1], now, held, QuantiserState(v_m), QuantiserState(v_h))
        return y[len(y) - last :], end

    def _checked(self, state: LMUState, x: Tensor) -> LMUState:
        """A state in x's dtype; refuses one of another batch or cell."""
        batch, units = x.shape[1], self.signals * self.order
        for name, part, size in (("h", state.h, self.hidden), ("m", state.m, units), ("held", state.held, units)):
            if part.shape != (batch, size):
                refuse(f"lmu state {name}", tuple(part.shape), f"({batch}, {size})")
        memory = _carried("memory", self.memory, state.memory, state.m.to(x))
        hidden = _carried("hidden", self.spikes, state.hidden, state.h.to(x))
        return LMUState(state.h.to(x), state.m.to(x), state.held.to(x), memory, hidden)

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """From x (T, B, F): Q_m's step sizes, limit / (memory_range RMS), and `scale`, per unit of the static memory.

        The ratio of the step in use to the final one, which a schedule sets, is kept.
        """
        size = sizes_of(all_states(x @ self.e_x.to(x).t(), self.order, self.window))
        memory = self.memory
        if memory is not None and memory.limit is not None and self.memory_range is not None:
            final = (memory.limit.double() / (self.memory_range * size)).to(memory.final.dtype)
            ratio = (memory.dt / memory.final).to(final)
            memory.final, memory.dt = final, final * ratio
        if self.normalise:
            self.scale = (1 / size).to(self.scale)
        self.calibrated = torch.ones_like(self.calibrated)

    def weights(self, like: Tensor | None = None) -> Weights:
        """All matrices in like's dtype; e_m and W_m as they meet the memory."""
        dtype = self.e_x.dtype if like is None else like.dtype
        named = (self.e_x, self.e_h, self.e_m, self.w_x, self.w_h, self.w_m, self.bias)
        e_x, e_h, e_m, w_x, w_h, w_m, bias = (weight.to(dtype) for weight in named)
        scale = self.scale.to(dtype)
        return Weights(e_x, e_h, e_m * scale, w_x, w_h, w_m * scale, bias)

    def choice(self, x: Tensor) -> Choice:
        """The back end for input x and why: the one asked for, or an error that says why not."""
        draws = any(q is not None and q.mode != "carry" for q in (self.memory, self.spikes))
        return choice_for("lmu", self.back_end, x, "cells.lmu_scan", "a quantiser draws its counts" if draws else None)

    def watch(self, note: Note) -> Undo | None:
        """See `neurons.recordings`: hidden states with the memory m; quantisers are watched themselves."""
        if self.spikes is not None:
            return None

        def told(x: Tensor, m: Tensor, h: Tensor) -> None:
            note(h, lambda: {"m": m})

        self.watchers.append(told)
        return lambda: self.watchers.remove(told)

    def fan_out(self) -> dict[str, float]:
        """Weights that one count of a memory or hidden unit meets in a step; the read-out is not the cell's."""
        return {"memory": self.order + self.hidden + self.signals, "spikes": self.hidden + self.signals}

    def report_operations(self, tally: Any, given: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """For the energy account (`energy.tally`), of memory and hidden states (T, B, *) of a run.

        The signal into the memory, and what own_leak holds back, are real: a multiply-add for each of their weights.
        """
        x, (m, h) = given[0], output
        n_m, n_h = (
            y if q is None or q.step_size() is None else q.counts(y) for q, y in ((self.memory, m), (self.spikes, h))
        )
        tally.product("input", torch.cat([self.e_x, self.w_x]), x, self.signals + self.hidden)
        tally.product("signal", self.b, tally.active(x, self.signals), self.order)
        weights = torch.cat([self.a.flatten(), self.e_m.flatten()])
        tally.product("memory", weights, n_m, self.order + self.signals, delayed=True)
        tally.product("to_hidden", self.w_m, n_m, self.hidden)
        tally.product("feedback", torch.cat([self.w_h, self.e_h]), n_h, self.hidden + self.signals, delayed=True)
        if self.own_leak and self.memory is not None:
            tally.product("leak", self.a.diagonal(), tally.active(x, m.shape[2]), 1)
        for part, q, y, n in (("memory", self.memory, m, n_m), ("spikes", self.spikes, h, n_h)):
            if q is not None and q.step_size() is not None:
                tally.fires(y, q, n, part=part, cell=True)

    def real_states(self) -> int:
        """Real numbers of state besides the quantisers' carries: what own_leak holds back."""
        return self.signals * self.order if self.own_leak and self.memory is not None else 0

    def leak(self, like: Tensor) -> Tensor:
        """What is held back enters the next step times this: (K d,)."""
        own = self.a.diagonal().repeat(self.signals).to(like)
        return own if self.own_leak else torch.zeros_like(own)

    def _cell(self, x: Tensor) -> Cell:
        sizes = []
        for q, count in ((self.memory, self.signals * self.order), (self.spikes, self.hidden)):
            dt, bound = (None, None) if q is None else (q.step_size(), q.bound(x.dtype))
            sizes.append(None if dt is None else dt.to(x).expand(count).contiguous())
            limit = x.new_full((), torch.inf) if bound is None else bound.to(x)
            sizes.append(limit.expand(count).contiguous())
        m_dt, m_bound, h_dt, h_bound = sizes
        return Cell(
            self.a.to(x), self.b.to(x), m_dt, cast(Tensor, m_bound), h_dt, cast(Tensor, h_bound),
            self.leak(x), torch.bfloat16 if self.products == "fast" and self.training else x.dtype,
        )  # fmt: skip

    def _without_feedback(self, x: Tensor, last: int) -> tuple[Tensor, LMUState]:
        """The final steps with e_h = e_m = W_h = 0; the carries before them are drawn (see `parallel_lmu`)."""
        e_x, _, _, w_x, _, w_m, bias = self.weights(x)
        m = raw = last_states(x @ e_x.t(), self.order, self.window, last).flatten(2)
        inner: Any = QuantiserState(torch.zeros_like(raw[-1]))
        outer: Any = QuantiserState(torch.zeros(x.shape[1], self.hidden, dtype=x.dtype, device=x.device))
        if self.memory is not None:
            m, inner = self.memory.run(raw)
        current = x[len(x) - last :] @ w_x.t() + bias + m @ w_m.t()
        h = current.tanh()
        if self.spikes is not None:
            h, outer = self.spikes.run(current)
        held = (raw[-1] - m[-1]).detach()
        return h, LMUState(h[-1], m[-1], held, inner, outer)

    def _loop(self, x: Tensor, state: LMUState, last: int, new: int) -> tuple[Tensor, LMUState]:
        """The plain loop under autograd, any dtype and device: the oracle."""
        w, a, b, leak = self.weights(x), self.a.to(x), self.b.to(x), self.leak(x)
        h, m, held, inner, outer = state
        outputs, memories = [], []
        for t, x_t in enumerate(x.unbind(0)):
            # Without a state a quantiser takes the one of `initial`, and counts new presentations.
            begins = new > 0 and t == 0
            raw = raw_memory(x_t, h, m, held, w, a, b, leak)
            if self.memory is None:
                m = raw
            else:
                m, inner = self.memory.advance(raw, None if begins else inner)
                held = (self.memory.activity(raw) - m).detach()
            current = hidden_current(x_t, h, m, w)
            if self.spikes is None:
                h = current.tanh()
            else:
                h, outer = self.spikes.advance(current, None if begins else outer)
            outputs.append(h)
            memories.append(m)
        for watcher in self.watchers:
            watcher(x, torch.stack(memories), torch.stack(outputs))
        return torch.stack(outputs[len(x) - last :]), LMUState(h, m, held, inner, outer)


def _carried(name: str, quantiser: TemporalQuantiser | None, state: Any, like: Tensor) -> Any:
    """A quantiser's state for units `like` (B, N), in their dtype; refuses one of other units or another mode."""
    kind = QuantiserState if quantiser is None or quantiser.mode == "carry" else DrawState
    if not isinstance(state, kind):
        refuse(f"lmu state {name}", type(state).__name__, kind.__name__)
    if not isinstance(state, QuantiserState):
        return state
    if state.v.shape != like.shape:
        refuse(f"lmu state {name}", tuple(state.v.shape), str(tuple(like.shape)))
    return QuantiserState(state.v.to(like))


def train_feed_forward(model: nn.Module, on: bool) -> None:
    """Set `feed_forward` of every LMU in `model`."""
    for module in model.modules():
        if isinstance(module, LMU):
            module.feed_forward = on
