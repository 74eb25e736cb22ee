"""Bin address events in time: an event at t goes to bin floor(t/dt), so t = i dt is in bin i.

    rule      a bin of one pixel                                      features
    or        1 in the channel of each polarity that has an event     (P, H, W)
    count     how many events each polarity has                       (P, H, W)
    symbol    1 in the channel of one polarity, or silent             (P, H, W)
    capped    1 in channel min(events, C) - 1, or silent              (C, H, W)

Symbols are at most one in a pixel and bin. Where a bin holds both signs, `both` says which it is: that of its "last" or
"first" event, of the "majority" (the last of as many), "on" (polarity 1, as the older VOWEL loader has it), "off", or
"silent". `late` puts each event so many bins later; 1 is the older loader's shift, whose bin 0 is always empty. Events
behind the last bin are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from bitspike.coding.base import Encoder, checked_steps
from bitspike.draws import Key
from bitspike.errors import check_name, refuse

RULES = ("or", "count", "symbol", "capped")
POLARITIES = ("keep", "merge")
BOTH = ("last", "first", "majority", "on", "off", "silent")
LOOKED_AT = 512  # recordings, of which a note says how many bins hold both signs


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


def bin_events(
    events: AddressEvents, steps: int, dt: float, rule: str = "or", polarity: str = "keep", both: str = "last",
    symbols: int = 3, late: int = 0,
) -> Tensor:  # fmt: skip
    """Events as (T, B, P, H, W) float32, dt in microseconds; P is 1 when polarity is "merge", and C for "capped".

    `polarity` is for "or" and "count", `both` for "symbol", which takes events in order, `symbols` (C) for "capped".
    """
    _checked(steps, dt, rule, polarity, both, symbols, late)
    polarities, height, width = events.shape
    who = torch.repeat_interleave(torch.arange(len(events.offsets) - 1), events.offsets.diff())
    when = (events.t.double() / dt).floor().long() + late
    inside = (when >= 0) & (when < steps)
    # One number for each step, recording and pixel.
    size = (steps, len(events.offsets) - 1, height, width)
    cell = (((when * size[1] + who) * height + events.y.long()) * width + events.x.long())[inside]
    p = events.p.long()[inside]
    if rule == "capped":
        return _one_hot(_counted(cell, size).clamp(max=symbols).long() - 1, symbols)
    if rule == "symbol":
        return _one_hot(_symbols(cell, p, size, polarities, both), polarities)
    channels = polarities if polarity == "keep" else 1
    pixels = height * width
    flat = cell if channels == 1 else (cell // pixels * channels + p) * pixels + cell % pixels
    size_out = (steps, size[1], channels, height, width)
    if rule == "count":
        return _counted(flat, size_out)
    grid = torch.zeros(math.prod(size_out))
    grid[flat] = 1.0
    return grid.view(size_out)


def _checked(steps: int, dt: float, rule: str, polarity: str, both: str, symbols: int, late: int) -> None:
    checked_steps(steps)
    if not 0 < dt < float("inf"):
        refuse("event bins dt", dt, "a positive number of microseconds")
    for name, came, known in (("rule", rule, RULES), ("polarity", polarity, POLARITIES), ("both", both, BOTH)):
        check_name(f"event bins {name}", came, known, " or ".join(map(repr, known)))
    if symbols < 1:
        refuse("event bins symbols", symbols, "1 or more")
    if not 0 <= late < steps:
        refuse("event bins late", late, f"0 to {steps - 1}, less than the number of steps")


def _counted(places: Tensor, size: tuple[int, ...]) -> Tensor:
    """How often each of `places` comes, float32 of this size."""
    grid = torch.zeros(math.prod(size))
    grid.index_add_(0, places, torch.ones(len(places)))
    return grid.view(size)


def _symbols(cell: Tensor, p: Tensor, size: tuple[int, ...], polarities: int, both: str) -> Tensor:
    """The polarity of each cell, or -1: int64 (T, B, H, W)."""
    cells, none = math.prod(size), -1

    def largest(values: Tensor) -> Tensor:
        return torch.full((cells,), none).scatter_reduce_(0, cell, values, "amax")

    order = torch.arange(len(cell))
    if both in ("last", "first", "majority"):
        weight = order if both != "first" else order.flip(0)
        if both == "majority":
            # Counts first, and of as many the later event: each event weighs what its sign has in its bin.
            counts = _counted(cell * polarities + p, (cells * polarities,)).long()
            weight = counts[cell * polarities + p] * (len(cell) + 1) + order
        best = largest(weight * polarities + p)
        return torch.where(best >= 0, best % polarities, best).view(size)
    high = largest(p)
    low = polarities - 1 - largest(polarities - 1 - p)  # above every polarity where a cell has no event
    if both == "silent":
        return torch.where(high == low, high, none).view(size)
    return (high if both == "on" else torch.where(high >= 0, low, none)).view(size)


def _one_hot(symbol: Tensor, channels: int) -> Tensor:
    """Symbols (T, B, H, W), -1 for silence, as (T, B, C, H, W) float32."""
    return (symbol.unsqueeze(2) == torch.arange(channels).view(-1, 1, 1)).float()


def both_signs(events: AddressEvents, steps: int, dt: float) -> float:
    """The share of the bins with an event that hold more than one polarity; dt in microseconds."""
    signs = bin_events(events, steps, dt).sum(2)
    return float((signs > 1).sum()) / max(int((signs > 0).sum()), 1)


def unseen(events: AddressEvents, steps: int, dt: float) -> Tensor:
    """The numbers (K,) of the recordings of which no event lies in the window from 0 to steps dt (microseconds)."""
    inside = ((events.t >= 0) & (events.t.double() / dt < steps)).long()
    before = torch.cat([inside.new_zeros(1), inside.cumsum(0)])
    return (before[events.offsets[1:]] == before[events.offsets[:-1]]).nonzero()[:, 0]


class EventBins(Encoder):
    """Address events to frames of spikes, see above; `dt` in milliseconds, polarity kept as channels or merged."""

    takes = "events"

    def __init__(
        self, steps: int = 20, dt: float = 15.0, rule: str = "or", polarity: str = "keep", both: str = "last",
        symbols: int = 3, late: int = 0,
    ) -> None:  # fmt: skip
        if not dt > 0:
            refuse("encoder dt", dt, "a positive number of milliseconds")
        _checked(steps, dt, rule, polarity, both, symbols, late)
        self.steps, self.dt, self.rule, self.polarity = checked_steps(steps), dt, rule, polarity
        self.both, self.symbols, self.late = both, symbols, late
        self.emits = "real" if rule == "count" else "spikes"

    @property
    def microseconds(self) -> float:
        """dt; a whole number where it is one in milliseconds to three places, whatever the product rounds to."""
        return round(self.dt * 1000, 6)

    def unseen(self, x: AddressEvents) -> Tensor:
        """The numbers (K,) of the recordings that give no spike at all."""
        return unseen(x, self.steps - self.late, self.microseconds)

    def notes(self, dataset: Any) -> list[str]:
        """What comes after the last bin, and how many bins hold both signs where one of them is shown."""
        notes, seen = [], (self.steps - self.late) * self.dt
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
        if self.rule == "symbol":
            share = both_signs(x[:LOOKED_AT], self.steps - self.late, self.microseconds)
            shown = {"silent": "none of them is shown", "majority": "the sign of more events is shown"}
            notes.append(
                f"{share:.1%} of the bins with an event hold both signs: "
                f"{shown.get(self.both, f'{self.both!r} is shown')} (encoder.both)"
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
            refuse(
                name,
                came,
                f"some from 0 to {(self.steps - self.late) * self.dt:g} ms, the window that this network reads",
            )

    def features(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(P, H, W) with P = 1 when polarity is merged, and `symbols` where events are counted up to these."""
        if self.rule == "capped":
            return (self.symbols, *shape[1:])
        return shape if self.polarity == "keep" else (1, *shape[1:])

    def __call__(self, x: Any, examples: Tensor, *keys: Key) -> Tensor:
        """Events to (T, B, P, H, W)."""
        return bin_events(
            x, self.steps, self.microseconds, self.rule, self.polarity, self.both, self.symbols, self.late
        )
