"""Levels and bits of a model's quantisers for result.json."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn

from bitspike.energy import LevelCollector, Levels
from bitspike.learners import Learner
from bitspike.neurons import quantisers

REAL_BITS = 32


def watched(learner: Learner) -> AbstractContextManager[LevelCollector | None]:
    """Counts the levels of the model's quantisers in the block; nothing where it has none."""
    if not any(True for _ in quantisers(learner.model)):
        return nullcontext()
    return LevelCollector(learner.model, fan_out(learner.model))


def fan_out(model: nn.Module) -> dict[str, float]:
    """How many weights one unit of each quantiser meets, by the quantiser's path, where a module tells."""
    found: dict[str, float] = {}
    for name, module in model.named_modules():
        tell = getattr(module, "fan_out", None)
        if callable(tell):
            found |= {f"{name}.{part}" if name else part: value for part, value in tell().items()}
    return found


def level_bits(model: nn.Module, levels: Levels) -> dict[str, Any]:
    """What replaces and joins the `bits` of result.json where activities are counts of quantisers.

    average, significant and spikes_per_neuron are those of `energy.levels` over all units, and so are the two "by
    weight", where fan-outs are known. average_with_real_states also counts, at 32 bits each, the real numbers of state
    that a cell carries besides its quantisers' residuals (a parallel LMU's memory, what `own_leak` holds back), and
    average_with_carries those residuals too: a mean over all numbers that are sent or kept from step to step. levels:
    every reading, in total and by layer.
    """
    total = levels.total
    real = sum(tell() for m in model.modules() if callable(tell := getattr(m, "real_states", None)))
    sent = total.average * total.units
    by_weight = {key: getattr(total, key) for key in ("average_by_weight", "significant_by_weight")}
    return {
        "average": total.average,
        "significant": total.significant,
        **{key: value for key, value in by_weight.items() if value is not None},
        "spikes_per_neuron": total.spikes,
        "average_with_real_states": (sent + REAL_BITS * real) / (total.units + real),
        "average_with_carries": (sent + REAL_BITS * (real + total.units)) / (2 * total.units + real),
        "levels": levels.to_dict(),
    }
