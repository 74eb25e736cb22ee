"""Linear and convolution layers that say what their operands are made of, so that few bits are multiplied as such.

They hold what `nn.Linear` and `nn.Conv2d` hold, and give what those give: bit for bit where sums of few-bit operands
are exact, within float32's own error elsewhere (`products`). Whether the weights are +-1 is read off their
parametrization at every call, since a relaxed draw is real and a hard one is not.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from bitspike.kernels.dtypes import mixed
from bitspike.products import Geometry, Kind, Policy, conv2d, explain_product, linear
from bitspike.products.kinds import Part, check_names
from bitspike.weights import Precision


def weight_kind(layer: nn.Module) -> Kind:
    """ "signs" where the weight's parametrization gives -1 and +1 as things stand, else "real"."""
    if not parametrize.is_parametrized(layer, "weight"):
        return "real"
    last = layer.parametrizations["weight"][-1]  # type: ignore[index]
    return last.kind if isinstance(last, Precision) else "real"


class _FewBit(nn.Module):
    """x_kind: what the input is made of; policy: "exact", "fast" (in backward) or "float32"."""

    def __init__(self, *sizes: Any, x_kind: Kind = "real", policy: Policy = "exact", **options: Any) -> None:
        check_names(x_kind, "real", policy)
        super().__init__(*sizes, **options)
        self.x_kind: Kind = x_kind
        self.policy: Policy = policy

    def extra_repr(self) -> str:
        """The layer's settings."""
        return f"{super().extra_repr()}, x_kind={self.x_kind!r}, policy={self.policy!r}"


class FewBitLinear(_FewBit, nn.Linear):
    """y = x W^T + b. x_kind: what the input is made of; policy: "exact", "fast" (in backward) or "float32"."""

    def forward(self, x: Tensor) -> Tensor:
        """x (..., K) to (..., N)."""
        y = linear(x, self.weight, self.x_kind, weight_kind(self), self.policy)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def explain(self, x_shape: tuple[int, ...], part: Part = "forward") -> tuple[str, str]:
        """(method, reason) that an input of this shape takes."""
        shape = (self.out_features, self.in_features)
        return explain_product(x_shape, shape, self.x_kind, weight_kind(self), self.policy, part)


class FewBitConv2d(_FewBit, nn.Conv2d):
    """y = W * x + b; x_kind and policy as in `FewBitLinear`. Padding other than by zeros goes to `nn.Conv2d`."""

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) to (B, O, HO, WO)."""
        geometry = self._geometry()
        if geometry is None or x.ndim != 4:
            bias = self.bias
            return mixed(
                lambda a, w: self._conv_forward(a, w, bias if bias is None else bias.to(w.dtype)), x, self.weight
            )
        y = conv2d(x, self.weight, self.x_kind, weight_kind(self), self.policy, *geometry)
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]

    def explain(self, x_shape: tuple[int, ...], part: Part = "forward") -> tuple[str, str]:
        """(method, reason) that an input of this shape takes."""
        geometry = self._geometry()
        if geometry is None:
            return "float32", f"padding {self.padding!r}, mode {self.padding_mode!r}"
        kind = weight_kind(self)
        return explain_product(x_shape, self.weight.shape, self.x_kind, kind, self.policy, part, geometry)

    def _geometry(self) -> Geometry | None:
        if self.padding_mode != "zeros" or isinstance(self.padding, str):
            return None
        (s0, s1), (p0, p1), (d0, d1) = self.stride, self.padding, self.dilation
        return Geometry((s0, s1), (p0, p1), (d0, d1), self.groups)
