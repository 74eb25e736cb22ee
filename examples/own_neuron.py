"""A neuron of one's own: the equation once, then a network of it trained by back-propagation.

    v_t = beta v_{t-1} + x_t - kappa a_{t-1}      a_t = rho a_{t-1} + s_t      s_t = 1[v_t - 1 >= 0]

(an adaptive threshold neuron, after Bellec et al. 2018). The gradient and a compiled kernel for every back end are
made from these lines. Run: python examples/own_neuron.py
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.kernels import Spike, stop
from bitspike.learners import BackpropLearner, Optimisation, Schedule
from bitspike.learners.optimisation import OptimiserChoice
from bitspike.models import feedforward
from bitspike.models.explain import explain_backend, table
from bitspike.neurons import Neuron, Surrogate


class State(NamedTuple):
    """v: membrane, a: adaptation."""

    v: Any
    a: Any


class Constants(NamedTuple):
    """Decays of membrane and adaptation, and the adaptation's strength."""

    beta: float
    rho: float
    kappa: float


def adaptive_step(x: Any, state: State, p: Constants, spike: Spike) -> tuple[Any, State]:
    """One step, written with arithmetic and named functions only."""
    v = p.beta * state.v + x - p.kappa * state.a
    s = spike(v - 1)
    return s, State(v - stop(s), p.rho * state.a + stop(s))


class Adaptive(Neuron):
    """The step as a module."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.spike = adaptive_step, Surrogate("fast-sigmoid")

    def initial(self, like: Tensor) -> State:
        return State(torch.zeros_like(like), torch.zeros_like(like))

    def constants(self) -> Constants:
        return Constants(beta=0.8, rho=0.9, kappa=0.1)


if __name__ == "__main__":
    from bitspike.data import load

    digits = load("digits")
    model = feedforward(digits.shape, 10, ["64"], Adaptive)
    print(table(explain_backend(model, digits.train.x[:64].expand(8, -1, -1, -1, -1))))
    choice = OptimiserChoice("Adam", 5e-3)
    learner = BackpropLearner(model, Optimisation(model, choice, None, Schedule(), 100))
    for epoch in range(5):
        for rows in torch.randperm(len(digits.train)).split(64):
            metrics = learner.fit_batch(digits.train.x[rows].expand(8, -1, -1, -1, -1), digits.train.y[rows])
        print(f"epoch {epoch + 1}: loss {metrics['loss']:.3f}")
    answer = learner.predict(digits.test.x.expand(8, -1, -1, -1, -1))[-1].argmax(1)
    print(f"test accuracy {float((answer == digits.test.y).float().mean()):.1%}")
