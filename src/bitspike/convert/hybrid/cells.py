"""Recurrent cells of torch with their nonlinearities as modules, so that these can be swapped.

    RNN    h' = f(W x + b + U h + c)
    GRU    r, z = s(...), s(...);  n = tanh(W_n x + b_n + r (U_n h + c_n));  h' = (1 - z) n + z h
    LSTM   i, f, o = s(...);  g = tanh(...);  c' = f c + i g;  h' = o tanh(c')

They use the parameters of the module they stand for, which stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.errors import refuse

GATES = {
    "RNN": ("hidden",),
    "GRU": ("reset", "update", "new"),
    "LSTM": ("input", "forget", "candidate", "output", "memory"),
}
TANH = ("hidden", "new", "candidate", "memory")


def _of_both(own: Callable[[str], Any], owner: nn.Module | None, name: str) -> Any:
    """An attribute of an open form; what it has not is of the module it stands for (num_layers, hidden_size, ...)."""
    try:
        return own(name)
    except AttributeError:
        if owner is None or name.startswith("__"):
            raise
        return getattr(owner, name)


class OpenCell(nn.Module):
    """One step of one layer of `owner`; its weights are those with `suffix` ("" for a cell, "_l0", ...)."""

    owner: nn.Module
    unswapped: ClassVar = ("closed",)

    def __init__(self, owner: nn.Module, kind: str, suffix: str, nonlinearity: str = "tanh") -> None:
        super().__init__()
        # Not a child: the layers of one module share it, and its parameters are listed once.
        self.__dict__["owner"] = owner
        self.kind, self.suffix = kind, suffix
        for name in GATES[kind]:
            module: nn.Module = nn.Tanh() if name in TANH else nn.Sigmoid()
            self.add_module(name, nn.ReLU() if nonlinearity == "relu" else module)

    def __getattr__(self, name: str) -> Any:
        return _of_both(super().__getattr__, self.__dict__.get("owner"), name)

    def _products(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        def parameter(name: str) -> Any:
            return getattr(self.owner, f"{name}{self.suffix}", None)

        return (
            F.linear(x, parameter("weight_ih"), parameter("bias_ih")),
            F.linear(h, parameter("weight_hh"), parameter("bias_hh")),
        )

    def _apply_to(self, name: str, x: Tensor) -> Tensor:
        y: Tensor = self.get_submodule(name)(x)
        return y

    def forward(self, x: Tensor, state: Any = None) -> Any:
        """x (B, F) and h (B, H), for an LSTM (h, c), to the next h or (h, c); no state is zeros."""
        if x.ndim != 2:
            refuse("recurrent cell input", tuple(x.shape), "(B, features)")
        if state is None:
            zeros = x.new_zeros(len(x), getattr(self.owner, "hidden_size"))  # noqa: B009 - of any cell
            state = (zeros, zeros) if self.kind == "LSTM" else zeros
        h = state[0] if self.kind == "LSTM" else state
        a, b = self._products(x, h)
        if self.kind == "RNN":
            return self._apply_to("hidden", a + b)
        if self.kind == "GRU":
            (ra, za, na), (rb, zb, nb) = a.chunk(3, 1), b.chunk(3, 1)
            r, z = self._apply_to("reset", ra + rb), self._apply_to("update", za + zb)
            n = self._apply_to("new", na + r * nb)
            return n + z * (h - n)
        i, f, g, o = (a + b).chunk(4, 1)
        kept = self._apply_to("forget", f) * state[1]
        c = kept + self._apply_to("input", i) * self._apply_to("candidate", g)
        return self._apply_to("output", o) * self._apply_to("memory", c), c


class OpenLayers(nn.Module):
    """nn.RNN, nn.GRU or nn.LSTM, one direction, as loops over layers and time."""

    unswapped: ClassVar = ("closed",)

    def __init__(self, owner: nn.RNNBase) -> None:
        super().__init__()
        kind = type(owner).__name__
        if owner.bidirectional or owner.proj_size:
            refuse(f"hybridise nn.{kind}", "two directions or a projection", "one direction, no projection")
        self.closed, self.kind = owner, kind
        nonlinearity = getattr(owner, "nonlinearity", "tanh")
        self.cells = nn.ModuleList(OpenCell(owner, kind, f"_l{k}", nonlinearity) for k in range(owner.num_layers))

    def __getattr__(self, name: str) -> Any:
        return _of_both(super().__getattr__, self.__dict__.get("_modules", {}).get("closed"), name)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """As the module it stands for, on batches (T, B, F) or, with batch_first, (B, T, F)."""
        if not isinstance(x, Tensor) or x.ndim != 3:
            refuse(f"nn.{self.kind} input", type(x).__name__, "a batch of sequences of one length, three dimensions")
        x = x.transpose(0, 1) if self.closed.batch_first else x
        lstm, last = self.kind == "LSTM", []
        for k, cell in enumerate(self.cells):
            start: Any = None
            if state is not None:
                start = (state[0][k], state[1][k]) if lstm else state[k]
            if k and self.closed.training and self.closed.dropout:
                x = F.dropout(x, self.closed.dropout)
            outputs = []
            for row in x:
                start = cell(row, start)
                outputs.append(start[0] if lstm else start)
            x = torch.stack(outputs)
            last.append(start)
        end: Any = tuple(map(torch.stack, zip(*last, strict=True))) if lstm else torch.stack(last)
        return (x.transpose(0, 1) if self.closed.batch_first else x), end


def opened(module: nn.Module) -> nn.Module | None:
    """The open form of a recurrent module of torch; None for any other."""
    if isinstance(module, nn.RNNCellBase):
        kind = type(module).__name__.removesuffix("Cell")
        cell = OpenCell(module, kind, "", getattr(module, "nonlinearity", "tanh"))
        cell.add_module("closed", module)
        return cell
    return OpenLayers(module) if isinstance(module, nn.RNNBase) else None
