"""Floor 2: neuron models. Each file opens with its equation; each module runs a pure step over time.

`NEURONS` finds a model by its name in a recipe.
"""

from functools import partial

from bitspike.neurons.adaptive import AdaptiveLIF
from bitspike.neurons.base import Neuron
from bitspike.neurons.bisnn import BiSNN, bisnn_step
from bitspike.neurons.current_based import CurrentLIF
from bitspike.neurons.exact_if import ExactIF, exact_if_step
from bitspike.neurons.exact_lif import ExactLIF, exact_lif_step
from bitspike.neurons.integrate_and_fire import IF
from bitspike.neurons.integrator import Integrator
from bitspike.neurons.lif import LIF, lif_fire
from bitspike.neurons.quantiser import (
    NONLINEARITIES,
    QuantiserConstants,
    QuantiserState,
    TemporalQuantiser,
    quantiser_step,
)
from bitspike.neurons.quantiser_control import at_step, quantisers, redraw_carry
from bitspike.neurons.reset import with_reset
from bitspike.neurons.schedule import StepSchedule, set_step
from bitspike.neurons.soft_lif import CURVES, SoftIF, SoftLIF, fit_to_relu
from bitspike.neurons.soft_lif_noise import Noise, SoftNeuron
from bitspike.neurons.static import STATIC, Static
from bitspike.neurons.stochastic import Stochastic, redraw_units
from bitspike.neurons.surrogate import SURROGATES, Surrogate, surrogate
from bitspike.renamed import moved

NEURONS: dict[str, type[Neuron]] = {
    model.kind: model for model in (LIF, IF, AdaptiveLIF, CurrentLIF, BiSNN, Integrator, ExactLIF, TemporalQuantiser)
}

__all__ = [
    "CURVES", "IF", "LIF", "NEURONS", "NONLINEARITIES", "STATIC", "SURROGATES", "AdaptiveLIF", "BiSNN", "CurrentLIF",
    "ExactIF", "ExactLIF", "Integrator", "Neuron", "Noise", "QuantiserConstants", "QuantiserState", "SoftIF", "SoftLIF",
    "SoftNeuron", "Static", "StepSchedule", "Stochastic", "Surrogate", "TemporalQuantiser", "at_step", "bisnn_step",
    "exact_if_step", "exact_lif_step", "fit_to_relu", "lif_fire", "quantiser_step", "quantisers", "redraw_carry",
    "redraw_units", "set_step", "surrogate", "with_reset",
]  # fmt: skip

__getattr__ = moved(
    __name__,
    {
        f"lif_{reset}_step": (f'with_reset(lif_fire, "{reset}")', partial(with_reset, lif_fire, reset))
        for reset in ("soft", "hard")
    },
)
