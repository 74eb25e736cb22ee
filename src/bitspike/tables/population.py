"""Population Based Training: many networks learn side by side, and copy the better ones among them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from bitspike import registry
from bitspike.options import Count, Options, Unread
from bitspike.tables.chosen import Chosen, usual
from bitspike.tables.dimension import Choice

MOST = 10_000
MOST_WEIGHED = 1000  # every one is compared with every other at each turn
HIGHER = ("accuracy", "score")
DIMENSION = Chosen("dimension")
Measured = Literal["nll", "accuracy", "brier", "ece", "rmse", "score"]


def _entries(given: Any) -> Any:
    """Refuse what a choice cannot hold by its place; of a union of types pydantic names the first it is not of."""
    if isinstance(given, Mapping) and DIMENSION.table(given) is Choice and isinstance(given.get("of"), list):
        for number, value in enumerate(given["of"]):
            if not isinstance(value, bool | int | str) and not (isinstance(value, float) and math.isfinite(value)):
                wanted = PydanticCustomError("choice", "wanted a finite number, a text, true or false")
                error = InitErrorDetails(type=wanted, loc=("of", number), input=value)
                raise ValidationError.from_exception_data("choice", [error])
    return given


class Population(Options):
    """Members learn the recipe, each with hyperparameters of its own; `bitspike tune`."""

    size: Annotated[int, Field(ge=1, le=MOST)] = 8
    """Members."""
    strategy: Literal["pbt", "random", "grid"] = "pbt"
    """pbt: those that fall behind copy better ones, hyperparameters with them; random: each keeps those it has drawn;
    grid: one member for each point of a grid."""
    mode: Literal["asynchronous", "synchronous"] = "asynchronous"
    """asynchronous: a member that is ready looks at what the others have reached by then; synchronous: all look at the
    same generation, so that the result does not depend on how fast anybody was."""
    every: Count = 100
    """Updates (rounds of a federation) between two ready points of a member."""
    burn_in: Annotated[int, Field(ge=0)] = 0
    """Updates before a member may copy."""
    metric: Measured = "nll"
    """What is measured on validation at a ready point; score: what an object of one's own says of itself."""
    direction: Literal["min", "max"] | None = None
    """Whether less of it is better; left out: as it is for the metric."""
    objectives: Annotated[list[Measured | Literal["energy", "bits"]], Field(max_length=4)] = Field(default_factory=list)
    """Two or more that are weighed against each other, the metric among them: members spread along the front, by
    non-dominated sorting and crowding, and all networks of the front are handed back. energy: joules of an inference,
    the 45 nm estimate of its arithmetic and neurons; bits: mean significant bits of an activation, of spikes their
    rate; both on validation inputs."""
    reference: list[Annotated[float, Field(ge=-1e30, le=1e30)]] = Field(default_factory=list)
    """The worst that is of use, a value for each objective: networks beyond it come after all others, and the front's
    hypervolume begins here; left out: everything is of use, and it begins at the worst that was measured."""
    inherit: Literal["all", "weights", "hyperparameters"] = "all"
    """What is copied. Optimiser, position and random state go with the weights; explore changes copied hyperparameters
    only."""
    space: Annotated[
        dict[str, Annotated[Any, DIMENSION, BeforeValidator(_entries)]], Field(min_length=1, max_length=100)
    ]
    """Hyperparameters by path in the recipe, such as "optimizer.lr", each with a table that says what it may be."""
    exploit: Annotated[Any, Chosen("exploit")] = usual("exploit")
    explore: Annotated[Any, Chosen("explore")] = usual("explore")

    @model_validator(mode="after")
    def _consistent(self) -> Population:
        if self.strategy != "grid":
            for path, dimension in self.space.items():
                if getattr(dimension, "points", None) is not None:
                    raise ValueError(f"space.{path}.points = {dimension.points} wants strategy = 'grid'")
        elif self.members > MOST:
            raise ValueError(f"a grid of {self.members} points: wanted {MOST} at most")
        self._weighed()
        return self

    def _weighed(self) -> None:
        names = self.objectives
        if len(self.reference) != (len(names) if self.reference else 0):
            raise ValueError(f"reference = {self.reference}: wanted a value for each of objectives = {names}")
        if not names:
            return
        if len(set(names)) != len(names) or len(names) < 2:
            raise ValueError(f"objectives = {names}: wanted two or more that differ")
        if self.members > MOST_WEIGHED:
            raise ValueError(f"objectives with {self.members} members: wanted {MOST_WEIGHED} at most")
        if self.metric not in names:
            raise ValueError(f"objectives = {names}: wanted metric = '{self.metric}' among them")
        if self.exploit.named.name == "t-test":
            raise ValueError("exploit.kind = 't-test' beside objectives: wanted truncation or tournament")

    @property
    def members(self) -> int:
        """How many there are."""
        if self.strategy != "grid":
            return self.size
        return math.prod(len(registry.make(dimension).grid()) for dimension in self.space.values())

    @property
    def higher(self) -> bool:
        """Whether more of the metric is better."""
        return self.direction == "max" or (self.direction is None and self.metric in HIGHER)

    def cost(self, objective: str, value: float) -> float:
        """A value of an objective so that less is better."""
        higher = self.higher if objective == self.metric else objective in HIGHER
        return -value if higher else value

    def unread(self, recipe: Any) -> Iterator[Unread]:
        """Those that do not evolve copy nobody."""
        if self.strategy != "pbt":
            why = f"population.strategy '{self.strategy}'"
            yield ("exploit", "explore", "inherit", "burn_in"), why
        if self.strategy == "grid":
            yield ("size",), "population.strategy 'grid', whose members are its points"
        elif self.inherit == "weights":
            yield ("explore",), "population.inherit 'weights', which leaves every member its hyperparameters"
