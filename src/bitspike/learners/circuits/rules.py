"""VOWEL, and the rule of probabilistic generalised linear models.

Sources: Jang, Skatchkovsky and Simeone 2020 (VOWEL, arXiv 2004.09416); Jang et al. 2019 and Skatchkovsky et al. 2020
(FL-SNN, arXiv 1910.09594). Where the authors' code departs from what they derive, `parity` follows it by name.
"""

from __future__ import annotations

from typing import Any, ClassVar

from bitspike.kernels.cpu import circuit_loops as loops
from bitspike.learners.circuits.base import CircuitLearner, Rule

BASELINES = {"none": loops.NO_BASELINE, "before": loops.BASELINE_BEFORE, "with": loops.BASELINE_WITH}
V1 = "the averages of the control variate hold this step's signal already"
V4 = "1e-7 is added inside logarithms"


class Vowel(CircuitLearner):
    """Variational online learning of winner-take-all circuits: the update of hidden circuits is filtered."""

    switches: ClassVar[dict[str, str]] = {
        "V1": V1,
        "V3": "eligibility traces and filtered updates of hidden circuits are one buffer, scaled before it is added to",
        "V4": V4,
    }

    def rule(self) -> Rule:
        """See `plain`."""
        aliased = "V3" in self.parity
        return Rule(
            eta=self.rate * self.rate_factor(),
            kappa=self.kappa,
            beta=self.beta,
            gamma=self.divergence_weight,
            prior=self.spiking,
            guard=1e-7 if "V4" in self.parity else 0.0,
            mode=loops.ALIASED if aliased else loops.FILTERED_UPDATE,
            base=loops.BASELINE_WITH if aliased or "V1" in self.parity else BASELINES[self.baseline],
            several=self.samples > 1,
        )


class GLM(CircuitLearner):
    """Maximum likelihood of clamped neurons; hidden ones by eligibility traces and a filtered learning signal."""

    switches: ClassVar[dict[str, str]] = {
        "V1": V1,
        "V4": V4,
        "F1": "hidden neurons are updated by their eligibility traces alone, without the learning signal",
        "F2": "the rate is halved before the first step",
        "F4": "the first gradient enters the traces by kappa (2 - kappa)",
    }

    def rule(self) -> Rule:
        """See `plain`."""
        alone = "F1" in self.parity
        first = self.kappa * (2 - self.kappa) / (1 - self.kappa) if "F4" in self.parity else 1.0
        base: Any = loops.BASELINE_WITH if "V1" in self.parity else BASELINES[self.baseline]
        return Rule(
            eta=self.rate * self.rate_factor() * (0.5 if "F2" in self.parity else 1.0),
            kappa=self.kappa,
            beta=self.beta,
            gamma=self.divergence_weight,
            prior=self.spiking,
            guard=1e-7 if "V4" in self.parity else 0.0,
            first=first,
            mode=loops.TRACE_ALONE if alone else loops.FILTERED_SIGNAL,
            base=loops.NO_BASELINE if alone else base,
            several=self.samples > 1,
        )
