"""Many images through a spiking network: streams of presentations, decisions, spikes, in bounded memory.

The images are dealt to S streams, which run side by side as one batch; each stream shows its share, a stretch of the
data in their order, one after the other. Without reset an image thus meets what the one before it left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bitspike.convert.soft.spiking import Spiking
from bitspike.errors import refuse

# Bytes of the largest layer in one chunk: more leaves the caches, and far more the memory.
CHUNK_BYTES = 12e6
MOST_STREAMS = 256


@dataclass(frozen=True)
class Presentation:
    """outputs: mean outputs (W, N, C) over the windows; spikes and neurons: per image, and of each layer by name.

    rates: spikes per second and neuron, by layer; mean_rate: over all neurons.
    """

    outputs: Tensor
    windows: tuple[tuple[float, float], ...]
    spikes: dict[str, float]
    neurons: dict[str, int]
    rates: dict[str, float]
    mean_rate: float
    streams: int


def streams_for(spiking: Spiking, x: Tensor) -> int:
    """How many streams keep the largest layer of a chunk within CHUNK_BYTES, from one step of one image x (1, *)."""
    spiking.reset()
    spiking(x[:1].unsqueeze(0))
    spiking.reset()
    most = max(x[0].numel(), *(unit.neurons for unit in spiking.units().values()))
    return max(1, min(MOST_STREAMS, int(CHUNK_BYTES / (x.element_size() * spiking.chunk * most))))


def present_all(
    spiking: Spiking,
    x: Callable[[Tensor], Tensor],
    count: int,
    time: float,
    windows: Sequence[tuple[float, float]],
    streams: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Presentation:
    """Present images 0 to count - 1, which x(numbers) gives as (B, *shape), for `time` seconds each.

    windows: (start, end] of decisions, seconds. streams: default by `streams_for`. progress: told of images done.
    """
    if count < 1:
        refuse("spiking images", count, "1 or more")
    if streams is not None and streams < 1:
        refuse("spiking streams", streams, "1 or more")
    size = min(count, streams or streams_for(spiking, x(torch.arange(1))))
    spiking.reset()
    spiking.forget_counts()
    # The first `longer` streams show one image more than the rest.
    share, longer = divmod(count, size)
    stream = torch.arange(size)
    starts = stream * share + stream.clamp_max(longer)
    outputs: Tensor | None = None
    for turn in range(share + bool(longer)):
        showing = size if turn < share else longer
        if showing < size:
            spiking.keep(showing)
        rows = starts[:showing] + turn
        means = spiking.present(x(rows), time, windows)
        if outputs is None:
            outputs = means.new_empty(len(means), count, *means.shape[2:])
        outputs[:, rows] = means
        if progress is not None:
            progress(showing)
    units = spiking.units()
    assert outputs is not None
    spikes = {name: unit.spikes / count for name, unit in units.items()}
    neurons = {name: unit.neurons for name, unit in units.items()}
    rates = {name: spikes[name] / (neurons[name] * time) for name in units}
    mean = math.fsum(spikes.values()) / (sum(neurons.values()) * time)
    return Presentation(outputs, tuple(windows), spikes, neurons, rates, mean, size)
