"""Neurons that feed their spikes back to one another: x_t + g W s_{t-1} is what reaches them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bitspike.errors import refuse
from bitspike.kernels import Recurrence
from bitspike.kernels.dtypes import rest
from bitspike.kernels.feedback import run_with_feedback
from bitspike.neurons.base import Neuron
from bitspike.neurons.recordings import Note, Undo, fields, run_watched
from bitspike.products import Kind


class Recurrent(nn.Module):
    """`units` neurons with all-to-all feedback: currents (T, B, units) to spikes of the same shape.

    `feedback` is a Linear without bias, so that a weight precision can be given to it as to any other layer; it
    starts uniform in +-1/sqrt(units). gain: where a learned g, one per neuron, starts, for weights that are +-1; None:
    there is none.
    """

    is_spiking = True

    def __init__(self, units: int, neuron: Neuron, gain: float | None = None) -> None:
        super().__init__()
        if units < 1:
            refuse("recurrent units", units, "1 or more")
        if type(neuron).run is not Neuron.run:
            refuse("recurrent neuron", type(neuron).__name__, "a neuron whose loop is its step alone")
        self.feedback = nn.Linear(units, units, bias=False)
        self.gain = None if gain is None else nn.Parameter(torch.full((units,), float(gain)))
        self.neuron = neuron

    @property
    def emits(self) -> Kind:
        """What the neurons send."""
        return self.neuron.emits

    def weight(self) -> Tensor:
        """g W, (units, units)."""
        weight = self.feedback.weight
        return weight if self.gain is None else self.gain.unsqueeze(1) * weight

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (T, B, units), from rest."""
        return self.run(x)[0]

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """As `forward`, from (spikes of the step before, neuron state); returns the spikes and that pair."""
        if x.ndim != 3 or x.shape[0] == 0 or x.shape[2] != self.feedback.in_features:
            refuse("recurrent input", tuple(x.shape), f"(T, B, {self.feedback.in_features}) with at least one step")
        before, inner = state if state is not None else (rest(x[0]), self.neuron.initial(x[0]))
        constants = self.neuron.constants()
        recurrence = Recurrence(self.neuron.step, type(inner), type(constants), self.neuron.spike)
        y, last = run_with_feedback(recurrence, x, self.weight(), inner, constants, before, self.neuron.back_end)
        return y, (y[-1], last)

    def watch(self, note: Note) -> Undo:
        """See `neurons.recordings`."""
        return run_watched(self, note, lambda state: fields(state[1]))

    def report_operations(self, tally: Any, given: tuple[Any, ...], output: Tensor) -> None:
        """For the energy account (`energy.tally`): neurons, and what they feed back, at every step."""
        tally.fires(output, self.neuron)
        weight = self.feedback.weight
        tally.product("feedback", weight, output, len(weight), bits=tally.bits_of(self.feedback), delayed=True)
