"""Weights of a plan: dense, convolution or local; real, or signs that are packed eight to a byte."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from bitspike.kernels.dtypes import mixed
from bitspike.layers.local import local_product
from bitspike.layers.stepwise import stepwise
from bitspike.models.plan.nodes import REAL_BITS, Node
from bitspike.products import Geometry, Kind, conv2d, linear

Form = Literal["dense", "convolution", "local"]
CONVOLUTIONS: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@dataclass(frozen=True, eq=False, kw_only=True)
class Weights(Node):
    """y = W x + bias. weight: (O, I), (O, I / groups, *window) or local (HO, WO, O, kh, kw, I); bias None, (O,) or
    (O, HO, WO).

    weight_kind: "signs" where every weight is -1 or +1 times `scale`; bits: of a weight as it is shipped; x_kind: what
    the input is made of, so that few bits are multiplied as such (None: as PyTorch multiplies).
    """

    what: ClassVar[str] = "weights"
    tensors: ClassVar[tuple[str, ...]] = ("weight", "bias")
    form: Form
    weight: Tensor
    bias: Tensor | None = None
    bits: float = REAL_BITS
    bias_bits: float = REAL_BITS
    weight_kind: Kind = "real"
    scale: float = 1.0
    x_kind: Kind | None = None
    geometry: Geometry | None = None

    @property
    def kind(self) -> str:
        """Form and what the weights are."""
        return f"{self.form}, {'+-1' if self.weight_kind == 'signs' else 'real'} weights"

    @property
    def detail(self) -> str:
        """Window, stride and padding."""
        if self.geometry is None:
            return "bias" if self.bias is not None else ""
        window = self.weight.shape[3:5] if self.form == "local" else self.weight.shape[2:]
        sizes = [("x".join(map(str, window)), "window"), (self.geometry.stride, "stride")]
        sizes += [(self.geometry.padding, "padding"), (self.geometry.dilation, "dilation")]
        words = [f"{word} {_one(size)}" for size, word in sizes if word != "dilation" or set(size) != {1}]
        if self.geometry.groups > 1:
            words.append(f"{self.geometry.groups} groups")
        return ", ".join([*words, *(["bias"] if self.bias is not None else [])])

    @property
    def fan_in(self) -> int:
        """Terms of one sum; at the edge of an image some of them are padding."""
        return math.prod(self.weight.shape[3:] if self.form == "local" else self.weight.shape[1:])

    @property
    def fan_out(self) -> int:
        """Outputs that one input reaches, away from the edge."""
        if self.geometry is None:
            return len(self.weight)
        local = self.form == "local"
        window = self.weight.shape[3:5] if local else self.weight.shape[2:]
        outputs = self.weight.shape[2] if local else len(self.weight) // self.geometry.groups
        return outputs * math.prod(-(-k // s) for k, s in zip(window, self.geometry.stride, strict=True))

    def packed(self) -> np.ndarray[Any, Any] | None:
        """The signs as bits, 1 for +1, most significant first, in the order of `weight`; None of real weights."""
        return np.packbits(self.weight.flatten().numpy() > 0) if self.weight_kind == "signs" else None

    def at_each_step(self, *x: Tensor) -> Tensor:
        """W x + bias."""
        return stepwise(self._product, x[0])

    def _product(self, rows: Tensor) -> Tensor:
        weight, bias, geometry = self.weight, self.bias, self.geometry
        if self.form == "local":
            assert geometry is not None
            y = mixed(lambda a, w: local_product(a, w, geometry.stride, geometry.padding), rows, weight)
            return y if bias is None else y + bias
        if self.x_kind is None:
            if geometry is None:
                return F.linear(rows, weight, bias)
            made: Tensor = CONVOLUTIONS[weight.ndim - 2](rows, weight, bias, *geometry)
            return made
        if geometry is None:
            y = linear(rows, weight, self.x_kind, self.weight_kind, "exact")
            return y if bias is None else y + bias
        y = conv2d(rows, weight, self.x_kind, self.weight_kind, "exact", *geometry)
        return y if bias is None else y + bias[:, None, None]


def _one(size: Any) -> str:
    """A size that is the same in all directions, once."""
    return str(size) if isinstance(size, str) else str(size[0] if len(set(size)) == 1 else tuple(size))
