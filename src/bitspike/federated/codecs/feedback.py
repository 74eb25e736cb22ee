"""Codecs that send changes, roughly: what is learned as w_server + Q(w - w_server + left), statistics as they are.

With feedback, what Q leaves out is added to the next change of the same client: left <- d - Q(d). Source: Seide et al.
2014; Karimireddy et al. 2019 (error feedback).
"""

from __future__ import annotations

import math

from torch import Tensor

from bitspike.federated.codecs.base import Codec, Part, PartForm, Setting, State
from bitspike.federated.roles import LEARNED
from bitspike.learners.exchange import Given


class Changes(Codec):
    """A codec of changes: `rough` and its inverse `change` work on a tensor's numbers in a row."""

    feedback: bool = False

    def check_state(self, state: State, base: Given) -> None:
        """Tensors in a row, of the network's sizes."""
        for role, some in state.get("left", {}).items():
            for name, tensor in some.items():
                if tuple(tensor.shape) != (base[role][name].numel(),) or not bool(tensor.isfinite().all()):
                    raise ValueError(f"what was left of {name} does not fit")

    def rough(self, change: Tensor) -> Part:
        """Parts of a change (N,)."""
        raise NotImplementedError

    def change(self, parts: Part, count: int) -> Tensor:
        """The change (N,) that the parts say."""
        raise NotImplementedError

    def sizes(self, count: int) -> PartForm:
        """dtype and shape of each part."""
        raise NotImplementedError

    def write(self, role: str, name: str, value: Tensor, base: Tensor, setting: Setting, state: State) -> Part:
        """See the module."""
        if role not in LEARNED:
            return super().write(role, name, value, base, setting, state)
        wanted = (value - base).flatten()
        left = state.setdefault("left", {}).setdefault(role, {})
        if name in left:
            wanted = wanted + left[name]
        parts = self.rough(wanted)
        if self.feedback:
            left[name] = wanted - self.change(parts, len(wanted))
        return parts

    def read(self, role: str, name: str, parts: Part, base: Tensor, setting: Setting) -> Tensor:
        """See the module."""
        if role not in LEARNED:
            return super().read(role, name, parts, base, setting)
        return base + self.change(parts, base.numel()).view(base.shape).to(base.dtype)

    def parts(self, role: str, name: str, shape: tuple[int, ...]) -> PartForm:
        """See the module."""
        return self.sizes(math.prod(shape)) if role in LEARNED else super().parts(role, name, shape)
