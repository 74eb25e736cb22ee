"""Floor 1: recurrences over time. No layer, no parameter, no data set is known here."""

from bitspike.kernels.functions import (
    absolute,
    choose,
    exp,
    expm1,
    floor,
    indicator,
    log1p,
    maximum,
    minimum,
    no_spike,
    stop,
    threshold,
    with_gradient,
)
from bitspike.kernels.recurrence import Recurrence
from bitspike.kernels.run import BACK_ENDS, Choice, back_end_for, run
from bitspike.kernels.scan import Spike, Step, scan

__all__ = [
    "BACK_ENDS", "Choice", "Recurrence", "Spike", "Step", "absolute", "back_end_for", "choose", "exp", "expm1", "floor",
    "indicator", "log1p", "maximum", "minimum", "no_spike", "run", "scan", "stop", "threshold", "with_gradient",
]  # fmt: skip
