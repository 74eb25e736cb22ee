"""Floor 4: how a model learns from one batch and what it predicts, behind one interface."""

from bitspike.coding.decoding import decode, ensemble_outputs
from bitspike.learners.backprop import BackpropLearner
from bitspike.learners.base import Learner
from bitspike.learners.online import OnlineLearner
from bitspike.learners.optimisation import Optimisation, Schedule

__all__ = [
    "BackpropLearner", "Learner", "OnlineLearner", "Optimisation", "Schedule", "decode", "ensemble_outputs",
]  # fmt: skip
