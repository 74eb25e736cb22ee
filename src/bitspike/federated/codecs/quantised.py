"""Changes in a few bits a number.

eight-bit   lo + q (hi - lo) / 255      q = round(255 (d - lo) / (hi - lo)), lo and hi of the tensor
sign        mean|d| sign(d)             sign(0) = +1
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.federated.codecs.base import Part, PartForm
from bitspike.federated.codecs.feedback import Changes
from bitspike.federated.codecs.packing import bytes_of, pack, unpack


class EightBit(Changes):
    """8 bits a number, and 64 a tensor."""

    def __init__(self, feedback: bool = False) -> None:
        self.feedback = feedback

    def rough(self, change: Tensor) -> Part:
        """See the module."""
        ends = torch.stack([change.min(), change.max()]).float()
        width = (ends[1] - ends[0]).clamp_min(1e-38)
        codes = ((change - ends[0]) / width * 255).round().clamp(0, 255)
        return {"codes": codes.to(torch.uint8), "ends": ends}

    def change(self, parts: Part, count: int) -> Tensor:
        """See the module."""
        low, high = parts["ends"]
        return torch.add(parts["codes"].float() * ((high - low) / 255), low)

    def sizes(self, count: int) -> PartForm:
        """Codes, and the two ends."""
        return {"codes": ((torch.uint8,), (count,)), "ends": ((torch.float32,), (2,))}


class Sign(Changes):
    """1 bit a number, and 32 a tensor."""

    def __init__(self, feedback: bool = True) -> None:
        self.feedback = feedback

    def rough(self, change: Tensor) -> Part:
        """See the module."""
        return {"signs": pack(change >= 0, 1), "size": change.abs().mean().float().view(1)}

    def change(self, parts: Part, count: int) -> Tensor:
        """See the module."""
        signs = (2 * unpack(parts["signs"], count, 1) - 1).float()
        return signs * parts["size"]

    def sizes(self, count: int) -> PartForm:
        """Signs, eight in a byte, and their size."""
        return {"signs": ((torch.uint8,), (bytes_of(count, 1),)), "size": ((torch.float32,), (1,))}
