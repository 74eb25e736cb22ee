"""torch.func.vmap for operators that take one example: call after call, results stacked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def one_by_one(operator: Any) -> None:
    """Let `operator` be mapped over any of its tensor arguments.

    The loop keeps each member's result what it would be alone, which is what a federation of clients needs.
    """

    def mapped(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        results = []
        for member in range(info.batch_size):
            own = [
                a.select(dim, member) if isinstance(a, Tensor) and dim is not None else a
                for a, dim in zip(arguments, in_dims, strict=True)
            ]
            results.append(operator(*own))
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        return tuple(torch.stack(parts) for parts in zip(*results, strict=True)), (0,) * len(results[0])

    torch.library.register_vmap(operator, mapped)
