"""Levels and bits of activities that are whole numbers: the counts n = dt y of quantisers.

A unit is one feature of a quantiser's output: every place of every channel of an image is one. A value is the count of
one unit at one time step of one presentation (one example shown once). Of unit i, p_i(n) is the share of its values
that are n, and levels_i the number of different n among them. In a layer and, over the units and the values of all
layers together, in total:

| name                | definition                                                                              |
| ------------------- | --------------------------------------------------------------------------------------- |
| average             | mean over units of log2(levels_i); 0 for a unit that never changes                      |
| average_range       | mean over units of ceil(log2(max |n| + 1)) + 1, max over the unit's values: the bits of |
|                     | two's complement in which -max..max can be written; 1 for a unit that is always 0       |
| entropy             | mean over units of -sum over n of p_i(n) log2 p_i(n)                                    |
| most_levels         | largest levels_i                                                                        |
| largest             | largest |n|                                                                             |
| significant         | mean over values of log2(1 + |n|), zeros among them                                     |
| significant_nonzero | the same over the values that are not 0; 0 where there is none                          |
| bit_length          | mean over values of the binary digits of |n|: floor(log2 |n|) + 1, and 0 for n = 0      |
| bit_length_nonzero  | the same over the values that are not 0; 0 where there is none                          |
| silent              | share of the values that are 0                                                          |
| mean_abs            | mean over values of |n|                                                                 |
| spikes              | sum of |n|, divided by units times presentations: spikes per unit and presentation      |
| adds                | sum over values of |n| times the unit's fan-out, divided by presentations: additions of |
|                     | a weight per inference; none where a fan-out is not known                               |
| average_by_weight   | average and significant once more, each value weighted by the unit's fan-out: bits that |
| significant_by_weight | a weight is multiplied with; none where a fan-out is not known or none is met         |

"Bits of an activity" can mean any of the first three; published figures do not always say which. Units of the largest
layer weigh most in the total, and for the means over values layers that run for more steps do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.energy.level_counts import LevelCounts
from bitspike.errors import refuse
from bitspike.neurons.quantiser import TemporalQuantiser
from bitspike.neurons.quantiser_control import quantisers


@dataclass(frozen=True)
class LevelStatistics:
    """What the table above defines, of one layer or of all; `values`: how many it was measured on."""

    units: int
    presentations: int
    values: int
    average: float
    average_range: float
    entropy: float
    most_levels: int
    largest: int
    significant: float
    significant_nonzero: float
    bit_length: float
    bit_length_nonzero: float
    silent: float
    mean_abs: float
    spikes: float
    adds: float | None
    average_by_weight: float | None = None
    significant_by_weight: float | None = None


@dataclass(frozen=True)
class Levels:
    """Statistics of all quantised units together, and of each layer by name."""

    total: LevelStatistics
    layers: dict[str, LevelStatistics]

    def to_dict(self) -> dict[str, Any]:
        """As nested dictionaries of numbers, for JSON."""
        return asdict(self)


class LevelCollector:
    """Counts levels while the `with` block runs `model`, batch after batch, in memory that does not grow with them.

        with LevelCollector(model) as collector, torch.no_grad():
            for x in batches:
                model(x)                            # quantisers put out y (T, B, *features)
        collector.levels().total.average

    Without a model, or besides it, `add` takes the counts themselves. fan_out: layer name to the number of weights
    that one unit's count is multiplied with, one number or one per unit.
    """

    def __init__(self, model: nn.Module | None = None, fan_out: Mapping[str, float | Tensor] | None = None) -> None:
        self.fan_out = dict(fan_out or {})
        self._watched = {} if model is None else {q: name or "quantiser" for name, q in quantisers(model)}
        if model is not None and not self._watched:
            refuse("levels of a model", type(model).__name__, "a model with quantisers")
        self._counts: dict[str, LevelCounts] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._presentations: dict[str, int] = {}

    def __enter__(self) -> LevelCollector:
        for quantiser in self._watched:
            quantiser.observers.append(self._observe)
        return self

    def __exit__(self, *error: object) -> None:
        for quantiser in self._watched:
            quantiser.observers.remove(self._observe)

    def _observe(self, quantiser: TemporalQuantiser, y: Tensor, new: int) -> None:
        dt, name = quantiser.step_size(), self._watched[quantiser]
        if dt is None:
            refuse(f"levels of {name}", "a static quantiser", "a finite step size")
        self._begin(name, tuple(y.shape), new)
        self._count(name, y, dt.expand(y.shape[2:]).flatten())

    def add(self, name: str, n: Tensor, presentations: int | None = None) -> None:
        """Count n (T, B, *units), whole numbers in any dtype, as values of layer `name`.

        presentations: how many begin with these steps; B if not said, 0 for the next steps of the ones before.
        """
        if n.ndim < 3:
            refuse(f"levels of {name}", tuple(n.shape), "counts (T, B, *units)")
        self._begin(name, tuple(n.shape), n.shape[1] if presentations is None else presentations)
        self._count(name, n, None)

    def _begin(self, name: str, shape: tuple[int, ...], presentations: int) -> None:
        units = self._shapes.setdefault(name, shape[2:])
        if units != shape[2:]:
            refuse(f"levels of {name}", f"{shape[2:]} units", f"{units} as before")
        self._presentations[name] = self._presentations.get(name, 0) + presentations

    def _count(self, name: str, n: Tensor, dt: Tensor | None) -> None:
        counts = self._counts.setdefault(name, LevelCounts(math.prod(self._shapes[name])))
        counts.add(n.reshape(-1, len(counts.table)), dt)

    def histogram(self, name: str) -> tuple[Tensor, Tensor]:
        """Numbers n, int64 (K,), and how often each unit of layer `name` took each, int64 (*units, K)."""
        if name not in self._counts:
            refuse("levels of layer", repr(name), f"one of {', '.join(map(repr, self._counts)) or 'none yet'}")
        counts = self._counts[name]
        return counts.numbers, counts.table.view(*self._shapes[name], -1)

    def levels(self) -> Levels:
        """The statistics of all that was counted."""
        if not self._counts or 0 in self._presentations.values():
            refuse("levels", "0 presentations", "a pass of the model from its first step, or add(name, n)")
        sums = {name: _sums(c, self._reach(name), self._presentations[name]) for name, c in self._counts.items()}
        layers = {name: _statistics([found]) for name, found in sums.items()}
        return Levels(_statistics(list(sums.values())), layers)

    def _reach(self, name: str) -> Tensor | None:
        if name not in self.fan_out:
            return None
        given, shape = torch.as_tensor(self.fan_out[name], dtype=torch.float64).cpu(), self._shapes[name]
        try:
            return given.expand(shape).reshape(-1)
        except RuntimeError:
            refuse(f"fan-out of {name}", f"values of shape {tuple(given.shape)}", f"one number, or {shape}")


def _sums(counts: LevelCounts, reach: Tensor | None, presentations: int) -> dict[str, Any]:
    """What adds up over layers."""
    size, table = counts.numbers.abs().double(), counts.table.double()
    of_number, values = table.sum(0), table.sum(1, keepdim=True)
    levels = (counts.table > 0).sum(1)
    largest = torch.where(counts.table > 0, size, 0.0).amax(1)
    shares = table / values
    total = of_number.sum().item()
    met = None if reach is None else values.squeeze(1) * reach  # meetings of a value of each unit with a weight
    return {
        "units": len(table),
        "presentations": presentations,
        "values": int(total),
        "nonzero": total - of_number[size == 0].sum().item(),
        "average": levels.double().log2().sum().item(),
        "average_range": ((largest + 1).log2().ceil() + 1).sum().item(),
        "entropy": -torch.xlogy(shares, shares).sum().item() / math.log(2),
        "most_levels": int(levels.max()),
        "largest": int(largest.max()),
        "significant": (of_number * (1 + size).log2()).sum().item(),
        # frexp: |n| = m 2^e with 1/2 <= m < 1, so e digits; 0 for 0.
        "bit_length": (of_number * torch.frexp(size).exponent).sum().item(),
        "spikes": (of_number * size).sum().item(),
        "per_unit": (of_number * size).sum().item() / (len(table) * presentations),
        "adds": None if reach is None else ((table @ size) @ reach).item() / presentations,
        "met": None if met is None else met.sum().item(),
        "average_by_weight": None if met is None else (met @ levels.double().log2()).item(),
        "significant_by_weight": None if reach is None else ((table @ (1 + size).log2()) @ reach).item(),
    }


def _statistics(parts: list[dict[str, Any]]) -> LevelStatistics:
    def total(key: str) -> Any:
        return sum(part[key] for part in parts)

    units, values, nonzero = total("units"), total("values"), total("nonzero")
    most = {key: max(part[key] for part in parts) for key in ("presentations", "most_levels", "largest")}
    bits = {key: total(key) / units for key in ("average", "average_range", "entropy")}
    for key in ("significant", "bit_length"):
        bits |= {key: total(key) / values, f"{key}_nonzero": total(key) / nonzero if nonzero else 0.0}
    known = all(part["met"] is not None for part in parts)
    met = total("met") if known else 0.0
    return LevelStatistics(
        units=units,
        values=values,
        **most,
        **bits,
        silent=1 - nonzero / values,
        mean_abs=total("spikes") / values,
        spikes=sum(part["per_unit"] * part["units"] for part in parts) / units,
        adds=total("adds") if known else None,
        average_by_weight=total("average_by_weight") / met if met else None,
        significant_by_weight=total("significant_by_weight") / met if met else None,
    )
