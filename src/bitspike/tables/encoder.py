"""Encoders: from values and events to spikes or currents over time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from bitspike.options import Count, Options, Positive, Unread
from bitspike.registry import register


@register("encoder", "direct", "bitspike.coding.values:DirectCurrent")
class Direct(Options):
    """The value as a constant current."""

    steps: Count = 8
    """Time steps."""


@register("encoder", "rate", "bitspike.coding.values:BernoulliRate")
class Rate(Options):
    """Bernoulli spikes with probability gain * value."""

    steps: Count = 8
    """Time steps."""
    gain: Positive = 1.0
    """Spike probability of the value 1."""
    frozen: bool = False
    """Draw each example's spikes once and reuse them at every epoch."""


@register("encoder", "signed-rate", "bitspike.coding.values:SignedRate")
class SignedRate(Options):
    """Spikes of the value's sign with probability gain * |value|."""

    steps: Count = 20
    """Time steps."""
    gain: Positive = 0.5
    """Spike probability of the values 1 and -1."""
    frozen: bool = False
    """Draw each example's spikes once and reuse them at every epoch."""


@register("encoder", "latency", "bitspike.coding.values:Latency")
class Latency(Options):
    """One spike, earlier for larger values."""

    steps: Count = 8
    """Time steps."""


@register("encoder", "population", "bitspike.coding.population:PopulationCode")
class Population(Options):
    """Cosine population code with Bernoulli spikes."""

    steps: Count = 100
    """Time steps."""
    neurons: Annotated[int, Field(ge=2)] = 10
    """Input neurons for each value."""
    spread: Positive = 1.0
    """Width of a neuron's tuning, times the distance between neighbours."""
    frozen: bool = True
    """Draw each example's spikes once and reuse them at every epoch, as BiSNN does."""


@register("encoder", "sequence", "bitspike.coding.values:Sequence")
class Sequence(Options):
    """Data with a time axis of its own."""

    steps: Count
    """Time steps of the data."""


@register("encoder", "windows", "bitspike.coding.windows:Windows")
class Windows(Options):
    """Data with a time axis of its own, seen through a window that moves with time."""

    steps: Count
    """Time steps of the data."""
    width: Count
    """Steps of the data that one step of the network sees: the last ones, 0 before the first."""
    stride: Count = 1
    """Steps of the data from one step of the network to the next."""


@register("encoder", "events", "bitspike.coding.events:EventBins")
class Events(Options):
    """Address events in bins of `dt` milliseconds."""

    steps: Count = 20
    """Bins."""
    dt: Positive = 15.0
    """Length of a bin in milliseconds."""
    rule: Literal["or", "count", "symbol", "capped"] = "or"
    """or: 1 where a bin has an event; count: how many it has; symbol: 1 for one of the signs, or silent; capped: 1 in
    the channel of the number of events, which counts up to `symbols`, or silent."""
    polarity: Literal["keep", "merge"] = "keep"
    """keep: two channels; merge: one."""
    both: Literal["last", "first", "majority", "on", "off", "silent"] = "last"
    """Which symbol a bin is that holds both signs: that of the last or first event, of more events (the last of as
    many), always on, always off, or none."""
    symbols: Annotated[int, Field(ge=1, le=255)] = 3
    """Symbols C of rule "capped": a bin of C events and one of more are the same."""
    late: Annotated[int, Field(ge=0)] = 0
    """Bins by which every event comes later; 1 as in older loaders, whose first bin is empty."""

    def unread(self, recipe: Any) -> Iterator[Unread]:
        """Signs are told apart by some rules, numbers by one."""
        if self.rule != "symbol":
            yield ("both",), f"encoder.rule '{self.rule}'"
        if self.rule != "capped":
            yield ("symbols",), f"encoder.rule '{self.rule}'"
        if self.rule in ("symbol", "capped"):
            yield ("polarity",), f"encoder.rule '{self.rule}'"


@register("encoder", "pixels", "bitspike.coding.pixels:PixelSequence")
class Pixels(Options):
    """An image as a sequence of its pixels."""

    group: Count = 1
    """Values shown per step: 1 is pixel by pixel; an image's width is row by row."""
    order: Literal["rows", "permuted"] = "rows"
    """rows: as the image is read; permuted: one fixed shuffle of all pixels (psMNIST)."""
    permutation: Annotated[int, Field(ge=0)] = 0
    """Seed of the shuffle: numpy's RandomState(seed).permutation(pixels)."""
