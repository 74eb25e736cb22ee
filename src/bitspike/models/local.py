"""BiSNN's network for the online rule: every layer has presynaptic traces and a fixed random read-out.

    U_t = c (W P_t [+ bias]) - R_t        c = 1/sqrt(fan-in); P_t, R_t as in neurons.bisnn
    S_t = 1[U_t >= 0]                     with pooling: 1[pool(U_t) >= 0]; R keeps using the un-pooled S
    r_t = c_r G S_t                       G in {-1, +1}, fixed; c_r = 1/sqrt(units)

Layer l + 1 receives S of layer l of the same step, detached; all states are detached at every step, so each
layer's gradient is local in depth and in time. Source: Jang et al. 2020 (BiSNN), Kaiser et al. 2020 (DECOLLE).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.draws import Key, generator
from bitspike.errors import refuse
from bitspike.kernels.dtypes import computing, computing_dtype, given_back
from bitspike.models.feedforward import LAYER
from bitspike.neurons.bisnn import BiSNNConstants, Refractory, Traces, decays, fire_step, trace_step
from bitspike.neurons.recordings import Note, States, Undo, fields
from bitspike.neurons.surrogate import Surrogate
from bitspike.weights import at_step, drawn_each_step, stored_dtype


class LocalState(NamedTuple):
    """Presynaptic traces and refractory state of one layer."""

    traces: Traces
    refractory: Refractory


class LocalLayer(nn.Module):
    """One layer of the network: weights, neurons, optional pooling of U, fixed read-out."""

    readout: Tensor
    is_spiking = True

    def __init__(
        self,
        shape: tuple[int, ...],
        weights: nn.Linear | nn.Conv2d,
        outputs: int,
        constants: BiSNNConstants,
        spike: Surrogate,
        keys: tuple[Key, ...],
        pool: int = 1,
    ) -> None:
        super().__init__()
        self.weights, self.constants, self.spike, self.pool = weights, constants, spike, pool
        weights.meets_traces = True  # type: ignore[assignment]  # see `energy.tally`
        self.shape = shape
        self.gain = weights.weight[0].numel() ** -0.5
        # The convolution keeps height and width (odd kernels with same padding only).
        self.unit_shape = (weights.weight.shape[0], *shape[1:])
        self.output_shape = (self.unit_shape[0], *(side // pool for side in self.unit_shape[1:]))
        source = generator(*keys)
        units = math.prod(self.output_shape)
        signs = torch.randint(0, 2, (outputs, units), generator=source) * 2.0 - 1.0
        self.register_buffer("readout", signs)
        self.readout_gain = units**-0.5

    def initial(self, batch: int) -> LocalState:
        """All states 0, for `batch` examples."""
        like, dtype = self.readout, computing_dtype(self.readout.dtype)
        trace = like.new_zeros(batch, *self.shape, dtype=dtype)
        unit = like.new_zeros(batch, *self.unit_shape, dtype=dtype)
        return LocalState(Traces(trace, trace), Refractory(unit, unit))

    def forward(self, x: Tensor, state: LocalState) -> tuple[Tensor, Tensor, LocalState]:
        """One step: input spikes x (B, *shape) to local read-out (B, outputs), spikes and the new state.

        The spikes carry the gradient to this layer's weights; the state carries none.
        """
        if isinstance(self.weights, nn.Linear):
            x = x.flatten(1) if x.shape[1:].numel() == self.shape[0] else x
        if x.shape != state.traces.P.shape:
            refuse("local layer input", tuple(x.shape), f"one time step {tuple(state.traces.P.shape)}")
        given, x = x.dtype, computing(x)
        traces = trace_step(x.detach(), state.traces, self.constants)
        # The weights may be kept in half precision; traces are not.
        drive = self.gain * self.weights(traces.P.to(stored_dtype(self.weights))).to(traces.P.dtype)
        spikes, U, refractory = fire_step(drive, state.refractory, self.constants, self.spike)
        if self.pool > 1:
            spikes = self.spike(F.max_pool2d(U, self.pool))
        logits = self.readout_gain * F.linear(spikes.flatten(1), self.readout.to(spikes.dtype))
        return given_back(logits, given), given_back(spikes, given), LocalState(traces, refractory)

    def watch(self, note: Note) -> Undo:
        """See `neurons.recordings`: traces P and Q of the layer's inputs, R and S of its units, before pooling."""

        def told(layer: nn.Module, inputs: Any, output: tuple[Tensor, Tensor, LocalState]) -> None:
            spikes, state = output[1:]
            states: States = {**fields(state.traces), **fields(state.refractory)}
            note(spikes.unsqueeze(0), lambda: {name: part.unsqueeze(0) for name, part in states.items()})

        return self.register_forward_hook(told).remove

    def report_operations(self, tally: Any, given: tuple[Any, ...], output: tuple[Tensor, Tensor, LocalState]) -> None:
        """For the energy account (`energy.tally`), besides the weights, which are a layer of their own."""
        _, spikes, state = output
        tally.traces = True
        tally.reads_out(spikes.flatten(1), self.readout)
        tally.fires(spikes, updates=len(spikes) * math.prod(self.unit_shape), state=tally.numbers(state))


class LocalNetwork(nn.Module):
    """A stack of `LocalLayer`s, run one step at a time."""

    def __init__(self, layers: Sequence[LocalLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def initial(self, batch: int) -> list[LocalState]:
        """Resting state of every layer."""
        return [layer.initial(batch) for layer in self.layers if isinstance(layer, LocalLayer)]

    def forward(self, x: Tensor, states: list[LocalState] | None = None) -> Any:
        """One step of every layer: read-outs, spikes and states, first layer first.

        Without states, as every network: x (T, B, *features) from rest to the last layer's read-out (T, B, O).
        """
        if states is None:
            return self._over_time(x)
        made: list[tuple[Tensor, Tensor, LocalState]] = []
        for layer, state in zip(self.layers, states, strict=True):
            made.append(layer(x, state))
            x = made[-1][1].detach()
        return [logits for logits, _, _ in made], [spikes for _, spikes, _ in made], [after for _, _, after in made]

    def _over_time(self, x: Tensor) -> Tensor:
        if x.ndim < 3 or len(x) == 0:
            refuse("local network input", tuple(x.shape), "(T, B, *features) with at least one step, or states as well")
        states, anew, over_time = self.initial(x.shape[1]), drawn_each_step(self), []
        for step, now in enumerate(x.unbind(0)):
            if anew:
                at_step(self, step)
            logits, _, states = self.forward(now, states)
            over_time.append(logits[-1])
        return torch.stack(over_time)


def local_network(
    shape: tuple[int, ...],
    outputs: int,
    layers: Sequence[str],
    *,
    bias: bool = False,
    tau_mem: float = 10.0,
    tau_syn: float = 6.0,
    tau_ref: float = 2.0,
    surrogate: Surrogate | None = None,
    keys: tuple[Key, ...] = (0, "init"),
) -> LocalNetwork:
    """BiSNN's network from layers as text: "256" dense, "64c7" convolution; "p2" pools the layer before it."""
    constants = decays(tau_mem, tau_syn, tau_ref)
    spike = surrogate or Surrogate("boxcar")
    built: list[LocalLayer] = []
    current = tuple(shape)
    texts = [str(text).lower() for text in layers]
    for number, text in enumerate(texts):
        match = LAYER.fullmatch(text)
        known = match is not None and (match["dense"] or match["out"] or match["pool"] == "p")
        if match is None or not known or match["fed"] or match["inner"] or match["stride"]:
            refuse(f"model layers[{number}]", repr(text), "'256', '64c7' or 'p2' with the online rule")
        if match["pool"]:
            if number == 0 or "c" not in texts[number - 1]:
                refuse(f"model layers[{number}]", repr(text), "a pool right after a convolution")
            continue
        following = LAYER.fullmatch(texts[number + 1]) if number + 1 < len(texts) else None
        pool = int(following["size"]) if following is not None and following["pool"] else 1
        weights: nn.Linear | nn.Conv2d
        if match["dense"]:
            current = (math.prod(current),)
            weights = nn.Linear(current[0], int(match["dense"]), bias=bias)
            pool = 1
        else:
            kernel = int(match["kernel"])
            if len(current) != 3 or kernel % 2 == 0:
                refuse(f"model layers[{number}]", f"{text!r} on {current}", "an odd kernel on (C, H, W)")
            weights = nn.Conv2d(current[0], int(match["out"]), kernel, padding=kernel // 2, bias=bias)
        source = generator(*keys, f"weights{number}")
        with torch.no_grad():
            for parameter in weights.parameters():
                # The paper's full-precision start; a binary precision draws its own latents.
                parameter.uniform_(-1, 1, generator=source)
        layer = LocalLayer(current, weights, outputs, constants, spike, (*keys, f"readout{number}"), pool)
        built.append(layer)
        current = layer.output_shape
    if not built:
        refuse("model layers", list(layers), "at least one dense or convolution layer")
    return LocalNetwork(built)
