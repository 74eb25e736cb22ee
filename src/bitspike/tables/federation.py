"""Learning by clients that keep their data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from bitspike.options import Count, Options, Positive, Unread
from bitspike.registry import trait
from bitspike.tables.chosen import Chosen, usual

Chance = Annotated[float, Field(ge=0, le=1)]


class Privacy(Options):
    """Client-level differential privacy: what of a client's data the network can tell."""

    clip: Positive = 1.0
    """Longest update of a client (Euclidean norm over all tensors); longer ones are shortened to it."""
    noise: Positive = 1.0
    """Standard deviation of the noise on the sum of the updates, times `clip`."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    """At which epsilon is given."""


class Federation(Options):
    """A round: some clients take up the server's network, learn, and send what they have learned."""

    clients: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    """Devices, each with a share of the training examples; validation and test stay the server's."""
    rounds: Annotated[int, Field(ge=1, le=1_000_000)] = 10
    """Exchanges."""
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the clients that are asked in a round, drawn anew for each: max(int(fraction * clients), 1)."""
    participants: Count | None = None
    """In place of `fraction`: how many are asked."""
    epochs: Count = 1
    """Passes of a client over its share in a round."""
    updates: Count | None = None
    """In place of `epochs`: updates of a client in a round; batches are not cut, so there may be more."""
    steps: Count | None = None
    """In place of `epochs`: time steps of a client in a round, for online rules: an exchange may lie within an example,
    whose state is carried over it."""
    state: Literal["kept", "reset", "disk"] = "reset"
    """Of a client's learner (optimisers, traces): reset in each round, kept in memory, or kept in files."""
    statistics: Literal["sums", "home"] = "sums"
    """Of normalisation: they travel as sums, or every client keeps its own (FedBN)."""
    stragglers: Chance = 0.0
    """Chance of each client asked, but the first that is drawn, to answer too late; its work is done all the same."""
    dropouts: Chance = 0.0
    """Chance of each client asked to do nothing and send nothing."""
    noise: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Every tensor sent gets Gaussian noise, this times the mean size of its change (FedSNN)."""
    least: Count = 1
    """Valid replies that a round needs; with fewer the network stays as it is."""
    norm_bound: Annotated[float, Field(gt=1, le=1e30)] = 30.0
    """An update longer than this times the median of the round's is refused."""
    measured: Count | None = None
    """Validation examples that a round is measured on (the first ones); left out: all."""
    checkpoint_every: Count = 1
    """Rounds between two checkpoints: a run that is killed goes on from the last."""
    label_margin: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    """tau: a client's loss takes tau / n^(1/4) off the logit of each class, n its own examples of it, and leaves out
    classes that it has not (FedLC); 0: it does neither."""
    stacked: Count = 1
    """Clients that learn at a time, in one stack of tensors (local engine): many small networks with small batches
    learn several times as fast. 1: one after the other."""
    partition: Annotated[Any, Chosen("partition")] = usual("partition")
    aggregator: Annotated[Any, Chosen("aggregator")] = usual("aggregator")
    codec: Annotated[Any, Chosen("codec")] = usual("codec")
    privacy: Privacy | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Federation:
        given = [name for name in ("updates", "steps") if getattr(self, name) is not None]
        given += ["epochs"] * (self.epochs != 1)
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: wanted one of them")
        if self.participants is not None:
            if self.fraction != 1.0:
                raise ValueError(f"fraction = {self.fraction} beside participants: wanted one of the two")
            if self.participants > self.clients:
                raise ValueError(f"participants = {self.participants} of {self.clients} clients: wanted at most these")
        if self.least > self.asked:
            raise ValueError(f"least = {self.least} replies of {self.asked} clients asked: wanted at most these")
        return self

    @property
    def asked(self) -> int:
        """Clients asked in a round."""
        return self.participants or max(int(self.fraction * self.clients), 1)

    def unread(self, recipe: Any) -> Iterator[Unread]:
        """What another choice would read."""
        aggregator, codec = self.aggregator.kind, self.codec.kind
        if trait("aggregator", aggregator, "whole", False) and trait("codec", codec, "part", False):
            yield ("codec",), f"federation.aggregator '{aggregator}', which takes whole replies"
