"""What every neuron module shares: run a pure step over time, keep no state between calls."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bitspike.errors import refuse
from bitspike.kernels import Recurrence, Spike, Step, no_spike
from bitspike.kernels.dtypes import computing, given_back, rest
from bitspike.kernels.run import Choice, Chooser, run_into, run_on
from bitspike.kernels.scaled import Scaled, scaled_constants
from bitspike.neurons.recordings import Note, Undo, after_each, replaced
from bitspike.products.kinds import Kind


class Neuron(nn.Module):
    """A neuron model as a module: currents (T, B, *features) in, spikes of the same shape out.

    A subclass gives `step` (pure), `initial(like)` (state before the first step) and `constants()` (the
    step's parameters, possibly learnable). State is never stored in the module: `run` takes and returns it. Currents
    may have any real dtype: see `kernels.dtypes` for what is computed and answered in which.
    back_end: "auto" (the fastest that can run), "reference", "cpu" or "cuda"; see `kernels.run`.
    """

    is_spiking: ClassVar[bool] = True
    # Its parameters are no weights: `weights.quantise` leaves them.
    weighted: ClassVar[bool] = False
    # What the output is made of, for the products behind it (`products.Kind`).
    emits: ClassVar[Kind] = "spikes"
    step: Step
    spike: Spike = staticmethod(no_spike)
    # Of a state that begins at 0; any other needs `initial`.
    state_class: type[Any]
    back_end: str = "auto"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._chooser = Chooser()

    def initial(self, like: Tensor) -> Any:
        """State before the first step for one time step of input `like` (B, *features)."""
        return self.state_class(*(rest(like) for _ in self.state_class._fields))

    def constants(self) -> Any:
        """The NamedTuple of parameters the step uses."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (T, B, *features) for currents x of that shape, from the resting state."""
        spikes, _ = self.run(x)
        return spikes

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """As `forward`, from a given state; returns the spikes and the state after the last step."""
        return self.run_between(x, state)

    def run_between(
        self, x: Tensor, state: Any = None, scale: tuple[Tensor, Tensor] | None = None, pool: int = 1
    ) -> tuple[Tensor, Any]:
        """As `run`, in one pass with what stands before and behind: `g x + b` (scale) and max-pooling (pool x pool).

        g and b broadcast to one time step of x; spikes are those of the three one after the other, bit for bit.
        """
        y, state = run_on(*self._prepared(x, state, scale, pool))
        return given_back(y, x.dtype), state

    def run_into(self, y: Tensor, x: Tensor, state: Any) -> Any:
        """As `run` without a gradient, spikes written into y (contiguous); returns the state after the last step."""
        if type(self).run is not Neuron.run:  # which does more than its step
            with torch.no_grad():
                sent, last = self.run(x, state)
            y.copy_(sent)
            return last
        return run_into(y, *self._prepared(x, state, None, 1))

    def watch(self, note: Note) -> Undo | None:
        """See `neurons.recordings`. None: what it is part of is watched in its place."""
        run = self.run_between

        def run_between(
            x: Tensor, state: Any = None, scale: tuple[Tensor, Tensor] | None = None, pool: int = 1
        ) -> tuple[Tensor, Any]:
            y, last = run(x, state, scale, pool)
            sent = y if pool == 1 else run(x, state, scale)[0]
            note(sent, lambda: after_each(lambda x, state: run(x, state, scale), x, state))
            return y, last

        return replaced(self, "run_between", run_between)

    def _named(self, method: str, value: Any) -> Any:
        """What a method of one's own neuron gave, which kernels read by its fields' names."""
        if not hasattr(type(value), "_fields"):
            refuse(f"neuron {type(self).__name__}.{method}", type(value).__name__, "a NamedTuple")
        return value

    def _prepared(
        self, x: Tensor, state: Any, scale: tuple[Tensor, Tensor] | None, pool: int
    ) -> tuple[Choice, Recurrence, Tensor, Any, Any]:
        """What `kernels.run.run_on` takes."""
        if x.ndim < 2 or x.shape[0] == 0:
            refuse("input over time", tuple(x.shape), "(T, B, *features) with at least one step")
        x = computing(x)
        if state is None:
            state = self._named("initial", self.initial(x[0]))
            if loose := [name for name, part in state._asdict().items() if not isinstance(part, Tensor)]:
                refuse(f"neuron {type(self).__name__}.initial", f"a {loose[0]} that is no tensor", "(B, *features)")
        step: Any = self.step
        constants = self._named("constants", self.constants())
        if scale is not None:
            step = (Scaled, step, type(constants))
            constants = scaled_constants(type(constants))(*scale, *constants)
        recurrence, choice = self._chooser(step, type(state), type(constants), self.spike, x, self.back_end, pool)
        return choice, recurrence, x, state, constants
