"""Floor 1: recurrences over time. No layer, no parameter, no data set is known here."""

from bitspike.kernels.functions import absolute, exp, indicator, maximum, stop
from bitspike.kernels.scan import Spike, Step, scan

__all__ = ["Spike", "Step", "absolute", "exp", "indicator", "maximum", "scan", "stop"]
