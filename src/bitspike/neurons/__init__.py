"""Floor 2: neuron models. Each file opens with its equation; each module runs a pure step over time."""

from bitspike.neurons.base import Neuron
from bitspike.neurons.bisnn import BiSNN, bisnn_step
from bitspike.neurons.lif import LIF, lif_hard_step, lif_soft_step
from bitspike.neurons.surrogate import SURROGATES, Surrogate, surrogate

__all__ = [
    "LIF", "SURROGATES", "BiSNN", "Neuron", "Surrogate", "bisnn_step", "lif_hard_step", "lif_soft_step",
    "surrogate",
]  # fmt: skip
