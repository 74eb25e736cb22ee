"""Energy of one inference of a network on data, estimated from what really ran: never one number, never measured."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.cells import LMU, ParallelLMU
from bitspike.convert import Hybrid, RateNetwork, Spiking
from bitspike.energy.account import Energy, account
from bitspike.energy.counts import Counts
from bitspike.energy.devices import Device
from bitspike.energy.operations import OperationCounter
from bitspike.energy.tally import Unbatched
from bitspike.errors import refuse
from bitspike.layers import Stepwise, TemporalBatchNorm
from bitspike.layers.modes import evaluating
from bitspike.neurons import Neuron, SoftNeuron, Static


def estimate_energy(
    model: nn.Module,
    data: Tensor | Iterable[Any],
    *,
    time: float | None = None,
    steps: int | None = None,
    run: Callable[[Tensor], object] | None = None,
    time_first: bool | None = None,
    draws: int = 1,
    devices: Iterable[Device] = (),
    overrides: Mapping[str, float] | None = None,
    timesteps: int | None = None,
    dt: float = 0.001,
) -> Energy:
    """The energy account of `model` on `data`, a tensor or batches of it (of a tuple, the first).

    What a batch is: of a network of this package (T, B, *features); of a hybrid or an ordinary network (B, *features);
    of a spiking run (T, B, *shape) or, with `time` in seconds, images (B, *shape); of `relu_to_spiking` images with
    `steps`. time_first says it where that is wrong. run: how a batch is run, `model(batch)` if not said. Every batch
    starts from rest. An image that a convolution takes without a batch is one image. What is not counted is named first
    in the print; parts that torch.compile compiled are run as they are written.

    draws: members of an ensemble. devices, overrides, timesteps, dt: see `account`.
    """
    if time is not None and not isinstance(model, Spiking):
        refuse("energy time", time, "none: only a spiking run is shown images for a time")
    if (steps is not None) != isinstance(model, RateNetwork):
        refuse("energy steps", steps, "steps for what relu_to_spiking gave, and for nothing else")
    model = _running(model)
    first = _time_first(model) if time_first is None else time_first
    # A converted network repeats images itself, in a module around it as well.
    images = time is not None or any(isinstance(m, RateNetwork) or _has_clock(m) for m in model.modules())
    if isinstance(model, Spiking):
        images = time is not None
    given = [data] if isinstance(data, Tensor) else data
    if not isinstance(given, Iterable):
        refuse("energy data", type(data).__name__, "a tensor, or batches")
    batches = map(_checked, given)
    start = next(batches, None)
    if start is None:
        refuse("energy data", "no batch", "at least one")

    def counted(unbatched: bool) -> Counts:
        done = 0
        with OperationCounter(model, unbatched) as counter, torch.no_grad():
            for x in itertools.chain([start], batches):
                if isinstance(model, Spiking):
                    model.reset()
                examples = 1 if unbatched else len(x) if images or not first else x.shape[1]
                try:
                    with counter.presentation(examples, first, x, images):
                        _show(model, x, time, steps, run)
                except Unbatched:
                    if not done:
                        raise
                    came = f"{tuple(x.shape)}, one image without a batch"
                    refuse("energy data", came, "batches as the first one was")
                done += 1
        return counter.counts()

    try:
        with evaluating(model), _eager():
            try:
                counts = counted(unbatched=False)
            except Unbatched:
                if first:
                    refuse("energy data", f"{tuple(start.shape)}, images without a batch", "batches (T, B, *features)")
                counts = counted(unbatched=True)
    finally:
        if isinstance(model, Spiking):
            model.reset()
    return account(counts, draws=draws, own=devices, overrides=overrides, timesteps=timesteps, dt=dt)


def _has_clock(module: nn.Module) -> bool:
    return isinstance(module, Hybrid) and module.clock is not None


def _checked(batch: Any) -> Tensor:
    x = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if not isinstance(x, Tensor) or x.ndim < 2 or 0 in x.shape:
        came = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        refuse("energy data", came, "batches (T, B, *features) or (B, *features), none of them empty")
    return x


def _running(model: Any) -> nn.Module:
    """The module whose hooks are called: not the one that torch.compile put before it."""
    while type(model).__name__ == "OptimizedModule" and isinstance(getattr(model, "_orig_mod", None), nn.Module):
        model = model._orig_mod
    if not isinstance(model, nn.Module):
        refuse("energy model", type(model).__name__, "a module")
    return model


@contextmanager
def _eager() -> Iterator[None]:
    """Compiled parts run as they are written: what is compiled calls no hooks."""
    # Nothing is compiled where torch's compiler was never loaded.
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def _show(
    model: nn.Module, x: Tensor, time: float | None, steps: int | None, run: Callable[[Tensor], object] | None
) -> None:
    if run is not None:
        run(x)
    elif isinstance(model, Spiking) and time is not None:
        # The whole of it: half of an odd number of steps is no window.
        model.present(x, time, [(0.0, time)])
    elif isinstance(model, RateNetwork):
        model(x, steps)
    else:
        model(x)


def _time_first(model: nn.Module) -> bool:
    """Whether rows of its layers come step after step, T B of them."""
    if isinstance(model, Hybrid) and model.clock is None:
        return model.time_first
    kinds = (Static, SoftNeuron, Stepwise, TemporalBatchNorm, Neuron, LMU, ParallelLMU, Spiking, RateNetwork)
    return any(isinstance(module, kinds) or getattr(module, "is_spiking", False) for module in model.modules())
