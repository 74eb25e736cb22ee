"""Measurements of a finished run: the file each leaves in the run's folder, and what it can be asked for."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from bitspike.options import Count, Options
from bitspike.registry import register

# Whoever uses it knows what it may be, and refuses the rest beside what it belongs to.
Seconds = Annotated[float, Field(allow_inf_nan=True)]


class MeasurementOptions(Options):
    """file: in the run's folder. listed: the list of a results file that holds it, seed by seed, in place of a mean.

    spikes: `evaluate --spiking` may mean it. alone: said of options that only others of these have.
    """

    file: ClassVar[str] = ""
    listed: ClassVar[str] = ""
    spikes: ClassVar[bool] = False
    alone: ClassVar[str] = ""


@register("measurement", "hybridised", "bitspike.reports.curve:Hybridised")
class Hybridised(MeasurementOptions):
    """An ordinary network made spiking, at many step sizes (`bitspike hybridise`)."""

    file = "sweep.json"
    listed = "sweeps"


class AsSpikes(MeasurementOptions):
    """A network run as spikes."""

    spikes = True
    time: Seconds = 0.2
    """Seconds of an image."""
    dt: Seconds = 0.001
    """Seconds of a step."""
    reset: bool = False
    """Every image begins with neurons at rest."""
    most: Count | None = None
    """The first examples only."""


@register("measurement", "spiking", "bitspike.reports.spikes:SoftRates")
class Spiking(AsSpikes):
    """Soft rates run as spikes."""

    file = "spiking.json"
    window: Seconds = 0.05
    """Seconds at the end of an image over which the answer is averaged."""
    synapse: Annotated[str | None, Field(description="alpha, first-order or none.")] = "alpha"
    tau_s: Seconds = 0.005
    """Time constant of the synapse, seconds."""
    products: str = "float32"
    """float32 (sums over spikes), dense (never so), or bfloat16 (8 binary digits)."""


@register("measurement", "relu_spiking", "bitspike.reports.spikes:Relus")
class ReluSpiking(AsSpikes):
    """ReLUs run as spikes whose rates are the activations; every image begins at rest."""

    file = "relu_spiking.json"
    alone = "it only with soft rates: this run is of ReLUs"


@register("measurement", "federation", "bitspike.reports.federation:Federated")
class Federation(MeasurementOptions):
    """What a federation was and how it went; written while it runs."""

    file = "federation.json"
    listed = "federations"


@register("measurement", "population", "bitspike.reports.population:Evolved")
class Population(MeasurementOptions):
    """What a population was and how it went; written when it ends."""

    file = "population.json"
    listed = "populations"


@register("measurement", "stream", "bitspike.reports.stream:Streamed")
class Stream(MeasurementOptions):
    """Probabilistic circuits: likelihoods, learning signal, traces and what they emit."""

    file = "stream.json"
    examples: Count = 200
    """Examples whose likelihood is measured."""
    learned: Count = 5
    """Training examples that a copy goes on learning, for the page."""


@register("measurement", "early", "bitspike.reports.early:Early")
class Early(MeasurementOptions):
    """Answers before the last step: each example stops where the network is sure enough."""

    file = "early.json"
    listed = "early_answers"
    loss: Annotated[float, Field(ge=0, lt=1)] = 0.005
    """Accuracy that may be lost on validation, a standard error included: half a point."""
    threshold: Annotated[float, Field(gt=0, le=1)] | None = None
    """How sure an answer must be (default: chosen on validation)."""
