"""Filters of synapses: a device sends the K' of K that have changed most, one choice for all its synapses (FL-SNN).

    A_l = sum over tensors and synapses of |w - w_server| at filter l           since the last exchange

The server takes the mean of those that sent a filter; one that nobody sent becomes zero, as the paper has it, or
stays. What has no axis of filters (feedback, biases, statistics) is sent whole. Source: Skatchkovsky et al. 2020; its
code adds up |gradient| instead of taking the size of the change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.federated.aggregators import Reply
from bitspike.federated.codecs.base import Codec, Part, PartForm, Setting, State
from bitspike.federated.codecs.packing import bytes_of, pack, unpack
from bitspike.federated.messages import Form, Packet, Refused
from bitspike.federated.roles import LEARNED, each
from bitspike.learners.exchange import Given, Roles


class Components(Codec):
    """components: K'; tensors: names of those with filters along `axis`; missing: "zero" or "keep"."""

    part = True

    def __init__(
        self, components: int = 1, tensors: Sequence[str] = ("weight",), axis: int = 1, missing: str = "zero"
    ) -> None:
        self.components, self.tensors, self.axis, self.missing = components, tuple(tensors), axis, missing

    def check(self, base: Given) -> None:
        """Refuse names and sizes that the network has not."""
        known = {name: tensor for role, name, tensor in each(base) if role in LEARNED}
        for name in self.tensors:
            if name not in known or known[name].ndim <= self.axis:
                deep = [other for other, tensor in known.items() if tensor.ndim > self.axis]
                refuse("federation.codec.tensors", repr(name), f"of {', '.join(deep) or 'none that has such an axis'}")
        sizes = {known[name].shape[self.axis] for name in self.tensors}
        if not self.tensors or len(sizes) > 1:
            refuse("federation.codec.tensors", list(self.tensors), "one or more with as many filters")
        if self.components > min(sizes):
            refuse("federation.codec.components", self.components, f"at most the {min(sizes)} filters")

    def _filtered(self, role: str, name: str) -> bool:
        return role in LEARNED and name in self.tensors

    def encode(self, sent: Given, base: Given, setting: Setting, state: State) -> Packet:
        """See the module."""
        scores: Tensor | None = None
        for role, name, tensor in each(sent):
            if self._filtered(role, name):
                moved = (tensor.double() - base[role][name]).abs().movedim(self.axis, 0).flatten(1).sum(1)
                scores = moved if scores is None else scores + moved
        assert scores is not None  # `check` has seen to it
        chosen = scores.argsort(descending=True, stable=True)[: self.components].sort().values
        mask = torch.zeros(len(scores), dtype=torch.bool)
        mask[chosen] = True
        packet = super().encode(sent, base, setting, state)
        for role, name, tensor in each(sent):
            if self._filtered(role, name):
                packet[role][name] = {"value": tensor.index_select(self.axis, chosen), "chosen": pack(mask, 1)}
        return packet

    def decode(self, packet: Packet, base: Given, setting: Setting) -> tuple[Roles, Mapping[tuple[str, str], Tensor]]:
        """Filters that were not sent are as in `base`, and said to be absent."""
        roles: Roles = {role: {} for role in base}
        present: dict[tuple[str, str], Tensor] = {}
        whole = {role: {n: t for n, t in some.items() if not self._filtered(role, n)} for role, some in base.items()}
        others, _ = super().decode(packet, whole, setting)
        for role, name, old in each(base):
            if not self._filtered(role, name):
                roles[role][name] = others[role][name]
                continue
            parts: Part = packet[role][name]
            mask = unpack(parts["chosen"], old.shape[self.axis], 1).bool()
            if int(mask.sum()) != self.components:
                raise Refused("form", f"{int(mask.sum())} filters, wanted {self.components}")
            chosen = mask.nonzero()[:, 0]
            roles[role][name] = old.clone().index_copy_(self.axis, chosen, parts["value"])
            shape = [1] * old.ndim
            shape[self.axis] = len(mask)
            present[role, name] = mask.view(shape)
        return roles, present

    def form(self, base: Given) -> Form:
        """See the module."""
        form = super().form(base)
        for role, name, tensor in each(base):
            if self._filtered(role, name):
                shape = list(tensor.shape)
                shape[self.axis] = self.components
                chosen: PartForm = {"chosen": ((torch.uint8,), (bytes_of(tensor.shape[self.axis], 1),))}
                form[role][name] = {"value": ((torch.float32,), tuple(shape)), **chosen}
        return form

    def learned(self, new: Roles, base: Given, replies: Sequence[Reply]) -> Roles:
        """What nobody sent."""
        if self.missing == "zero":
            for role, name, tensor in each(new):
                held = [reply.present[role, name] for reply in replies if (role, name) in reply.present]
                if held:
                    new[role][name] = torch.where(torch.stack(held).any(0), tensor, 0.0)
        return new
