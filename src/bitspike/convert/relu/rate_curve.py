"""The accuracy-time curve of a network whose activations are firing rates: its mean read-out after each step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from bitspike.convert.entrance import MOST_STEPS
from bitspike.convert.relu.rate_network import RateNetwork
from bitspike.errors import check_whole, refuse
from bitspike.targets import answers, class_targets, classes_of

MUCH_CUT = 0.01  # a share of activations above the threshold that is said


@dataclass(frozen=True)
class RateCurve:
    """accuracy[t - 1]: of the mean read-out of the first t steps. examples: how many images it is of.

    ann: accuracy of the ReLU network with the same folded weights; limit: of what the spikes tend to, activations cut
    off at the thresholds and pools as they were swapped. By the path of each ReLU: neurons, spikes per image, and rates
    (spikes per neuron and step, 1 at most); mean_rate: over all neurons. cut: the share of activations above the
    threshold of their ReLU's neurons, which no rate can follow. notes: bounds that were reached, a line each.
    """

    accuracy: tuple[float, ...]
    ann: float
    limit: float
    examples: int
    neurons: dict[str, int]
    spikes: dict[str, float]
    rates: dict[str, float]
    mean_rate: float
    cut: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def spikes_per_neuron(self) -> float:
        """Over all steps of one image."""
        return self.mean_rate * len(self.accuracy)

    def reached(self, within: float = 0.01) -> int | None:
        """The first step from which on the accuracy is no more than `within` below the ReLU network's, or None."""
        # A difference of decimal fractions is off by a few units in its last binary place.
        below = [step for step, found in enumerate(self.accuracy, 1) if found < self.ann - within - 1e-9]
        first = below[-1] + 1 if below else 1
        return first if first <= len(self.accuracy) else None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "accuracy": list(self.accuracy), "notes": list(self.notes)}


@torch.no_grad()
def accuracy_curve(
    network: RateNetwork,
    data: Iterable[tuple[Tensor, ...]],
    steps: int = 256,
    *,
    progress: Callable[[int], None] | None = None,
) -> RateCurve:
    """Run every image from rest for `steps` steps and count the right answers of the mean read-out after each.

    data: batches (images, targets, ...) of any size, as a data loader gives them; one tensor of each is
    [(images, targets)]. Memory is that of some images and some steps at a time. The answer is the largest read-out, or
    the sign of a single one. progress: told of images done.
    """
    check_whole("curve steps", steps)
    if steps > MOST_STEPS:
        refuse("curve steps", f"{steps:,}", f"at most {MOST_STEPS:,}")
    hits: Any = torch.zeros(steps, dtype=torch.int64)
    ann = limit = examples = 0
    network.forget_counts()
    for batch in data:
        if not isinstance(batch, tuple | list) or len(batch) < 2 or not all(isinstance(p, Tensor) for p in batch[:2]):
            refuse("curve data", f"a batch that is a {type(batch).__name__}", "batches of (images, targets)")
        images, targets = batch[:2]
        if images.ndim < 2 or targets.ndim < 1:
            came = f"images {tuple(images.shape)} and targets {tuple(targets.shape)}"
            refuse("curve data", came, "images (B, *shape) and targets (B,)")
        if len(images) != len(targets):
            refuse("curve data", f"{len(images)} images and {len(targets)} targets", "one target for each image")
        if not len(images):
            continue
        scores = network.ann(images[:1])
        if scores.ndim != 2:
            refuse("curve read-out", tuple(scores.shape), "scores (B, C)")
        targets = class_targets("curve targets", targets, len(images), classes_of(scores)).to(scores.device)
        images = network.taken(images)
        for x, y in zip(images.split(network.rows()), targets.split(network.rows()), strict=True):
            ann += _right(network.ann(x), y)
            limit += _right(network.ann(x, limit=True), y)
            total, first = None, 0
            for part in network.readouts(x, steps):
                sums = part.cumsum(0) if total is None else part.cumsum(0) + total
                total = sums[-1]
                hits[first : first + len(sums)] += (answers(sums) == y).sum(1).cpu()
                first += len(sums)
            examples += len(x)
            if progress is not None:
                progress(len(x))
    if not examples:
        refuse("curve data", "no image", "batches of images and targets")
    units = network.units()
    spikes = {name: unit.spikes / examples for name, unit in units.items()}
    neurons = {name: unit.neurons for name, unit in units.items()}
    rates = {name: spikes[name] / (neurons[name] * steps) for name in units}
    mean = sum(spikes.values()) / (sum(neurons.values()) * steps)
    accuracy = tuple(right / examples for right in hits.tolist())
    cut = {name: unit.cut / unit.looked_at if unit.looked_at else 0.0 for name, unit in units.items()}
    notes = [f"{name} never answered on the data that set the thresholds" for name in network.silent]
    notes += [
        f"{name}: {100 * share:.2g} % of the activations are above the threshold and are cut off; "
        "a higher percentile, or other images to set it, lets them through"
        for name, share in cut.items()
        if share > MUCH_CUT
    ]
    return RateCurve(
        accuracy, ann / examples, limit / examples, examples, neurons, spikes, rates, mean, cut, tuple(notes)
    )  # fmt: skip


def _right(readouts: Tensor, targets: Tensor) -> int:
    return int((answers(readouts) == targets).sum())
