"""The largest changes of each tensor, with their places: k = ceil(share N) of N, 32 + ceil(log2 N) bits each."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bitspike.federated.codecs.base import Part, PartForm
from bitspike.federated.codecs.feedback import Changes
from bitspike.federated.codecs.packing import bytes_of, pack, unpack
from bitspike.federated.messages import Refused


class TopK(Changes):
    """share: of a tensor's numbers."""

    def __init__(self, share: float = 0.01, feedback: bool = True) -> None:
        self.share, self.feedback = share, feedback

    def _sizes(self, count: int) -> tuple[int, int]:
        """Numbers that are sent, and bits of a place."""
        return math.ceil(self.share * count), max(1, (count - 1).bit_length())

    def rough(self, change: Tensor) -> Part:
        """Values and places, in the order of places."""
        k, width = self._sizes(len(change))
        places = change.abs().topk(k).indices.sort().values
        return {"values": change[places].float(), "places": pack(places, width)}

    def change(self, parts: Part, count: int) -> Tensor:
        """0 at other places."""
        k, width = self._sizes(count)
        places = unpack(parts["places"], k, width)
        if bool((places >= count).any()) or bool((places.diff() <= 0).any()):
            raise Refused("form", "places that do not rise, or lie outside")
        return torch.zeros(count).index_copy_(0, places, parts["values"])

    def sizes(self, count: int) -> PartForm:
        """See the module."""
        k, width = self._sizes(count)
        return {"values": ((torch.float32,), (k,)), "places": ((torch.uint8,), (bytes_of(k, width),))}
