"""The LMU without feedback into its memory: all steps at once, and, hybrid, small whole numbers into every weight.

    u_t = e_x x_t                        m_t = Abar m_{t-1} + Bbar u_t          real-valued, by `legendre`
    h_t = Q_h( f(W_m Q_m(m_t) + W_x x_t + bias) )                               f: tanh or relu

Q_m, Q_h: quantisers with carried residual at every step, or nothing (Chilkuri & Eliasmith, "Parallelizing Legendre
Memory Unit Training", 2021). No trained weight meets anything but whole numbers, the input excepted.

Running the final steps alone is exact: with v_0 uniform, a carry is uniform at every step whatever the input was
(`neurons.quantiser`), independent from unit to unit; so drawing the carries anew where the read-out begins gives the
distribution of a run through all steps, at the cost of the steps that are read. All steps are run where they are
asked for or looked at: the final measurement counts the levels of every one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bitspike.cells.calibration import sizes_of
from bitspike.cells.legendre import all_states, check_memory, discrete, last_states
from bitspike.cells.legendre_readings import all_readings, pays
from bitspike.cells.lmu import signal_weights
from bitspike.cells.quantised import quantisers
from bitspike.cells.without_graph import check_sizes, checked_last
from bitspike.draws import Key, generator
from bitspike.errors import check_name, refuse
from bitspike.kernels.cpu import back_end as cpu
from bitspike.kernels.dtypes import computing, given_back
from bitspike.kernels.transforms import transformed
from bitspike.layers.stepwise import stepwise
from bitspike.neurons.quantiser import TemporalQuantiser
from bitspike.neurons.recordings import Note, Undo, cell_watched
from bitspike.neurons.static import STATIC
from bitspike.weights import stored_dtype

NONLINEARITIES = ("tanh", "relu")


class ParallelLMU(nn.Module):
    """x (T, B, F) to hidden states (T, B, H).

    memory, spikes: Q_m over K d units and Q_h over H units (its nonlinearity is f), or None. What Q_m sees is m_t
    times a fixed `scale` that gives every unit a root-mean-square of 1 on the first training batch; a deployed
    network folds it into the unit's step size. keys: name of the draw of the weights (Glorot-uniform W_m, W_x = 0,
    e_x = 1).
    """

    calibrated: Tensor
    scale: Tensor

    def __init__(
        self,
        inputs: int,
        hidden: int = 346,
        order: int = 468,
        window: float = 784.0,
        signals: int = 1,
        nonlinearity: str = "tanh",
        memory: TemporalQuantiser | None = None,
        spikes: TemporalQuantiser | None = None,
        keys: tuple[Key, ...] = (0, "init"),
    ) -> None:
        super().__init__()
        check_sizes("lmu", inputs=inputs, hidden=hidden, signals=signals, order=order)
        check_memory(order, window)
        check_name("lmu nonlinearity", nonlinearity, NONLINEARITIES, " or ".join(map(repr, NONLINEARITIES)))
        if spikes is not None and spikes.nonlinearity is not STATIC[nonlinearity]:
            refuse("lmu hidden quantiser", f"nonlinearity {spikes.nonlinearity}", repr(nonlinearity))
        if memory is not None and memory.nonlinearity is not None:
            refuse("lmu memory quantiser", f"nonlinearity {memory.nonlinearity}", "none: the memory is linear")
        self.inputs, self.hidden, self.order, self.window, self.signals = inputs, hidden, order, float(window), signals
        self.nonlinearity = nonlinearity
        # e_x, W_m with the bias, and W_x: Linear layers, so that operations on them are counted as any other's.
        self.to_signal = nn.Linear(inputs, signals, bias=False)
        # From one input to one signal it is a factor that `scale` undoes.
        self.to_signal.weight.requires_grad_(inputs > 1 or signals > 1)
        self.from_memory = nn.Linear(signals * order, hidden)
        self.from_input = nn.Linear(inputs, hidden, bias=False)
        bound = (6 / (signals * order + hidden)) ** 0.5
        with torch.no_grad():
            self.from_memory.weight.uniform_(-bound, bound, generator=generator(*keys, "w_m"))
            self.to_signal.weight.copy_(signal_weights(signals, inputs))
            self.from_memory.bias.zero_()
            self.from_input.weight.zero_()
        self.memory, self.spikes = memory, spikes
        self.register_buffer("calibrated", torch.tensor(False))
        self.register_buffer("scale", torch.ones(signals * order))

    @classmethod
    def from_options(cls, options: Any, inputs: int, setting: Any) -> ParallelLMU:
        """The cell of a recipe."""
        units, curve = options.signals * options.order, options.nonlinearity
        memory, spikes = quantisers(options.hybrid, units, setting.seed, curve)
        return cls(
            inputs, options.hidden, options.order, options.window, options.signals, curve, memory, spikes,
            (setting.seed, "init"),
        )  # fmt: skip

    @property
    def begins_where_read(self) -> bool:
        """True where states depend on how many are read: quantisers begin at rest at the first of these."""
        return self.memory is not None or self.spikes is not None

    def forward(self, x: Tensor, last: int | None = None) -> Tensor:
        """Hidden states after the `last` final steps, all if left out, (last, B, H)."""
        return self.run(x, last=last)[0]

    def run(self, x: Tensor, state: Any = None, last: int | None = None) -> tuple[Tensor, None]:
        """Hidden states after the `last` final steps (all, if left out), (last, B, H).

        Steps before them are run only where somebody observes the quantisers (see the module). There is no state
        to go on from: the sequence is one.
        """
        last = checked_last(last, x, self.inputs)
        if state is not None:
            refuse("parallel lmu state", "a state", "none: it reads a whole sequence")
        with torch.autocast(x.device.type, enabled=False):
            return given_back(self._run(computing(x), last), x.dtype), None

    def _run(self, x: Tensor, last: int) -> Tensor:
        if self.training and x.shape[1] and not bool(self.calibrated):
            self.calibrate(x)
        u = _weighed(self.to_signal, x)
        if self._readable(x, last):
            return self._readings(u, x)
        watched = any(q is not None and (q.observers or q._forward_hooks) for q in (self.memory, self.spikes))
        if last < len(x) and (self.training or not watched):
            m, x = last_states(u, self.order, self.window, last), x[len(x) - last :]
        else:
            m = all_states(u, self.order, self.window)
        m = m.flatten(2) * self.scale.to(m.dtype)
        if self.memory is not None:
            m = self.memory(m)
        current = _weighed(self.from_memory, m) + _weighed(self.from_input, x)
        h: Tensor = STATIC[self.nonlinearity](current) if self.spikes is None else self.spikes(current)
        return h[len(h) - last :]

    def _readable(self, x: Tensor, last: int) -> bool:
        """Whether every step is wanted and nobody needs the memory's states themselves; see `legendre_readings`."""
        on_cpu = x.device.type == "cpu" and x.dtype in cpu.DTYPES and cpu.unavailable() is None
        looked_at = any(
            layer._forward_hooks or layer._forward_pre_hooks for layer in (self.from_memory, self.from_input)
        )
        every = last == len(x) and x.shape[1] > 0 and pays(len(x), x.shape[1], self.hidden)
        return self.memory is None and every and on_cpu and not looked_at and not transformed()

    def _readings(self, u: Tensor, x: Tensor) -> Tensor:
        """Hidden states of all steps."""
        w_m, w_x, tanh = self.from_memory, self.from_input, self.spikes is None and self.nonlinearity == "tanh"
        weights = (w_m.weight.to(x.dtype) * self.scale.to(x.dtype), w_x.weight.to(x.dtype), w_m.bias.to(x.dtype))
        current = all_readings(u, x, self.window, *weights, tanh)
        made: Tensor = current if tanh else (self.spikes or STATIC[self.nonlinearity])(current)
        return made

    def watch(self, note: Note) -> Undo | None:
        """See `neurons.recordings`: hidden states of all steps; quantisers are watched themselves."""
        return cell_watched(self, note) if self.spikes is None else None

    def fan_out(self) -> dict[str, float]:
        """Weights that one count of a memory unit meets in a step; the hidden units meet those of the read-out."""
        return {"memory": self.hidden}

    def report_operations(self, tally: Any, given: tuple[Any, ...], output: Tensor) -> None:
        """For the energy account (`energy.tally`): the memory as a recurrence, real-valued; weights are layers."""
        a, b = discrete(self.order, self.window)
        signals, memory = (tally.active(given[0], n) for n in (self.signals, self.signals * self.order))
        tally.product("signal", b, signals, self.order, kind="LMU")
        tally.product("memory", a, memory, self.order, kind="LMU")

    def real_states(self) -> int:
        """Real numbers of state besides the quantisers' carries: the memory itself."""
        return self.signals * self.order

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Set `scale` from x (T, B, F)."""
        size = sizes_of(all_states(_weighed(self.to_signal, x), self.order, self.window))
        self.scale = (1 / size).to(self.scale)
        self.calibrated = torch.ones_like(self.calibrated)


def _weighed(layer: nn.Linear, x: Tensor) -> Tensor:
    """The layer at every step, on operands of its weights' dtype, in x's."""
    return stepwise(layer, x.to(stored_dtype(layer))).to(x.dtype)
