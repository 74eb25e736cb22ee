"""VOWEL, and the rule of probabilistic generalised linear models.

Sources: Jang, Skatchkovsky and Simeone 2020 (VOWEL, arXiv 2004.09416); Jang et al. 2019 and Skatchkovsky et al. 2020
(FL-SNN, arXiv 1910.09594). Where the authors' code departs from what they derive, `parity` follows it by name.
"""

from __future__ import annotations

from typing import ClassVar

from bitspike.kernels.cpu import circuit_parts as codes
from bitspike.learners.circuits.base import CircuitLearner, Rule

BASELINES = {"none": codes.NO_BASELINE, "before": codes.BASELINE_BEFORE, "with": codes.BASELINE_WITH}
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
        if "V3" in self.parity:
            return self.numbers(codes.ALIASED, codes.BASELINE_WITH)
        return self.numbers(codes.FILTERED_UPDATE, BASELINES[self.baseline])


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
        made = self.numbers(codes.FILTERED_SIGNAL, BASELINES[self.baseline])
        if "F1" in self.parity:
            made = made._replace(mode=codes.TRACE_ALONE, base=codes.NO_BASELINE)
        if "F2" in self.parity:
            made = made._replace(eta=made.eta / 2)
        if "F4" in self.parity:
            made = made._replace(first=self.kappa * (2 - self.kappa) / (1 - self.kappa))
        return made
