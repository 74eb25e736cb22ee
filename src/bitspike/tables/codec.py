"""How what a client sends is written; bits are those of all tensors of the message."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from bitspike.options import Count, Options, Positive
from bitspike.registry import register

Feedback = Annotated[bool, Field(description="What was not sent is added to what the next round has to send.")]


class CodecOptions(Options):
    """part: a reply lacks some numbers; drawn: it needs Bayesian weights; adds_up: rounds add up to a posterior."""

    part: ClassVar[bool] = False
    drawn: ClassVar[bool] = False
    adds_up: ClassVar[bool] = False


@register("codec", "full", "bitspike.federated.codecs.full:Full")
class Full(CodecOptions):
    """Every number as it is, 32 bits."""


@register("codec", "eight-bit", "bitspike.federated.codecs.quantised:EightBit")
class EightBit(CodecOptions):
    """Changes in 8 bits between the smallest and the largest of their tensor."""

    feedback: Feedback = False


@register("codec", "sign", "bitspike.federated.codecs.quantised:Sign")
class Sign(CodecOptions):
    """Signs of the changes, and one size (their mean) for each tensor."""

    feedback: Feedback = True


@register("codec", "top-k", "bitspike.federated.codecs.top:TopK")
class TopK(CodecOptions):
    """The largest changes of each tensor, with their places."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Of a tensor's numbers (rounded up)."""
    feedback: Feedback = True


@register("codec", "components", "bitspike.federated.codecs.components:Components")
class Components(CodecOptions):
    """Filters of synapses: those that have changed most, one choice for the device (FL-SNN)."""

    part = True
    components: Count = 1
    """K', how many of the K filters are sent in a round."""
    tensors: list[str] = Field(default_factory=lambda: ["weight"])
    """The tensors that have an axis of filters; the others are sent whole."""
    axis: Annotated[int, Field(ge=0)] = 1
    """That axis."""
    missing: Literal["zero", "keep"] = "zero"
    """What a filter becomes that no device sent: zero, as in the paper, or what it was."""


@register("codec", "natural", "bitspike.federated.codecs.bayes:Natural")
class Natural(CodecOptions):
    """Natural parameters of Bayesian binary weights, in few bits."""

    drawn = True
    bits: Annotated[int, Field(ge=1, le=16)] = 4
    """Of each, between -limit and limit."""
    limit: Positive = 4.0
    """Natural parameters beyond it are sent as it."""
    others: Literal[16, 32] = 16
    """Bits of real parameters and statistics."""


@register("codec", "posterior-samples", "bitspike.federated.codecs.bayes:PosteriorSamples")
class PosteriorSamples(CodecOptions):
    """Draws of Bayesian binary weights, one bit each; the server adds them up to a posterior over the rounds."""

    drawn = True
    adds_up = True
    samples: Annotated[int, Field(ge=1, le=1000)] = 1
    """Draws in a reply."""
    estimate: Literal["paired", "running"] = "paired"
    """paired: the server draws its own weights by the same random numbers, and the mean changes by the difference;
    running: the mean forgets old draws."""
    gain: Annotated[float, Field(gt=0, le=10)] = 1.0
    """paired: weight of the difference, above 1 where clients' posteriors differ, as their mean is less sure than any
    of them; running: weight of the new draws, at most 1."""
    limit: Annotated[float, Field(gt=0, le=15)] = 8.0
    """The server's natural parameters stay within it."""
    others: Literal[16, 32] = 16
    """Bits of real parameters and statistics."""

    @model_validator(mode="after")
    def _no_more_than_all(self) -> PosteriorSamples:
        if self.estimate == "running" and self.gain > 1:
            raise ValueError(f"gain = {self.gain:g} with estimate 'running': wanted at most 1")
        return self
