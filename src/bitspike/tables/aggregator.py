"""What a server makes of the replies of a round."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from bitspike.options import Count, Options, Positive
from bitspike.registry import register

Hostile = Annotated[float, Field(gt=0, lt=0.5, description="The share of replies that may be hostile.")]


Share = Annotated[float, Field(ge=0, lt=1)]


class AggregatorOptions(Options):
    """whole: every reply must hold every number; scaled: steps are scaled number by number."""

    whole: ClassVar[bool] = False
    scaled: ClassVar[bool] = False


@register("aggregator", "mean", "bitspike.federated.aggregators:Mean")
class Mean(AggregatorOptions):
    """Every reply counts the same (FedSNN)."""


@register("aggregator", "weighted-mean", "bitspike.federated.aggregators:WeightedMean")
class WeightedMean(AggregatorOptions):
    """Every reply counts by its client's examples (FedAvg)."""


@register("aggregator", "fedprox", "bitspike.federated.aggregators:FedProx")
class FedProx(AggregatorOptions):
    """The weighted mean of clients that are pulled back to the server's network after each of their updates."""

    mu: Positive = 0.01
    """Weight of mu/2 ||w - w_server||^2 in a client's loss."""


@register("aggregator", "momentum", "bitspike.federated.aggregators:ServerMomentum")
class ServerMomentum(AggregatorOptions):
    """The server goes on in the direction of earlier rounds (FedAvgM)."""

    beta: Share = 0.9
    """How much of the old direction is kept."""
    rate: Positive = 1.0
    """Of the server's step along it."""


class Adaptive(AggregatorOptions):
    """Of a server with a rate for each number."""

    whole = True
    scaled = True
    rate: Positive = 0.1
    """Of the server's step: about how far a number moves in a round."""
    betas: Annotated[list[Share], Field(min_length=2, max_length=2)] = Field(default_factory=lambda: [0.9, 0.99])
    """How much of the old mean change, and of the old mean square, is kept in a round."""
    tau: Positive = 1e-3
    """Added to the square root of the mean square; what changes by much less keeps changing by little."""
    weighted: bool = True
    """Replies count by their client's examples; false: all the same."""


@register("aggregator", "adam", "bitspike.federated.adaptive:ServerAdam")
class ServerAdam(Adaptive):
    """The server steps along the mean change with a rate for each number, by Adam's rule (FedAdam)."""


@register("aggregator", "yogi", "bitspike.federated.adaptive:ServerYogi")
class ServerYogi(Adaptive):
    """The same by Yogi's rule, whose rates grow slowly (FedYogi)."""


@register("aggregator", "scaffold", "bitspike.federated.scaffold:Scaffold")
class Scaffold(AggregatorOptions):
    """Clients correct each gradient by how theirs differs from everybody's (plain SGD)."""

    whole = True
    rate: Positive = 1.0
    """Of the server's step towards the mean."""


@register("aggregator", "median", "bitspike.federated.robust:Median")
class Median(AggregatorOptions):
    """The median of every number by itself."""

    whole = True


@register("aggregator", "trimmed-mean", "bitspike.federated.robust:TrimmedMean")
class TrimmedMean(AggregatorOptions):
    """The mean of every number by itself, without its largest and smallest values."""

    whole = True
    hostile: Hostile = 0.2
    """Of the values, this share is left out at either end (rounded up)."""


@register("aggregator", "krum", "bitspike.federated.robust:Krum")
class Krum(AggregatorOptions):
    """The mean of the replies that lie nearest to their neighbours."""

    whole = True
    hostile: Hostile = 0.2
    """Replies are compared with n - f - 2 neighbours, f this share of n (rounded up)."""
    chosen: Count | None = None
    """Replies that the mean is of: 1 is Krum; left out: n - f."""
