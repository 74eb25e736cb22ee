"""What a codec is.

    client   packet = encode(sent, base, setting, state)
    server   reply  = decode(packet, base, setting)          in `space`
             w_new  = learned(aggregated replies, base)

base: the network that the client began with, which both sides have. Replies are compared and added up in `space(base)`,
which is that of the network itself, or of something that adds up better. Statistics are sent as mean and variance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bitspike import registry
from bitspike.draws import Key
from bitspike.federated.aggregators import Reply
from bitspike.federated.messages import Form, Packet
from bitspike.federated.own import check_shape, named
from bitspike.federated.roles import each, mapped, sums, told
from bitspike.learners.exchange import Given, Roles

State = dict[str, Any]
Part = dict[str, Tensor]
PartForm = dict[str, tuple[tuple[torch.dtype, ...], tuple[int, ...]]]


@dataclass(frozen=True)
class Setting:
    """Of one reply: what names its draws, which server and client share.

    place, asked: of the client among those that are asked in this round, and how many these are.
    """

    seed: int
    client: int
    round: int
    place: int = 0
    asked: int = 1

    @property
    def keys(self) -> tuple[Key, ...]:
        """Before the purpose."""
        return (self.seed, "client", self.client, "uplink", self.round)

    @property
    def shared(self) -> tuple[Key, ...]:
        """Before the purpose of what all clients of the round draw alike."""
        return (self.seed, "uplink", self.round)


class Codec:
    """Writes each tensor by itself, by `write`, `read` and `parts`; statistics and what those leave out as they are.

    part: a reply lacks some numbers. plain: a packet is the numbers themselves, so that whoever checks the reply has
    checked the packet.
    """

    part: ClassVar[bool] = False
    plain: ClassVar[bool] = False
    _told: tuple[Given, Roles] | None = None
    _named: str = "federation.codec"

    def told_of(self, base: Given) -> Roles:
        """What is sent of each tensor of the network that clients begin with, which is the same for all of a round."""
        if self._told is None or self._told[0] is not base:
            self._told = base, mapped(base, lambda role, name, tensor: told(role, tensor))
        return self._told[1]

    def check(self, base: Given) -> None:
        """Refuse a network that it cannot write."""

    def check_state(self, state: State, base: Given) -> None:
        """Raise ValueError where a stored state is not one that `encode` leaves."""

    def encode(self, sent: Given, base: Given, setting: Setting, state: State) -> Packet:
        """A reply for the wire; state: what this client carries from reply to reply, changed in place."""
        packet: Packet = {role: {} for role in sent}
        known = self.told_of(base)
        for role, name, tensor in each(sent):
            packet[role][name] = self.write(role, name, told(role, tensor), known[role][name], setting, state)
        return packet

    def decode(self, packet: Packet, base: Given, setting: Setting) -> tuple[Roles, Mapping[tuple[str, str], Tensor]]:
        """What a packet says, in `space`, and where it says only part of a tensor."""
        roles: Roles = {role: {} for role in base}
        for role, name, old in each(self.told_of(base)):
            read = self.read(role, name, packet[role][name], old, setting)
            check_shape(self._named, f"{role} '{name}' from `read`", read, old)
            roles[role][name] = sums(role, read)
        return roles, {}

    def form(self, base: Given) -> Form:
        """What `encode` gives."""
        form: Form = {role: {} for role in base}
        for role, name, tensor in each(self.told_of(base)):
            form[role][name] = self.parts(role, name, tuple(tensor.shape))
        return form

    def write(self, role: str, name: str, value: Tensor, base: Tensor, setting: Setting, state: State) -> Part:
        """The parts of one tensor."""
        return {"value": value}

    def read(self, role: str, name: str, parts: Part, base: Tensor, setting: Setting) -> Tensor:
        """The tensor of its parts."""
        return parts["value"].to(base.dtype)

    def parts(self, role: str, name: str, shape: tuple[int, ...]) -> PartForm:
        """dtypes and shape of each part."""
        return {"value": ((torch.float32,), shape)}

    def space(self, base: Given) -> Given:
        """The network as replies are told."""
        return base

    def learned(self, new: Roles, base: Given, replies: Sequence[Reply]) -> Roles:
        """The network of aggregated replies (in `space`)."""
        return new


def codec_of(part: Any) -> Codec:
    """The codec of a table [federation], which refuses by the name that it has there."""
    made: Codec = registry.make(part.codec)
    made._named = named("codec", part.codec)
    return made
