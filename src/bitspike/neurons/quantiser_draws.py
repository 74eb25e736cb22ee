"""Random counts of a quantiser without carry.

    stochastic   n = floor(e) + 1[U < e - floor(e)],  U uniform on [0, 1)
    poisson      n = sign(e) Poisson(|e|)

e = dt f(x). The first law is that of sign(e) (floor(|e|) + Bernoulli(|e| - floor(|e|))): E[n] = e, the two nearest
integers. Each step has a draw of its own, named by the seed and the number of the step, so that a run in pieces
gives the counts of one run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.draws import Key, seed_of
from bitspike.errors import refuse


class DrawState(NamedTuple):
    """seed: of all draws, int64 () or one per example (B,); t: steps drawn so far, int64 (). Both on the host."""

    seed: Any
    t: Any


def first(keys: tuple[Key, ...], examples: Tensor | None, generator: torch.Generator | None = None) -> DrawState:
    """The state before the first step, from a name (and examples), or from the next number of `generator`."""
    if generator is not None:
        seed = torch.randint(1 << 62, (), generator=generator, device=generator.device).cpu()
    elif examples is None:
        seed = torch.tensor(seed_of(*keys))
    else:
        seed = torch.tensor([seed_of(*keys, example) for example in examples.tolist()])
    return DrawState(seed, torch.tensor(0))


def stochastic(e: Tensor, source: torch.Generator) -> Tensor:
    """e rounded to one of its two neighbours, on average e."""
    below = e.floor()
    return below + (torch.rand(e.shape, generator=source, device=e.device, dtype=e.dtype) < e - below)


def poisson(e: Tensor, source: torch.Generator) -> Tensor:
    """A Poisson count of mean |e|, with e's sign."""
    return torch.poisson(e.abs(), generator=source).copysign(e)


MODES: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {"stochastic": stochastic, "poisson": poisson}


@torch.no_grad()
def random_counts(mode: str, e: Tensor, state: DrawState) -> tuple[Tensor, DrawState]:
    """Counts (T, B, *features) for e of that shape, and the state after the last step."""
    draw, seeds, t = MODES[mode], state.seed.tolist(), int(state.t)
    if isinstance(seeds, list) and len(seeds) != e.shape[1]:
        refuse("quantiser examples", f"{len(seeds)} numbers", f"one for each of the {e.shape[1]} examples")
    source, n = torch.Generator(device=e.device), torch.empty(e.shape, dtype=e.dtype, device=e.device)
    for k, row in enumerate(e.unbind(0), t):
        if isinstance(seeds, list):
            for b, seed in enumerate(seeds):
                n[k - t, b] = draw(row[b], source.manual_seed(seed_of(seed, k)))
        else:
            n[k - t] = draw(row, source.manual_seed(seed_of(seeds, k)))
    return n, DrawState(state.seed, state.t + len(e))
