"""Floor 2: neuron models. Each file opens with its equation; each module runs a pure step over time.

A recipe finds them by name in the registry.
"""

from functools import partial

from bitspike import registry
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
from bitspike.neurons.soft_lif import SoftIF, SoftLIF, fit_to_relu
from bitspike.neurons.soft_lif_noise import Noise, SoftNeuron
from bitspike.neurons.static import STATIC, Static
from bitspike.neurons.stochastic import Stochastic, redraw_units
from bitspike.neurons.surrogate import Surrogate, surrogate
from bitspike.renamed import moved


def with_steps() -> dict[str, type[Neuron]]:
    """Every neuron with a step, by name: those of recipes, own ones too, and those that only stand in networks."""
    named = registry.classes("neuron") | {model.kind: model for model in (Integrator, ExactLIF, TemporalQuantiser)}
    return {name: model for name, model in named.items() if isinstance(model, type) and issubclass(model, Neuron)}


__all__ = [
    "IF", "LIF", "NONLINEARITIES", "STATIC", "AdaptiveLIF", "BiSNN", "CurrentLIF",
    "ExactIF", "ExactLIF", "Integrator", "Neuron", "Noise", "QuantiserConstants", "QuantiserState", "SoftIF", "SoftLIF",
    "SoftNeuron", "Static", "StepSchedule", "Stochastic", "Surrogate", "TemporalQuantiser", "at_step", "bisnn_step",
    "exact_if_step", "exact_lif_step", "fit_to_relu", "lif_fire", "quantiser_step", "quantisers", "redraw_carry",
    "redraw_units", "set_step", "surrogate", "with_reset", "with_steps",
]  # fmt: skip

__getattr__ = moved(
    __name__,
    {
        f"lif_{reset}_step": (f'with_reset(lif_fire, "{reset}")', partial(with_reset, lif_fire, reset))
        for reset in ("soft", "hard")
    }
    | {
        "NEURONS": ("neurons.with_steps()", with_steps),
        "SURROGATES": ('registry.classes("surrogate")', partial(registry.classes, "surrogate")),
        "CURVES": ("neurons.SoftLIF and SoftIF", lambda: {"soft-lif": SoftLIF, "soft-if": SoftIF}),
    },
)
