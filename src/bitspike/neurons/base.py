"""What every neuron module shares: run a pure step over time, keep no state between calls."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from bitspike.errors import refuse
from bitspike.kernels import Choice, Recurrence, Spike, Step
from bitspike.kernels.products.kinds import Kind
from bitspike.kernels.run import choose, run_on, single


class Neuron(nn.Module):
    """A neuron model as a module: currents (T, B, *features) in, spikes of the same shape out.

    A subclass gives `step` (pure), `initial(like)` (state before the first step) and `constants()` (the
    step's parameters, possibly learnable). State is never stored in the module: `run` takes and returns it.
    back_end: "auto" (the fastest that can run), "reference", "cpu" or "cuda"; see `kernels.run`.
    """

    is_spiking: ClassVar[bool] = True
    # What the output is made of, for the products behind it (`kernels.products.Kind`).
    emits: ClassVar[Kind] = "spikes"
    step: Step
    spike: Spike
    back_end: str = "auto"
    _chosen: tuple[Any, Recurrence, Choice] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle holds: everything but the choice of a back end, which is made again."""
        return {name: value for name, value in self.__dict__.items() if name != "_chosen"}

    def initial(self, like: Tensor) -> tuple[Tensor, ...]:
        """State before the first step for one time step of input `like` (B, *features)."""
        raise NotImplementedError

    def constants(self) -> Any:
        """The NamedTuple of parameters the step uses."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (T, B, *features) for currents x of that shape, from the resting state."""
        spikes, _ = self.run(x)
        return spikes

    def run(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """As `forward`, from a given state; returns the spikes and the state after the last step."""
        if x.ndim < 2 or x.shape[0] == 0:
            refuse("input over time", tuple(x.shape), "(T, B, *features) with at least one step")
        x = single(x)
        if state is None:
            state = self.initial(x[0])
        constants = self.constants()
        asked = (self.step, self.spike, x.device.type, x.dtype, self.back_end)
        # Remembered here, where torch.compile can see that it does not change.
        if self._chosen is None or self._chosen[0] != asked:
            recurrence = Recurrence(self.step, type(state), type(constants), self.spike)
            self._chosen = (asked, recurrence, choose(recurrence, x.device.type, x.dtype, self.back_end))
        _, recurrence, choice = self._chosen
        return run_on(choice, recurrence, x, state, constants)
