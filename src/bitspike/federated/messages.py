"""What goes over the wire, and what of it is refused.

A reply is refused by name: another round, a client that was not asked, a replay (the client's reply is there already),
another recipe, altered on the way (its digest), names, shape, dtype, numbers that are not finite, an update longer than
`norm_bound` times the median of the round's. Bits are those of all tensors in it.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bitspike.checks import all_finite
from bitspike.errors import HARM
from bitspike.federated.aggregators import Reply
from bitspike.federated.roles import LEARNED, Lengths, each, over
from bitspike.learners.exchange import Roles

Packet = dict[str, dict[str, dict[str, Tensor]]]
"""Role to name to the parts of a tensor as a codec writes it."""
Form = dict[str, dict[str, dict[str, tuple[tuple[torch.dtype, ...], tuple[int, ...]]]]]
"""Of each part the dtypes it may have, and its shape."""
MOST_EXAMPLES = 10**12
PROTOCOL = 2
"""What server and client do alike without saying it (draws of codecs): a number of its own for each way of it."""


def agreement(recipe: Any) -> str:
    """What an order and a reply have to have in common: the recipe, and how it is carried out."""
    return f"{recipe.recipe_hash()}/{PROTOCOL}"


class Refused(Exception):
    """A reply that is not used: `name` says why in a word or two."""

    def __init__(self, name: str, said: str = "") -> None:
        super().__init__(f"{name}: {said}" if said else name)
        self.name = name


@dataclass(frozen=True)
class Order:
    """What a server sends: the network to begin with, and (once) the tensors that are fixed for good.

    controls: what gradients are corrected by (`scaffold`); taken: of each client asked, the round of its last reply
    that was added up.
    """

    round: int
    recipe_hash: str
    roles: Roles
    fixed: dict[str, Tensor] = field(default_factory=dict)
    controls: Roles = field(default_factory=dict)
    taken: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Message:
    """What a client sends. metrics: sums over the examples that it learned from: "examples", "loss", "accuracy"."""

    round: int
    client: int
    examples: int
    recipe_hash: str
    parts: Packet
    metrics: dict[str, float] = field(default_factory=dict)
    digest: str = ""

    def sealed(self) -> Message:
        """With its digest, for a wire."""
        return Message(**{**self.__dict__, "digest": self.sha256()})

    def sha256(self) -> str:
        """Of all that it says."""
        found = hashlib.sha256(repr((self.round, self.client, self.examples, self.recipe_hash)).encode())
        found.update(repr(sorted(self.metrics.items())).encode())
        for role, some in sorted(self.parts.items()):
            for name, parts in sorted(some.items()):
                for part, tensor in sorted(parts.items()):
                    found.update(f"{role}\x1f{name}\x1f{part}\x1f{tensor.dtype}\x1f{tuple(tensor.shape)}".encode())
                    found.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return found.hexdigest()

    @property
    def bits(self) -> int:
        """Of all its tensors."""
        return sum(8 * t.numel() * t.element_size() for some in self.parts.values() for parts in some.values()
                   for t in parts.values())  # fmt: skip


def check_message(
    message: Any,
    number: int,
    asked: Collection[int],
    seen: Collection[int],
    recipe_hash: str,
    form: Form,
    finite: bool = True,
) -> Message:
    """The message, or `Refused`. asked: clients of this round `number`; seen: those whose reply is there already.

    finite: look for numbers that are not, which `check_reply` does too.
    """
    if not isinstance(message, Message):
        raise Refused("form", f"a {type(message).__name__}")
    for name in ("round", "client", "examples"):
        value = getattr(message, name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refused("form", f"{name} is no whole number")
    if message.round != number:
        raise Refused("round", f"{shown(message.round)}, wanted {number}")
    if message.client not in asked:
        raise Refused("client", f"{shown(message.client)} was not asked")
    if message.client in seen:
        raise Refused("replay", f"client {message.client} has answered in round {number}")
    if message.recipe_hash != recipe_hash:
        raise Refused("recipe", "another one, or of another version of bitspike")
    if not 1 <= message.examples <= MOST_EXAMPLES:
        raise Refused("examples", shown(message.examples))
    _check_form(message.parts, form, finite)
    _check_metrics(message.metrics)
    if message.digest and message.digest != message.sha256():
        raise Refused("digest", "altered on the way")
    return message


def _check_metrics(metrics: Any) -> None:
    """Each is a finite sum, and one that we know."""
    if not isinstance(metrics, dict):
        raise Refused("metrics", f"a {type(metrics).__name__}")
    for name, value in metrics.items():
        if name not in ("examples", "loss", "accuracy"):
            raise Refused("metrics", "one that nobody knows")
        if not isinstance(value, int | float):
            raise Refused("metrics", f"{name} is a {type(value).__name__}")
        if not abs(value) < 1e30 or (name == "examples" and value < 0):
            raise Refused("metrics", f"{name} is {shown(value)}")


def bits_of(came: Any) -> int:
    """Bits of the tensors of whatever has come; 0 of what holds none in their places."""
    try:
        return int(came.bits)
    except HARM:
        return 0


def shown(value: object) -> str:
    """A value as a log can hold it."""
    try:
        return str(value)[:40]
    except ValueError:  # Python does not print whole numbers of more than 4,300 digits
        return "a number of thousands of digits"


def _check_form(parts: Any, form: Form, finite: bool) -> None:
    """Roles, names, parts, dtypes and shapes are those that the codec writes."""
    _same_names(parts, form, "role")
    for role, names in form.items():
        _same_names(parts[role], names, role)
        for name, wanted in names.items():
            _same_names(parts[role][name], wanted, name)
            for part, (dtypes, shape) in wanted.items():
                tensor, place = parts[role][name][part], f"{name} {part}"
                if not isinstance(tensor, Tensor):
                    raise Refused("form", f"{place} is no tensor")
                if tensor.dtype not in dtypes:
                    raise Refused("dtype", f"{place} is {tensor.dtype}")
                if tuple(tensor.shape) != shape:
                    raise Refused("shape", f"{place} is {tuple(tensor.shape)}, wanted {shape}")
                if finite and tensor.is_floating_point() and not all_finite(tensor):
                    raise Refused("not finite", place)


def _same_names(came: Any, wanted: Mapping[str, Any], what: str) -> None:
    if not isinstance(came, dict) or set(came) != set(wanted):
        said = sorted(map(str, set(came) ^ set(wanted)))[:1] if isinstance(came, dict) else type(came).__name__
        raise Refused("form", f"{what}: {said}")


def check_reply(reply: Reply, distances: Lengths) -> None:
    """Refuse a decoded reply with numbers that are not finite, or a variance below 0; distances: from `base`."""
    for role, name, tensor in each(reply.roles):
        if not math.isfinite(distances[role, name]) and not all_finite(tensor):
            raise Refused("not finite", name)
        if role == "statistic" and bool((tensor[2] < 0).any()):
            raise Refused("statistic", f"{name} has a variance below 0")


def too_long(updates: Mapping[int, Lengths], bound: float) -> dict[int, str]:
    """Clients whose update is longer than `bound` times the median of the round's, with what is said of it.

    What is learned and statistics are measured each by itself.
    """
    found: dict[int, str] = {}
    for roles, what in ((LEARNED, "update"), (("statistic",), "change of statistics")):
        lengths = {client: over(distances, roles) for client, distances in updates.items()}
        usual = statistics.median(lengths.values()) if lengths else 0.0
        for client, length in lengths.items():
            if length > bound * usual and usual > 0:
                found.setdefault(client, f"{what} of {length:.3g}, {bound:g} times the median {usual:.3g} allowed")
    return found
