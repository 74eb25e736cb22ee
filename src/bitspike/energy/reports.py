"""Who reports a module's operations: the module itself (see `tally`), or what is registered here for its class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.convert.nonlinearities import MODULES
from bitspike.convert.relu.linear_calls import LARGEST
from bitspike.errors import refuse

Report = Callable[[Any, Any, tuple[Any, ...], Any], None]
AVERAGES = (
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
)  # fmt: skip
POOLS = (*AVERAGES, *LARGEST)
REPORTS: dict[type[nn.Module], Report] = {}


def reports(*kinds: type[nn.Module]) -> Callable[[Report], Report]:
    """Register report(module, tally, given, output) for modules of these classes."""

    def register(report: Report) -> Report:
        REPORTS.update(dict.fromkeys(kinds, report))
        return report

    return register


def reports_of(module: nn.Module) -> Iterator[tuple[str, Report]]:
    """(kind, report) of what a module does: its own, or its class's; of a neuron by its `is_spiking`, in addition."""
    own = False
    # A parametrized layer has a class of its own.
    for base in type(module).__mro__:
        own = "report_operations" in vars(base)
        if own or base in REPORTS:
            yield base.__name__, vars(base)["report_operations"] if own else REPORTS[base]
            break
    if not own and getattr(module, "is_spiking", False):
        yield type(module).__name__, neurons


def kind_of(module: nn.Module) -> str:
    """The class that says what a module does."""
    return next((kind for kind, _ in reports_of(module)), type(module).__name__)


def neurons(module: nn.Module, tally: Any, given: tuple[Any, ...], spikes: Tensor) -> None:
    """Neurons of any kind."""
    if spikes.ndim < 3:
        refuse(f"{tally.name} output", tuple(spikes.shape), "spikes (T, B, *features)")
    tally.fires(spikes, module)


@reports(
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
)  # fmt: skip
def _weights(layer: nn.Module, tally: Any, given: tuple[Any, ...], y: Tensor) -> None:
    tally.weighs(layer, given[0], y)


@reports(*MODULES)
def _nonlinearity(module: nn.Module, tally: Any, given: tuple[Any, ...], y: Tensor) -> None:
    tally.computes(y)


@reports(*POOLS)
def _pool(module: nn.Module, tally: Any, given: tuple[Any, ...], y: Any) -> None:
    if isinstance(y, Tensor) and len(given[0]):
        tally.pools(given[0])


@reports(nn.LSTM, nn.GRU, nn.RNN)
def _recurrent(cell: nn.RNNBase, tally: Any, given: tuple[Any, ...], output: tuple[Tensor, Any]) -> None:
    """All steps of all layers and directions; those of further ones as if every input were active."""
    n, real = tally.origin(given[0])
    x, h = (given[0] if n is None else n).detach(), output[0].detach()
    x, h = (each.unsqueeze(1) if each.ndim == 2 else each for each in (x, h))
    if cell.batch_first and given[0].ndim == 3:
        x, h = x.transpose(0, 1), h.transpose(0, 1)
    single = cell.num_layers == 1 and not cell.bidirectional
    once = None if tally.shown is None or tally.shown.time_first else tally.shown.examples
    for layer in range(cell.num_layers):
        for back in ("", "_reverse")[: 2 if cell.bidirectional else 1]:
            suffix = f"_l{layer}{back}"
            for part, weights in (("input", "ih"), ("feedback", "hh"), ("projection", "hr")):
                weight: Tensor | None = getattr(cell, f"weight_{weights}{suffix}", None)
                if weight is None:
                    continue
                known = x if part == "input" and layer == 0 else h if part == "feedback" and single else None
                tally.product(
                    part + ("" if suffix == "_l0" else suffix), weight,
                    tally.active(x, weight.shape[1]) if known is None else known, float(weight.shape[0]),
                    delayed=known is h, real=real, rows=once,
                )  # fmt: skip


@reports(nn.RNNCell, nn.LSTMCell, nn.GRUCell, nn.RNNCellBase)
def _step(cell: nn.RNNCellBase, tally: Any, given: tuple[Any, ...], output: Any) -> None:
    """One step: input (B, F), state h (B, H) or (h, c); none is zeros."""
    n, real = tally.origin(given[0])
    x = (given[0] if n is None else n).detach()
    x = x.unsqueeze(0) if x.ndim == 1 else x
    state = given[1] if len(given) > 1 else None
    h = state[0] if isinstance(state, tuple | list) else state
    h = x.new_zeros(len(x), cell.hidden_size) if h is None else h.detach().reshape(len(x), -1)
    for part, weight, rows in (("input", cell.weight_ih, x), ("feedback", cell.weight_hh, h)):
        assert isinstance(weight, torch.Tensor)
        tally.product(part, weight, rows[None], float(weight.shape[0]), real=real, rows=len(x))
