"""Bayesian binary weights in few bits: natural parameters w (p(+1) = sigmoid(2 w), mean mu = tanh w), or draws.

natural              q = round((w + limit) / s + u - 1/2) of 2^b levels s apart, read as s (q - u + 1/2) - limit:
                     with u uniform and known to both sides the error is uniform in +-s/2, whatever w is
posterior-samples    S draws x = sign(sigmoid(2 w) - u), one bit each; the server's estimate is of the mean:

    paired     mu <- mu + gain mean_k mean_j (x_kj - y_kj)     y_kj the server's own weights by client k's u
    running    mu <- (1 - gain) mu + gain mean_k mean_j x_kj   forgets: about (2 / gain - 1) K S draws count

K replies a round. Both are unbiased steps towards the mean of the clients' posteriors, which is less sure than any of
them where they differ: a gain above 1 makes up for it. The paired difference is 0 where a client has not changed a
weight, and its variance is 4 |p_k - p|, not 4 p (1 - p): draws of many rounds add up to a posterior, and none is
forgotten. w is atanh mu, within +-limit. Numbers come from `draws`, by seed, round and name: they are not sent.

The K S draws of a round stand evenly, as in systematic sampling: u_n = (v + n / K S) mod 1 of one uniform v a weight,
n = S place + j. Each u_n is uniform, so that each draw is one of its client's posterior; where clients agree, their
share of +1 is within 1 / K S of p. Systematic sampling: Madow & Madow 1944.

Real parameters and statistics are sent in 16 bits (float16; a tensor that has larger numbers, in 32) or 32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bitspike.draws import uniform
from bitspike.federated.aggregators import Reply
from bitspike.federated.codecs.base import Codec, Part, PartForm, Setting, State
from bitspike.federated.codecs.packing import bytes_of, pack, unpack
from bitspike.federated.roles import mapped
from bitspike.learners.exchange import Given, Roles

LARGEST_HALF = 65504.0


class Latents(Codec):
    """Writes latents in a way of its own, and other tensors in `others` bits a number."""

    def __init__(self, limit: float, others: int) -> None:
        self.limit, self.others = limit, others

    def write(self, role: str, name: str, value: Tensor, base: Tensor, setting: Setting, state: State) -> Part:
        """See the module."""
        if role == "latent":
            return self.few(value.flatten(), name, setting)
        halves = self.others == 16 and bool((value.abs() <= LARGEST_HALF).all())
        return {"value": value.to(torch.float16 if halves else torch.float32)}

    def parts(self, role: str, name: str, shape: tuple[int, ...]) -> PartForm:
        """See the module."""
        if role == "latent":
            return self.sizes(math.prod(shape))
        return {"value": ((torch.float16, torch.float32) if self.others == 16 else (torch.float32,), shape)}

    def few(self, latent: Tensor, name: str, setting: Setting) -> Part:
        """The parts of a latent (N,)."""
        raise NotImplementedError

    def sizes(self, count: int) -> PartForm:
        """Their dtypes and shapes."""
        raise NotImplementedError


class Natural(Latents):
    """bits: b of each natural parameter."""

    def __init__(self, bits: int = 4, limit: float = 4.0, others: int = 16) -> None:
        super().__init__(limit, others)
        self.bits = bits
        self.step: float = 2 * limit / (2**bits - 1)

    def _dither(self, count: int, name: str, setting: Setting) -> Tensor:
        return uniform(count, *setting.keys, "dither", name) - 0.5

    def few(self, latent: Tensor, name: str, setting: Setting) -> Part:
        """Levels."""
        at = (latent.clamp(-self.limit, self.limit) + self.limit) / self.step
        levels = (at + self._dither(len(latent), name, setting)).round().clamp(0, 2**self.bits - 1)
        return {"levels": pack(levels, self.bits)}

    def read(self, role: str, name: str, parts: Part, base: Tensor, setting: Setting) -> Tensor:
        """See the module."""
        if role != "latent":
            return super().read(role, name, parts, base, setting)
        levels = unpack(parts["levels"], base.numel(), self.bits).float()
        read = (levels - self._dither(base.numel(), name, setting)) * self.step - self.limit
        return read.view(base.shape).to(base.dtype)

    def sizes(self, count: int) -> PartForm:
        """See the module."""
        return {"levels": ((torch.uint8,), (bytes_of(count, self.bits),))}


class PosteriorSamples(Latents):
    """samples: S; estimate: "paired" or "running"; gain: its weight of a round."""

    def __init__(
        self, samples: int = 1, estimate: str = "paired", gain: float = 1.0, limit: float = 8.0, others: int = 16
    ) -> None:
        super().__init__(limit, others)
        self.samples, self.estimate, self.gain = samples, estimate, gain

    def _drawn(self, latent: Tensor, name: str, setting: Setting) -> Tensor:
        """bool (S, N): whether a weight is +1."""
        number, at = self.samples * setting.asked, self.samples * setting.place
        shift = torch.arange(at, at + self.samples, dtype=torch.float32).unsqueeze(1) / number
        u = uniform(len(latent), *setting.shared, "draw", name) + shift
        return (u - u.floor()).lt(torch.sigmoid(2 * latent.float()))

    def few(self, latent: Tensor, name: str, setting: Setting) -> Part:
        """Draws, one behind the other."""
        return {"draws": pack(self._drawn(latent, name, setting), 1)}

    def read(self, role: str, name: str, parts: Part, base: Tensor, setting: Setting) -> Tensor:
        """What a reply says of the mean."""
        if role != "latent":
            return super().read(role, name, parts, base, setting)
        drawn = unpack(parts["draws"], self.samples * base.numel(), 1).view(self.samples, -1).float()
        if self.estimate == "running":
            return (2 * drawn - 1).mean(0).view(base.shape).double()
        own = self._drawn(base.flatten(), name, setting).float()
        return torch.tanh(base.double()) + 2 * (drawn - own).mean(0).view(base.shape)

    def sizes(self, count: int) -> PartForm:
        """See the module."""
        return {"draws": ((torch.uint8,), (bytes_of(self.samples * count, 1),))}

    def space(self, base: Given) -> Given:
        """Means in place of natural parameters, in double precision, which tells those near 1 apart."""
        return mapped(base, lambda role, name, tensor: torch.tanh(tensor.double()) if role == "latent" else tensor)

    def learned(self, new: Roles, base: Given, replies: Sequence[Reply]) -> Roles:
        """The estimate; a weight that no reply says anything new of stays as it is."""
        edge = math.tanh(self.limit)

        def natural(role: str, name: str, mean: Tensor) -> Tensor:
            if role != "latent":
                return mean
            old = base[role][name]
            before = torch.tanh(old.double())
            now = before + self.gain * (mean - before)
            return torch.where(mean == before, old, torch.atanh(now.clamp(-edge, edge)).to(old.dtype))

        return mapped(new, natural)
