"""How the network learns and answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bitspike.options import Count, Options, Positive, Unread
from bitspike.registry import register, trait

ANSWERS = "What answers for all steps: their mean or summed logits, their mean probabilities, or the last step."
Decoder = Annotated[Literal["mean-logit", "sum-logit", "mean-probability", "last"], Field(description=ANSWERS)]


class Usual(Options):
    """Of a learner that knows a prior, and decodes read-outs."""

    rho: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the prior (Bayesian weights)."""
    decoder: Decoder = "mean-logit"

    def unread(self, recipe: Any) -> Iterator[Unread]:
        """The prior of weights that have none."""
        if not trait("precision", recipe.weights.precision, "is_drawn", False):
            yield ("rho",), f"weights.precision '{recipe.weights.precision}'"
        if trait("model", recipe.model.kind, "answers_once", False):
            yield ("decoder", "loss"), f"model.kind '{recipe.model.kind}', which answers once"


@register("learner", "backprop", "bitspike.learners.backprop:BackpropLearner")
class Backprop(Usual):
    """Back-propagation through time with surrogate gradients."""

    stacks: ClassVar[bool] = True
    """Copies of it learn side by side in one stack of tensors (`learners.stacked`)."""
    has_logits: ClassVar[bool] = True
    """Its loss is a cross-entropy of logits (`Learner.with_margins`)."""
    loss: Literal["final", "every-step"] = "final"
    """Taken of the answer at the last step, or averaged over those at all steps."""
    draws: Count = 1
    """Weight draws per update."""
    clip: Annotated[float, Field(ge=0)] = 0.0
    """Largest gradient norm; 0 is off."""
    spike_penalty: Annotated[float, Field(ge=0)] = 0.0
    """Weight in the loss of the mean number of spikes of a neuron in a time step."""


@register("learner", "online", "bitspike.learners.online:OnlineLearner")
class Online(Usual):
    """BiSNN's local rule: an update in each time step."""

    # Of a feed-forward model.
    ignores: ClassVar[tuple[str, ...]] = ("norm", "norm_gain", "norm_at", "deviations", "xavier")
    # It goes on in the middle of a stream (`fit_batch(reset=False)`).
    slices: ClassVar[bool] = True
    # Neither back ends nor ways to multiply are chosen for its layers.
    own_loops: ClassVar[bool] = True
    stacks: ClassVar[bool] = True
    has_logits: ClassVar[bool] = True
    loss: Literal["final", "cross-entropy", "smooth-l1"] = "final"
    """"final" is "cross-entropy"."""
    burn_in: Annotated[int, Field(ge=0)] = 10
    """Steps without update at the start of each example."""


class Local(Options):
    """Of probabilistic circuits: an update in each time step, of each synapse's traces and one signal that all hear."""

    # Rates are the rule's own; there is no optimiser.
    own_rate: ClassVar[bool] = True
    single: ClassVar[bool] = True
    slices: ClassVar[bool] = True
    own_loops: ClassVar[bool] = True
    alone: ClassVar[bool] = True
    """It learns in loops that take one thread and no interpreter (`fitting`): those of several run at a time."""
    rate: Positive = 0.005
    """Learning rate, times the schedule's factor."""
    kappa: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """How much of the old eligibility traces (and of the filtered update, or signal) is kept in a step."""
    beta: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """How much of the old averages of the control variate is kept in a step; the papers' code has 0.05."""
    divergence: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the divergence of hidden circuits from their prior."""
    spiking: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Chance of a symbol under that prior."""
    baseline: Literal["before", "with", "none"] = "before"
    """Control variate of hidden synapses: averages before this step's signal, with it, or none."""
    samples: Count = 1
    """Presentations of one example that are learned from together, by the importance-weighted bound (batch 1)."""
    decoder: Literal["counts", "chances", "likelihood"] = "counts"
    """Class probabilities from emitted symbols, from the chances to emit them, or from the likelihood of each class."""
    draws: Count = 1
    """Presentations that an answer is the mean of."""
    parity: list[str] = Field(default_factory=list)
    """Deviations of the papers' code that are followed, by name: V1, V3, V4 (vowel), V1, V4, F1, F2, F4 (glm)."""


@register("learner", "vowel", "bitspike.learners.circuits.rules:Vowel")
class Vowel(Local):
    """VOWEL: local learning of winner-take-all circuits, online."""


@register("learner", "glm", "bitspike.learners.circuits.rules:GLM")
class GLM(Local):
    """Maximum likelihood of probabilistic neurons, online, with a learning signal for hidden ones (FL-SNN)."""

    spiking: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Chance of a spike of hidden neurons under their prior."""
