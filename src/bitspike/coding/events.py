"""Bin address events in time: an event at t goes to bin floor(t/dt), so t = i dt is in bin i.

Rule "or": any event in a bin is a 1; "count": how many. Events at or after T dt are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from bitspike.coding.base import Encoder, checked_steps
from bitspike.draws import Key
from bitspike.errors import refuse

RULES = ("or", "count")
POLARITIES = ("keep", "merge")


class AddressEvents(Protocol):
    """Ragged events of B recordings: t in microseconds, x, y, p; recording i is offsets[i]:offsets[i+1]."""

    @property
    def t(self) -> Tensor: ...
    @property
    def x(self) -> Tensor: ...
    @property
    def y(self) -> Tensor: ...
    @property
    def p(self) -> Tensor: ...
    @property
    def offsets(self) -> Tensor: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...


def bin_events(events: AddressEvents, steps: int, dt: float, rule: str = "or", polarity: str = "keep") -> Tensor:
    """Events as (T, B, P, H, W) float32; P is 1 when polarity is "merge". dt in microseconds."""
    checked_steps(steps)
    if not 0 < dt < float("inf"):
        refuse("event bins dt", dt, "a positive number of microseconds")
    if rule not in RULES:
        refuse("event bins rule", repr(rule), " or ".join(map(repr, RULES)))
    if polarity not in POLARITIES:
        refuse("event bins polarity", repr(polarity), " or ".join(map(repr, POLARITIES)))
    polarities, height, width = events.shape
    channels = polarities if polarity == "keep" else 1
    counts = events.offsets.diff()
    recordings = len(counts)
    who = torch.repeat_interleave(torch.arange(recordings), counts)
    when = (events.t.double() / dt).floor().long()
    inside = (when >= 0) & (when < steps)
    channel = events.p.long() if polarity == "keep" else torch.zeros_like(who)
    flat = (((when * recordings + who) * channels + channel) * height + events.y.long()) * width
    flat = (flat + events.x.long())[inside]
    grid = torch.zeros(steps * recordings * channels * height * width)
    if rule == "or":
        grid[flat] = 1.0
    else:
        grid.index_add_(0, flat, torch.ones(len(flat)))
    return grid.view(steps, recordings, channels, height, width)


def unseen(events: AddressEvents, steps: int, dt: float) -> Tensor:
    """The numbers (K,) of the recordings of which no event lies in the window from 0 to steps dt (microseconds)."""
    inside = ((events.t >= 0) & (events.t.double() / dt < steps)).long()
    before = torch.cat([inside.new_zeros(1), inside.cumsum(0)])
    return (before[events.offsets[1:]] == before[events.offsets[:-1]]).nonzero()[:, 0]


class EventBins(Encoder):
    """Address events to frames of spikes; `dt` in milliseconds, polarity kept as channels or merged."""

    takes = "events"

    def __init__(self, steps: int = 20, dt: float = 15.0, rule: str = "or", polarity: str = "keep") -> None:
        if not dt > 0:
            refuse("encoder dt", dt, "a positive number of milliseconds")
        if rule not in RULES:
            refuse("encoder rule", repr(rule), "'or' or 'count'")
        if polarity not in POLARITIES:
            refuse("encoder polarity", repr(polarity), "'keep' or 'merge'")
        self.steps, self.dt, self.rule, self.polarity = checked_steps(steps), dt, rule, polarity
        self.emits = "spikes" if rule == "or" else "real"

    def unseen(self, x: AddressEvents) -> Tensor:
        """The numbers (K,) of the recordings that give no spike at all."""
        return unseen(x, self.steps, self.dt * 1000)

    def notes(self, dataset: Any) -> list[str]:
        """What comes after the last bin."""
        notes, seen = [], self.steps * self.dt
        x = dataset.train.x
        late = float((x.t >= seen * 1000).double().mean()) if len(x.t) else 0.0
        if late > 0.01:
            notes.append(f"{late:.0%} of the events come after steps * dt = {seen:g} ms and are not seen")
        for part in ("train", "validation", "test"):
            recordings = getattr(dataset, part).x
            empty = self.unseen(recordings)
            if len(empty) and len(empty) == len(recordings):
                first = int(recordings.t.min()) / 1000
                came = f"{seen:g} ms (steps * dt), and no {part} recording has an event before {first:,.1f} ms"
                refuse("encoder", came, "a window with events in it")
            if len(empty):
                notes.append(
                    f"{len(empty):,} of {len(recordings):,} {part} recordings have no event before {seen:g} ms"
                )
        return notes

    def check_seen(self, x: Any, names: Sequence[str] | None = None) -> None:
        """Refuse recordings without an event in the window: the answer would be blind."""
        for which in self.unseen(x).tolist() if hasattr(x, "offsets") else ():
            times = x.t[x.offsets[which] : x.offsets[which + 1]]
            came = "no event"
            if len(times):
                came = f"events from {int(times.min()) / 1000:,.1f} to {int(times.max()) / 1000:,.1f} ms"
            name = names[which] if names else f"predict x[{which}]"
            refuse(name, came, f"some from 0 to {self.steps * self.dt:g} ms, the window that this network reads")

    def features(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(P, H, W) with P = 1 when polarity is merged."""
        return shape if self.polarity == "keep" else (1, *shape[1:])

    def __call__(self, x: Any, examples: Tensor, *keys: Key) -> Tensor:
        """Events to (T, B, P, H, W)."""
        return bin_events(x, self.steps, self.dt * 1000, self.rule, self.polarity)
