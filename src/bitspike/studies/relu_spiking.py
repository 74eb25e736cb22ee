"""A finished run of an ordinary network (neurons of kind "relu") measured as spikes whose rates are its activations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitspike.convert import RateNetwork, accuracy_curve, relu_to_spiking
from bitspike.data import Split
from bitspike.draws import generator
from bitspike.energy import estimate_energy
from bitspike.errors import refuse
from bitspike.neurons import Static
from bitspike.run.assemble import encode
from bitspike.run.finished import Run
from bitspike.studies.spiking import counting

BATCH = 250
# Images of the energy account.
COUNTED, COUNTED_AT_ONCE = 100, 20


def is_relu_run(run: Run) -> bool:
    """Whether the run's network is one of ReLUs, to be converted rather than run as soft rates."""
    return any(isinstance(m, Static) for m in run.model.modules())


def check_relu_run(run: Run, field: str) -> None:
    """Refuse a run of another network."""
    if run.learner.bayesian or not is_relu_run(run):
        refuse(field, f"'{run.path}'", "a run of an ordinary network: model.neuron.kind = 'relu'")


def check_direct(run: Run, field: str) -> None:
    """Refuse a run whose inputs change over time."""
    if run.encoder.takes != "values" or run.recipe.encoder.name != "direct":
        refuse(field, f"encoder.name = '{run.recipe.encoder.name}'", "'direct': images as constant currents")


def calibrating(run: Run, train: Split, examples: int) -> Tensor:
    """The numbers of `examples` training examples drawn by the run's seed."""
    return torch.randperm(len(train), generator=generator(run.recipe.seed, "calibration"))[:examples]


def rate_network_of(run: Run, *, examples: int = 500, data: Path | None = None, **options: Any) -> RateNetwork:
    """The run's network as spikes, its thresholds set on `examples` training examples drawn by its seed.

    options: those of `relu_to_spiking`.
    """
    check_relu_run(run, "relu_to_spiking run")
    check_direct(run, "relu_to_spiking run")
    train = run.dataset(data).train
    batches = [images(run, train, rows) for rows in calibrating(run, train, examples).split(BATCH)]
    return relu_to_spiking(run.model, batches, **options)


def evaluate_rates(
    run: Run,
    part: str = "validation",
    *,
    steps: int = 200,
    most: int | None = None,
    data: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The accuracy-time curve of a split: plain values of `RateCurve`, with the split, the steps and the first step
    from which on the accuracy is within a point of the ReLU network's (`within_a_point`, None: never). energy: the
    account of `energy.estimate_energy` of the first COUNTED images.

    most: the first examples only. progress: told of examples done and of all. options: those of `rate_network_of`.
    """
    if run.form.task != "classification":
        refuse("--spiking", f"a run of {run.form.task}", "a run of classification")
    split = run.split(part, data)
    network = rate_network_of(run, data=data, **options)
    count = len(split) if most is None else min(most, len(split))

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for rows in torch.arange(count).split(BATCH):
            yield images(run, split, rows), split.y[rows]

    began = time.perf_counter()
    curve = accuracy_curve(network, batches(), steps, progress=counting(progress, count))
    took = {"seconds": time.perf_counter() - began, "threads": torch.get_num_threads()}
    found = {"split": part, "steps": steps, "within_a_point": curve.reached(0.01), **curve.to_dict(), **took}
    rows = torch.arange(min(count, COUNTED))
    account = estimate_energy(network, (images(run, split, some) for some in rows.split(COUNTED_AT_ONCE)), steps=steps)
    return {**found, "spikes_per_neuron": curve.spikes_per_neuron, "energy": account.to_dict()}


def images(run: Run, split: Split, rows: Tensor) -> Tensor:
    """Examples as the network was trained on them (cropped where it was), (B, *shape)."""
    return encode(run.recipe, run.encoder, split.x[rows], rows, 0)[0].to(run.dtype)
