"""How the network learns and answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from bitspike.options import Count, Options, Unread
from bitspike.registry import register, trait

Decoder = Annotated[
    Literal["mean-logit", "sum-logit", "mean-probability", "last"],
    Field(
        description="What answers for all steps: their mean or summed logits, their mean probabilities, or the last "
        "step."
    ),
]


class Usual(Options):
    """Of a learner that knows a prior, and decodes read-outs."""

    rho: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the prior (Bayesian weights)."""
    decoder: Decoder = "mean-logit"

    def unread(self, recipe: Any) -> Iterator[Unread]:
        """The prior of weights that have none."""
        if not trait("precision", recipe.weights.precision, "is_drawn", False):
            yield ("rho",), f"weights.precision '{recipe.weights.precision}'"


@register("learner", "backprop", "bitspike.learners.backprop:BackpropLearner")
class Backprop(Usual):
    """Back-propagation through time with surrogate gradients."""

    loss: Literal["final", "every-step"] = "final"
    """Taken of the answer at the last step, or averaged over those at all steps."""
    draws: Count = 1
    """Weight draws per update."""
    clip: Annotated[float, Field(ge=0)] = 0.0
    """Largest gradient norm; 0 is off."""


@register("learner", "online", "bitspike.learners.online:OnlineLearner")
class Online(Usual):
    """BiSNN's local rule: an update in each time step."""

    # Of a feed-forward model.
    ignores: ClassVar[tuple[str, ...]] = ("norm", "norm_gain", "deviations")
    loss: Literal["final", "cross-entropy", "smooth-l1"] = "final"
    """"final" is "cross-entropy"."""
    burn_in: Annotated[int, Field(ge=0)] = 10
    """Steps without update at the start of each example."""
