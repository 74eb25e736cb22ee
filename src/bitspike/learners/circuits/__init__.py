"""Rules of probabilistic circuits, which learn while they run."""

from bitspike.learners.circuits.base import CircuitLearner, Rule
from bitspike.learners.circuits.rules import GLM, Vowel

__all__ = ["GLM", "CircuitLearner", "Rule", "Vowel"]
