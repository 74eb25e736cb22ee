"""The neuron of every hidden layer; time constants in steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bitspike.options import Options, Positive, Unread
from bitspike.registry import register
from bitspike.tables.chosen import Chosen, usual

Reset = Literal["soft", "hard", "none"]
Surrogate = Annotated[Any, Chosen("surrogate")]
# Of an own neuron without a class Options: what its parameters of these names are.
PARTS = {"surrogate": (Surrogate, usual("surrogate"))}
TRAINED = "Constants that are trained, one value per layer."
TAU, THETA = "Time constant of the membrane.", "Threshold."
RESET = "soft: a spike takes the threshold off; hard: it sets the membrane to 0; none."


class Spiking(Options):
    """A neuron with a threshold."""

    theta: Annotated[Positive, Field(description=THETA)] = 1.0
    reset: Annotated[Reset, Field(description=RESET)] = "soft"
    surrogate: Surrogate = usual("surrogate")


@register("neuron", "lif", "bitspike.neurons.lif:LIF")
class LIF(Spiking):
    """Leaky integrate-and-fire."""

    tau: Annotated[Positive, Field(description=TAU)] = 2.0
    learn: list[Literal["tau", "theta"]] = Field(default_factory=list, description=TRAINED)
    refractory: Annotated[int, Field(ge=0)] = 0
    """Steps without a spike after one."""


@register("neuron", "if", "bitspike.neurons.integrate_and_fire:IF")
class IF(Spiking):
    """Integrate-and-fire, without a leak."""

    learn: list[Literal["theta"]] = Field(default_factory=list, description=TRAINED)


@register("neuron", "adaptive-lif", "bitspike.neurons.adaptive:AdaptiveLIF")
class AdaptiveLIF(Spiking):
    """LIF whose spikes raise its threshold for a while."""

    tau: Annotated[Positive, Field(description=TAU)] = 2.0
    tau_adaptation: Positive = 20.0
    """How long a spike raises the threshold."""
    strength: Positive = 0.2
    """By how much."""
    learn: list[Literal["tau", "theta", "tau_adaptation", "strength"]] = Field(
        default_factory=list, description=TRAINED
    )


@register("neuron", "current-lif", "bitspike.neurons.current_based:CurrentLIF")
class CurrentLIF(Spiking):
    """LIF behind a synaptic current that decays."""

    tau: Annotated[Positive, Field(description=TAU)] = 2.0
    tau_syn: Positive = 6.0
    """Time constant of the synaptic current."""
    learn: list[Literal["tau", "theta", "tau_syn"]] = Field(default_factory=list, description=TRAINED)


@register("neuron", "bisnn", "bitspike.neurons.bisnn:BiSNN")
class BiSNN(Options):
    """BiSNN's neuron: a spike response of two traces, and a refractory one."""

    tau_mem: Positive = 10.0
    """Slow trace."""
    tau_syn: Positive = 6.0
    """Fast trace."""
    tau_ref: Positive = 2.0
    """Refractory term."""
    surrogate: Surrogate = usual("surrogate")


@register("neuron", "relu", "bitspike.neurons.static:Static")
class ReLU(Options):
    """No neuron but the ordinary nonlinearity, for networks that are made spiking later (`hybridise`)."""


class Soft(Options):
    """The firing rate and its noise in training; times in seconds."""

    tau_ref: Annotated[float, Field(ge=0)] = 0.001
    """Seconds without a spike after one."""
    tau_rc: Positive = 0.05
    """Time constant of the membrane."""
    gamma: Positive = 0.02
    """How soft the threshold is."""
    amplitude: Positive = 0.063
    """Output of one spike per second."""
    gain: Positive = 0.825
    """Factor on what reaches the unit."""
    noise: Literal["none", "gaussian", "alpha", "alpha-rc"] = "none"
    """What training puts on the rate: a Gaussian, or what an alpha synapse (and the next membrane) leaves of spikes."""
    sigma: Positive = 10.0
    """gaussian: standard deviation in spikes per second."""
    tau_s: Positive = 0.003
    """alpha, alpha-rc: the synapse's time constant."""

    def unread(self, recipe: Any) -> Iterator[Unread]:
        """The constants of another noise."""
        if self.noise != "gaussian":
            yield ("sigma",), f"model.neuron.soft.noise '{self.noise}'"
        if not self.noise.startswith("alpha"):
            yield ("tau_s",), f"model.neuron.soft.noise '{self.noise}'"


@register("neuron", "soft-lif", "bitspike.neurons.soft_lif_noise:SoftNeuron")
class SoftLIF(Options):
    """The firing rate of LIF, smooth, run as spikes later (`evaluate --spiking`)."""

    curve: ClassVar[str] = "lif"
    soft: Soft = Soft()


@register("neuron", "soft-if", "bitspike.neurons.soft_lif_noise:SoftNeuron")
class SoftIF(SoftLIF):
    """The firing rate of integrate-and-fire, smooth, run as spikes later (`evaluate --spiking`)."""

    curve: ClassVar[str] = "if"
