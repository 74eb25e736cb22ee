"""Weight layers on inputs that are mostly zero: sums over what is not (`products.events`), where that is faster.

What a layer gives differs from its own `forward` in the order of float32 sums alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bitspike.layers.fused import hooked_anywhere, plain
from bitspike.layers.local import Local2d
from bitspike.layers.product import FewBitConv2d, FewBitLinear
from bitspike.products.events import Packed, lanes_for, pack, product, unavailable

LINEAR, CONV = (nn.Linear, FewBitLinear), (nn.Conv2d, FewBitConv2d)
# The share of inputs that are not zero up to which sums over them are faster, measured on layers of 16 to 2,000
# outputs, with room left; read off one in SAMPLE of the rows.
MOST, SAMPLE = 0.3, 16
LEAST = 1_000_000  # multiply-adds of a dense product; below, there is nothing to gain


class EventLayer:
    """The product of `layer` with rows of inputs by their events; see `make`. used: whether the last one was so."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.used = False
        self._kept: tuple[Tensor | None, Tensor | None] = (None, None)
        self._packed: Packed | None = None

    @staticmethod
    def make(layer: Any) -> EventLayer | None:
        """None where no product of this layer can be by events: its kind, its settings, or this machine."""
        if type(layer) not in (*LINEAR, *CONV, Local2d) or unavailable() is not None:
            return None
        if lanes_for(layer.out_features if type(layer) in LINEAR else layer.out_channels) is None:
            return None
        if type(layer) in CONV and (layer.groups, layer.dilation, layer.padding_mode) != (1, (1, 1), "zeros"):
            return None
        return None if isinstance(getattr(layer, "padding", None), str) else EventLayer(layer)

    def refresh(self) -> None:
        """Forget the weights as packed where they are not the layer's any more, however they were changed."""
        now = (self.layer.weight, self.layer.bias)
        if self._packed is not None and not all(map(_same, self._kept, now)):
            self._packed = None

    def __call__(self, rows: Tensor) -> Tensor | None:
        """layer(rows) for rows (M, *features), or None where the layer itself is to be called."""
        self.used = self._takes(rows)
        if not self.used:
            return None
        packed = self._packed or self._pack()
        if type(self.layer) in LINEAR:
            return product(rows.contiguous().view(len(rows), 1, 1, -1), packed).view(len(rows), -1)
        return product(rows.permute(0, 2, 3, 1).contiguous(), packed).permute(0, 3, 1, 2)

    def _takes(self, rows: Tensor) -> bool:
        layer, weight = self.layer, self.layer.weight
        if rows.device.type != "cpu" or rows.dtype != torch.float32 or weight.dtype != torch.float32:
            return False
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or hooked_anywhere() or not plain(layer):
            return False
        channels = layer.in_features if type(layer) in LINEAR else layer.in_channels
        if rows.ndim != (2 if type(layer) in LINEAR else 4) or rows.shape[1] != channels or not len(rows):
            return False
        if type(layer) is Local2d and rows.shape[2:] != layer.size:
            return False
        # Each value of a row meets all weights of its channel: a product at each place its window reaches.
        dense = rows.numel() // channels * (weight.numel() // (len(weight) if type(layer) is Local2d else 1))
        if dense < LEAST:
            return False
        few = rows[::SAMPLE]
        return int(torch.count_nonzero(few)) <= MOST * few.numel()

    def _pack(self) -> Packed:
        layer, weight, bias = self.layer, self.layer.weight.detach(), self.layer.bias
        local = type(layer) is Local2d
        start = None if bias is None else bias.flatten(1).t() if local else bias.view(1, -1)
        if type(layer) in LINEAR:
            packed = pack("own", weight.view(1, len(weight), 1, -1), start)
        else:
            shaped = weight.flatten(3, 4).flatten(0, 1) if local else weight.permute(0, 2, 3, 1).flatten(1, 2)[None]
            window = (layer.kernel_size, layer.stride, layer.padding)
            packed = pack("own" if local else "shared", shaped, start, *window)
        self._packed = packed
        self._kept = (weight.clone(), None if bias is None else bias.detach().clone())
        return packed

    def __getstate__(self) -> dict[str, Any]:
        """A copy packs anew."""
        return {**self.__dict__, "_kept": (None, None), "_packed": None}


def _same(kept: Tensor | None, now: Tensor | None) -> bool:
    return now is None if kept is None else now is not None and kept.shape == now.shape and torch.equal(kept, now)
