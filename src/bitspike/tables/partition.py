"""How the training examples are shared out over the clients of a federation."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from bitspike.options import Count, Options, Positive
from bitspike.registry import register

Least = Annotated[Count, Field(description="Every client has at least this many examples.")]


@register("partition", "iid", "bitspike.federated.partition:Iid")
class Iid(Options):
    """Equal random shares."""


@register("partition", "dirichlet", "bitspike.federated.partition:Dirichlet")
class Dirichlet(Options):
    """Each class is divided by a draw of Dirichlet(alpha): the smaller alpha, the more clients differ (FedSNN)."""

    by_class: ClassVar[bool] = True
    alpha: Positive = 0.5
    """Of the distribution; 0.1 gives a client one or two classes, 100 nearly all alike."""
    least: Least = 10


@register("partition", "classes", "bitspike.federated.partition:Classes")
class Classes(Options):
    """Client k has only `classes` classes, k * classes and those behind it."""

    by_class: ClassVar[bool] = True
    classes: Count = 2
    """Classes of a client."""
    least: Least = 1


@register("partition", "groups", "bitspike.federated.partition:Groups")
class Groups(Options):
    """Whole groups (persons, devices), the largest first, each to the client that has the fewest examples."""

    path: str
    """A CSV file with the columns `example` (its number in the data set) and `group` (any text)."""


@register("partition", "file", "bitspike.federated.partition:FromFile")
class FromFile(Options):
    """As a file says."""

    path: str
    """A CSV file with the columns `example` (its number in the data set) and `client` (0 or more)."""
