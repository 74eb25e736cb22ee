"""A batch in slices, one per thread: each runs the whole loop over time on its examples, with products of one thread.

Two threads that share a product of 100 rows wait for each other at every one of them, and between products one thread
would do the elementwise work alone. Where bits are promised, slices are taken only if they give the bits of the
whole: a product's order of additions may depend on how many rows it has, never on the numbers, so a trial with other
numbers shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import torch

from bitspike.kernels.cpu import threads

LANES = 4  # rows that a product takes at once: slices of whole ones are the likeliest to keep its bits
Made = TypeVar("Made")


def slices(batch: int) -> list[tuple[int, int]]:
    """One slice per thread that can work on its own; a single one for a batch too small to share."""
    return [share[0] for share in threads.ranges(batch, threads.together(), lanes=LANES)]


def over(parts: int, make: Callable[[int], Made]) -> list[Made]:
    """make(0), ..., make(parts - 1), at once where there are threads for it."""
    made: dict[int, Made] = {}

    def run(part: int) -> None:
        # Threads that are not Python's own record a graph unless told.
        with torch.no_grad():
            made[part] = make(part)

    threads.run_in_team(run, parts)
    return [made[part] for part in range(parts)]


def keep_bits(batch: int, shapes: tuple[tuple[int, int, int], ...], dtype: torch.dtype) -> bool:
    """Whether products of slices are those of the whole batch. shapes: rows per example, terms and columns of each."""
    return _keep_bits(tuple(slices(batch)), batch, shapes, dtype, torch.get_num_threads())


@lru_cache(maxsize=64)
def _keep_bits(
    cut: tuple[tuple[int, int], ...], batch: int, shapes: tuple[tuple[int, int, int], ...], dtype: torch.dtype, _: int
) -> bool:
    draw = torch.Generator().manual_seed(0)
    for rows, terms, columns in shapes:
        x = torch.randn(batch * rows, terms, generator=draw, dtype=dtype)
        weight = torch.randn(columns, terms, generator=draw, dtype=dtype).t()

        def part(i: int, rows: int = rows, x: torch.Tensor = x, weight: torch.Tensor = weight) -> torch.Tensor:
            lo, hi = cut[i]
            return torch.mm(x[lo * rows : hi * rows], weight)

        if not torch.equal(torch.cat(over(len(cut), part)), torch.mm(x, weight)):
            return False
    z = torch.randn(batch, max(columns for _, _, columns in shapes), generator=draw, dtype=dtype)
    return torch.equal(torch.cat(over(len(cut), lambda i: z[cut[i][0] : cut[i][1]].tanh())), z.tanh())
