"""A network of winner-take-all or Bernoulli circuits with filtered synapses.

    u_{i,c}(t) = sum_j sum_k W_{j,k,i,c} (a_k * s_j)(t-1) + v_{i,c} (b * s_{i,c})(t-1) + g_{i,c}

j runs over units: every input feature, and every symbol of every circuit; a_k are raised cosines
(`coding.raised_cosine`), b a single one. Circuits emit symbols as `neurons.winner_take_all` says. With one symbol this
is the generalised linear model of FL-SNN, with more the circuits of VOWEL. An input with a polarity is two features.
Sources: Jang, Skatchkovsky and Simeone 2020 (VOWEL); Jang et al. 2019; Skatchkovsky et al. 2020 (FL-SNN).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from bitspike.coding.raised_cosine import Family, raised_cosines
from bitspike.draws import Key, generator, key_words
from bitspike.errors import refuse
from bitspike.kernels.cpu import circuit_loops as loops
from bitspike.kernels.cpu import circuit_parts as codes
from bitspike.kernels.cpu import threads
from bitspike.models.circuits.topology import topology
from bitspike.models.setting import Setting
from bitspike.neurons.recordings import Note, Undo, nothing
from bitspike.neurons.winner_take_all import one_hot

Array = np.ndarray[Any, Any]


class Emitted(NamedTuple):
    """What circuits emitted: symbols int8 (T, B, N), -1 for none; log p (T, B) of clamped outputs; potentials
    (T, B, O, C) of outputs; bits: last spikes (B, U), to go on from."""

    symbols: Tensor
    log_p: Tensor
    potentials: Tensor
    bits: Array

    @property
    def chances(self) -> Tensor:
        """The chance (T, B, O) that an output emits any symbol."""
        return self.potentials.logsumexp(-1).sigmoid()


class Circuits(nn.Module):
    """`hidden` and `outputs` circuits of `symbols` symbols on `inputs` features.

    weight: (units, filters, hidden + outputs, symbols); own: (2, hidden + outputs, symbols), the biases and the weights
    of the feedback filter. mask: (inputs + hidden + outputs, hidden + outputs), or the name of a topology.
    output_memory: whether outputs hear their own last symbols and one another's, which while they learn are the
    targets. All weights start uniform in +-`spread`, 0 where there is no synapse.
    """

    is_spiking = True
    no_plan = "Circuits, whose symbols are drawn"
    mask: Tensor
    basis: Tensor
    feedback: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: int = 16,
        symbols: int = 2,
        taps: int = 10,
        filters: int = 8,
        mu: float = 1.5,
        feedback_mu: float = 1.0,
        family: Family = "log",
        mask: str | Tensor = "no-return",
        spread: float = 0.05,
        output_memory: bool = True,
        keys: Sequence[Key] = (0, "init"),
    ) -> None:
        super().__init__()
        if min(inputs, outputs, symbols) < 1 or hidden < 0:
            refuse("circuits", f"{inputs} inputs, {hidden} hidden, {outputs} outputs, {symbols} symbols", "1 or more")
        self.inputs, self.hidden, self.outputs, self.symbols = inputs, hidden, outputs, symbols
        self.circuits = hidden + outputs
        synapses = topology(mask, inputs, hidden, outputs) if isinstance(mask, str) else mask.bool()
        if synapses.shape != (inputs + self.circuits, self.circuits):
            refuse("circuits mask", tuple(synapses.shape), f"({inputs + self.circuits}, {self.circuits})")
        self.output_memory = output_memory
        self._by_byte: tuple[tuple[Any, ...], tuple[Array, Array]] | None = None
        if not output_memory:
            synapses = synapses.clone()
            synapses[inputs + hidden :, hidden:] = False
        by_unit = torch.cat([synapses[:inputs], synapses[inputs:].repeat_interleave(symbols, 0)])
        self.register_buffer("mask", by_unit, persistent=False)
        self.register_buffer("basis", raised_cosines(taps, filters, mu, family), persistent=False)
        self.register_buffer("feedback", raised_cosines(taps, 1, feedback_mu, family), persistent=False)
        source = generator(*keys)
        shape = (len(by_unit), filters, self.circuits, symbols)
        start = (torch.rand(shape, generator=source) * 2 - 1) * spread
        self.weight = nn.Parameter(start * by_unit[:, None, :, None])
        own = (torch.rand(2, self.circuits, symbols, generator=source) * 2 - 1) * spread
        if not output_memory:
            own[1, hidden:] = 0
        self.own = nn.Parameter(own)

    @classmethod
    def from_options(cls, options: Any, setting: Setting, **given: Any) -> Circuits:
        """The network of a recipe."""
        fields = {name: value for name, value in dict(options).items() if name != "topology"}
        inputs = int(np.prod(setting.shape))
        return cls(inputs, setting.outputs, mask=options.topology, keys=(setting.seed, "init"), **fields)

    @property
    def heard(self) -> int:
        """Columns whose own last symbols reach them."""
        return (self.circuits if self.output_memory else self.hidden) * self.symbols

    @property
    def taps(self) -> int:
        """Steps that filters reach back."""
        return int(self.basis.shape[1])

    @property
    def units(self) -> int:
        """Sources of synapses: inputs, and the symbols of circuits."""
        return len(self.weight)

    def spikes_of(self, x: Tensor) -> tuple[Array, Array]:
        """Events (T, B, *features) of 0 and 1 as lists: starts int64 (B, T + 1) of the units (E,) of each step."""
        flat = x.detach().reshape(*x.shape[:2], -1)
        if flat.shape[2] != self.inputs:
            refuse("circuits input", f"{flat.shape[2]} features", str(self.inputs))
        some = flat.transpose(0, 1) != 0
        if not bool((flat == some.transpose(0, 1)).all()):
            refuse("circuits input", "values besides 0 and 1", "spikes (an encoder that emits them)")
        counts = some.sum(2)
        starts = torch.zeros(counts.shape[0], counts.shape[1] + 1, dtype=torch.int64)
        starts[:, 1:] = counts.cumsum(1)
        starts[1:] += counts.sum(1).cumsum(0)[:-1, None]
        return starts.numpy(), some.nonzero()[:, 2].numpy()

    def at_rest(self, batch: int) -> Array:
        """No last spikes, (B, U)."""
        return np.zeros((batch, self.units), np.uint64)

    def arrays(self) -> tuple[Array, Array, Array, Array]:
        """Weights (U, K, J) and own (2, J), whose memory is shared, and the filters by byte, as the loops take them."""
        w, own = self.weight.detach().flatten(2), self.own.detach().flatten(1)
        if w.device.type != "cpu" or w.dtype not in (torch.float32, torch.float64):
            refuse("circuits", f"{w.dtype} on {w.device.type}", "float32 or float64 on the processor")
        return w.numpy(), own.numpy(), *self._filters_by_byte(w.dtype)

    def _filters_by_byte(self, dtype: torch.dtype) -> tuple[Array, Array]:
        """Both filters as the loops take them; made anew where others have taken their place."""
        named = (self.basis, self.feedback, dtype)
        if self._by_byte is None or any(one is not other for one, other in zip(self._by_byte[0], named, strict=True)):
            basis, feedback = (codes.by_byte(filters.to(dtype).numpy()) for filters in (self.basis, self.feedback))
            self._by_byte = named, (basis, feedback)
        return self._by_byte[1]

    @torch.no_grad()
    def forward(
        self, x: Tensor, targets: Tensor | None = None, keys: Sequence[Key] = (0, "evaluation"),
        bits: Array | None = None, begin: int = 0,
    ) -> Emitted:  # fmt: skip
        """Present events (T, B, *features); circuits are drawn, but for clamped outputs.

        targets: int8 (T, B, O) symbols of outputs, -1 silent, -2 drawn; None: all drawn. Draws are named by `keys`, the
        example's own spikes and the step (`begin` + 0..T-1), so that no answer depends on the rest of the batch.
        bits: go on from there.
        """
        steps, batch = x.shape[:2]
        starts, spikes = self.spikes_of(x)
        words = [
            key_words(*keys, zlib.crc32(spikes[row[0] : row[-1]].tobytes(), zlib.crc32((row - row[0]).tobytes())))
            for row in starts
        ]
        kept = self.at_rest(batch) if bits is None else bits.copy()
        free = torch.full((steps, batch, self.outputs), codes.FREE, dtype=torch.int8) if targets is None else targets
        clamped = np.ascontiguousarray(free.transpose(0, 1).numpy())
        weights = self.arrays()
        log_p = np.zeros((batch, steps), weights[0].dtype)
        potentials = np.zeros((batch, steps, self.outputs * self.symbols), weights[0].dtype)
        emitted = np.zeros((batch, steps, self.circuits), np.int8)
        function, named = loops.present_function(), np.asarray(words, np.uint32)
        given = (starts, spikes, clamped, named, *weights, self.taps, self.heard, kept, begin, self.symbols)
        made = (log_p, potentials, emitted)
        threads.run(lambda lo, hi: function(lo, hi, *given, *made), batch, work=batch * threads.SMALL, lanes=1)
        symbols, u = torch.from_numpy(emitted).transpose(0, 1), torch.from_numpy(potentials).transpose(0, 1)
        return Emitted(symbols, torch.from_numpy(log_p).T, u.unflatten(-1, (self.outputs, self.symbols)), kept)

    def vectors(self, emitted: Emitted) -> Tensor:
        """What was emitted as vectors (T, B, N, C) of at most one 1."""
        return one_hot(emitted.symbols, self.symbols)

    def watch(self, note: Note) -> Undo:
        """See `neurons.recordings`: the symbols of all circuits."""
        return self.register_forward_hook(lambda _, given, made: note(self.vectors(made), nothing)).remove

    def report_operations(self, tally: Any, given: tuple[Any, ...], output: Emitted) -> None:
        """For the energy account: a trace that is not 0 meets the weights of its row."""
        spikes = self.vectors(output)
        sources = torch.cat([given[0].flatten(2), spikes.flatten(2)], 2)
        reach = self.mask.sum(1, dtype=torch.float32) * self.symbols
        tally.traces = True
        for k, filtered in enumerate(self.basis.float()):
            tally.product(f"filter{k + 1}", self.weight[:, k], _filtered(sources, filtered), reach, real=True)
        own = spikes.flatten(2)
        echo = _filtered(own, self.feedback[0].float())[..., : self.heard]
        tally.product("feedback", self.own[1].flatten()[: self.heard], echo, 1, real=True)
        tally.fires(own, updates=own.numel(), part="circuits")


def _filtered(spikes: Tensor, taps: Tensor) -> Tensor:
    """Traces (T, B, U) of spikes (T, B, U) before each step: sum_d taps[d] s(t-1-d)."""
    found = torch.zeros_like(spikes)
    for d, tap in enumerate(taps.tolist()):
        if tap and d + 1 < len(spikes):
            found[d + 1 :] += tap * spikes[: len(spikes) - d - 1]
    return found
