"""What a network is built for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bitspike import registry
from bitspike.draws import global_draws
from bitspike.errors import refuse
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

    @property
    def taken(self) -> tuple[int, ...]:
        """How many read-outs an answer may have: of two classes, also the logit of the second alone."""
        return (self.outputs, 1) if self.task == "classification" and self.outputs == 2 else (self.outputs,)

    def build(self, options: Options) -> Any:
        """The network that a model's options describe; of one's own, its answers are checked."""
        # What is not of this package draws its first weights as PyTorch's layers do: those too are named by the seed.
        with global_draws(self.seed, "model"):
            made = registry.make(
                options, setting=self, shape=self.shape, outputs=self.outputs, steps=self.steps, seed=self.seed
            )  # fmt: skip
        if options.named is not None and registry.entry("model", options.named.name).is_own:
            if not isinstance(made, nn.Module):
                refuse(f"model '{options.named.name}'", f"a {type(made).__name__}", "a torch.nn.Module")
            taken = self.taken
            made.register_forward_hook(lambda _, given, answer: checked_answer(answer, given[0], taken))
        return made


def checked_answer(answer: Any, x: Tensor, taken: tuple[int, ...]) -> Tensor:
    """A network's answer to x (T, B, *features) as (T or 1, B, C), C one of `taken`; refused if it is none."""
    steps, batch = x.shape[:2]
    wanted = f"({steps}, {batch}, {taken[0]}), or ({batch}, {taken[0]}) for one answer"
    if not isinstance(answer, Tensor):
        refuse(f"model answer to {tuple(x.shape)}", type(answer).__name__, f"one tensor {wanted}")
    found = answer.unsqueeze(0) if answer.ndim == 2 else answer
    fits = found.ndim == 3 and found.shape[0] in (1, steps) and found.shape[1] == batch
    if not fits or found.shape[2] not in taken:
        refuse(f"model answer to {tuple(x.shape)}", f"shape {tuple(answer.shape)}", wanted)
    return found
