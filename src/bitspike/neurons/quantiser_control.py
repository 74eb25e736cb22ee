"""What is done to all quantisers of a model at once: find them, name their draws, evaluate at another step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from bitspike.draws import Key
from bitspike.errors import refuse
from bitspike.neurons.quantiser import TemporalQuantiser, step_factor


def quantisers(model: nn.Module) -> Iterator[tuple[str, TemporalQuantiser]]:
    """(module path, quantiser) of every quantiser in `model`, each once; the path of `model` itself is ""."""
    for name, module in model.named_modules():
        if isinstance(module, TemporalQuantiser):
            yield name, module


def redraw_carry(model: nn.Module, *keys: Key, examples: Sequence[int] | Tensor | None = None) -> None:
    """Name the next draws of every quantiser: `keys` and its module path. No keys: back to those it was made with.

    They name v_0, or the random counts, of runs that get no state. examples: the numbers of the batch's examples;
    what an example meets then depends on its number, not on its place in a batch. Without them, one draw is made for
    a whole batch. Nothing of this is in the `state_dict`.
    """
    numbers = None if examples is None else torch.as_tensor(examples, dtype=torch.int64).cpu()
    if numbers is not None and numbers.ndim != 1:
        refuse("quantiser examples", f"numbers of shape {tuple(numbers.shape)}", "one per example, (B,)")
    for name, quantiser in quantisers(model):
        quantiser.drawn = (*keys, name) if keys else None
        quantiser.examples = numbers


@contextmanager
def at_step(model: nn.Module, factor: float | None) -> Iterator[None]:
    """Within the block every quantiser of `model` uses factor * final, in training and in evaluation.

    None or infinity: nothing is quantised, y = f(x) (clipped where there is a limit).
    """
    factor = step_factor(factor)
    with ExitStack() as blocks:
        for _, quantiser in quantisers(model):
            blocks.enter_context(quantiser.at(factor))
        yield
