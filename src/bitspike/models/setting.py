"""What a network is built for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bitspike import registry
from bitspike.options import Options
from bitspike.products import Kind, Policy


@dataclass(frozen=True)
class Setting:
    """What data, encoder and machine give the builder of a network.

    shape: features (T, B, *shape) of an encoded example, made of `emits`; steps: T; outputs: read-outs, one per class
    or value of the task; seed: names the draws of initial weights; binary: weights become +-1; own: a person's
    module, which the network then is.
    """

    shape: tuple[int, ...]
    outputs: int
    steps: int
    task: str = "classification"
    seed: int = 0
    emits: Kind = "real"
    back_end: str = "auto"
    products: Policy = "exact"
    binary: bool = False
    own: Any = None

    def build(self, options: Options) -> Any:
        """The network that a model's options describe."""
        return registry.make(
            options, setting=self, shape=self.shape, outputs=self.outputs, steps=self.steps, seed=self.seed
        )  # fmt: skip
