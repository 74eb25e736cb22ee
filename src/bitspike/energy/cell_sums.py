"""The products of recurrent cells, told to the counts as layers; see `cells` for what they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.cells import ParallelLMU
from bitspike.energy.cells import Product, gated_products, memory_products, step_products
from bitspike.energy.counts import REAL_BITS, LayerCount
from bitspike.energy.layer_sums import LayerSums


class CellSums(LayerSums):
    """What hooks behind recurrent modules add."""

    def _count_gated(self, name: str, module: nn.Module, x: Tensor, output: tuple[Tensor, Any]) -> None:
        n, real = self._origin(x)
        rows, h = (x if n is None else n).detach(), output[0].detach()
        rows, h = (each.unsqueeze(1) if each.ndim == 2 else each for each in (rows, h))
        if getattr(module, "batch_first", False) and x.ndim == 3:
            rows, h = rows.transpose(0, 1), h.transpose(0, 1)
        parts = list(gated_products(module, rows, h))
        self._count_products(name, type(module).__name__, parts, real)
        if self._pass is not None and not self._pass.time_first:
            for part in parts:
                steps, _, inputs = part.x.shape
                self._calls.setdefault(f"{name}.{part.name}", []).append((steps * inputs * part.reach, 1.0))

    def _count_cell(self, name: str, module: nn.Module, given: tuple[Any, ...]) -> None:
        assert isinstance(module, nn.RNNCellBase)
        state = given[1] if len(given) > 1 else None
        h = state[0] if isinstance(state, tuple | list) else state
        n, real = self._origin(given[0])
        x: Tensor = (given[0] if n is None else n).detach()
        x = x.unsqueeze(0) if x.ndim == 1 else x
        h = None if h is None else h.detach().reshape(len(x), -1)
        parts = list(step_products(module, x, h))
        self._count_products(name, type(module).__name__, parts, real)
        for part in parts:
            self._note_call(f"{name}.{part.name}", part.x.shape[2] * part.reach, part.x.shape[1])

    def _count_memory(self, name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
        assert isinstance(module, ParallelLMU)
        self._count_products(name, "LMU", memory_products(module, x.detach()))

    def _count_products(self, name: str, kind: str, products: Iterable[Product], real: bool = False) -> None:
        for part in products:
            steps, _, inputs = part.x.shape
            key = f"{name}.{part.name}"
            dense = steps * inputs * part.reach
            layer = self._layers.setdefault(key, LayerCount(key, kind, part.weight.numel(), REAL_BITS, dense))
            reach = torch.tensor(part.reach, dtype=torch.float64)
            self._add(layer, part.x.flatten(0, 1), part.weight, reach, inputs, over_time=False, real=real)
