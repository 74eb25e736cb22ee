"""What a recipe's tables have in common, and the tables of encoders; the text under a field is its documentation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bitspike.options import Count, Positive
from bitspike.options import Options as Part


class DirectPart(Part):
    """The value as a constant current."""

    name: Literal["direct"] = "direct"
    steps: Count = 8
    """Time steps."""


class RatePart(Part):
    """Bernoulli spikes with probability gain * value."""

    name: Literal["rate"]
    steps: Count = 8
    """Time steps."""
    gain: Positive = 1.0
    """Spike probability of the value 1."""
    frozen: bool = False
    """Draw each example's spikes once and reuse them at every epoch."""


class LatencyPart(Part):
    """One spike, earlier for larger values."""

    name: Literal["latency"]
    steps: Count = 8
    """Time steps."""


class PopulationPart(Part):
    """Cosine population code with Bernoulli spikes."""

    name: Literal["population"]
    steps: Count = 100
    """Time steps."""
    neurons: Annotated[int, Field(ge=2)] = 10
    """Input neurons for each value."""
    spread: Positive = 1.0
    """Width of a neuron's tuning, times the distance between neighbours."""
    frozen: bool = True
    """Draw each example's spikes once and reuse them at every epoch, as BiSNN does."""


class SequencePart(Part):
    """Data with a time axis of its own."""

    name: Literal["sequence"]
    steps: Count
    """Time steps of the data."""


class WindowsPart(Part):
    """Data with a time axis of its own, seen through a window that moves with time."""

    name: Literal["windows"]
    steps: Count
    """Time steps of the data."""
    width: Count
    """Steps of the data that one step of the network sees: the last ones, 0 before the first."""
    stride: Count = 1
    """Steps of the data from one step of the network to the next."""


class EventsPart(Part):
    """Address events in bins of `dt` milliseconds."""

    name: Literal["events"]
    steps: Count = 20
    """Bins."""
    dt: Positive = 15.0
    """Length of a bin in milliseconds."""
    rule: Literal["or", "count"] = "or"
    """or: 1 where a bin has an event; count: how many it has."""
    polarity: Literal["keep", "merge"] = "keep"
    """keep: two channels; merge: one."""


class PixelsPart(Part):
    """An image as a sequence of its pixels."""

    name: Literal["pixels"]
    group: Count = 1
    """Values shown per step: 1 is pixel by pixel; an image's width is row by row."""
    order: Literal["rows", "permuted"] = "rows"
    """rows: as the image is read; permuted: one fixed shuffle of all pixels (psMNIST)."""
    permutation: Annotated[int, Field(ge=0)] = 0
    """Seed of the shuffle: numpy's RandomState(seed).permutation(pixels)."""


EncoderPart = Annotated[
    DirectPart | RatePart | LatencyPart | PopulationPart | SequencePart | WindowsPart | EventsPart | PixelsPart,
    Field(discriminator="name"),
]
