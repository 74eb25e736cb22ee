"""The toy of the paper (Figure 2): what copying weights and changing hyperparameters do, each alone and together.

    python examples/population/toy.py [results/population-toy.json]

True score   Q(t) = 1.2 - (t0^2 + t1^2), which nobody can differentiate; a member climbs by gradient ascent
surrogate    1.2 - (h0 t0^2 + h1 t1^2)    with rate 0.01 from t = (0.9, 0.9), 200 updates, ready every 5.

Two members have h = (1, 0) and (0, 1), each blind to one half. Alone either ends at 1.2 - 0.9^2 = 0.39 (grid). The
members mirror each other, so their scores are equal at every ready point: it is the rule for ties (the member with the
lower number counts as better) that lets one copy the other at all. A copy of weights alone climbs one half after the
other. With hyperparameters copied as well, both have h = (1, 0), and now it matters how these are changed: 0 times
anything is 0, so that perturbing by x0.8 or x1.2 never brings h1 back and the population stays at 0.39, a fixed point
of multiplication. Noise that is added leaves it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import bitspike
from bitspike.population.exploit import Exploit
from bitspike.population.local import evolve
from bitspike.tables.population import Population

RATE, UPDATES, EVERY = 0.01, 200, 5
FIRST = [{"h0": 1.0, "h1": 0.0}, {"h0": 0.0, "h1": 1.0}]
HALF = {"kind": "truncation", "fraction": 0.5}
NOISE, FACTORS = {"kind": "additive", "scale": 0.1}, {"kind": "perturb"}
VARIANTS: dict[str, dict[str, Any]] = {
    "grid": {"strategy": "random"},
    "weights only": {"exploit": HALF, "inherit": "weights"},
    "explore only": {"exploit": {"kind": "itself"}, "inherit": "hyperparameters", "explore": NOISE},
    "PBT, factors": {"exploit": HALF, "explore": FACTORS},
    "PBT, noise": {"exploit": HALF, "explore": NOISE},
}


class Climber:
    """A member."""

    def load(self, state: Any, values: dict[str, float], key: Any) -> None:
        self.t = [0.9, 0.9] if state is None else list(state["t"])
        self.h = [values["h0"], values["h1"]]

    def step(self, updates: int) -> int:
        for _ in range(updates):
            self.t = [t - RATE * 2 * h * t for t, h in zip(self.t, self.h, strict=True)]
        return updates

    def evaluate(self) -> dict[str, float]:
        return {"accuracy": 1.2 - sum(t * t for t in self.t)}

    def save(self) -> Any:
        return {"t": list(self.t)}


@bitspike.register("exploit", "itself")
class Itself(Exploit):
    """Every member is its own source: its weights stay, and explore changes its hyperparameters."""

    def source(self, member: int, scores: Any, source: Any) -> int:
        return member


def ends(variant: str, seeds: int = 50) -> Iterator[float]:
    """The best score of each seed."""
    space = {name: {"kind": "uniform", "low": 0.0, "high": 1.0} for name in ("h0", "h1")}
    options = {"metric": "accuracy", "every": EVERY, "mode": "synchronous", "space": space, **VARIANTS[variant]}
    part = Population.model_validate(options)
    for seed in range(seeds):
        score = evolve(Climber(), part, UPDATES, seed, FIRST).winner.score
        assert score is not None
        yield score


def record(found: dict[str, list[float]]) -> dict[str, Any]:
    """The study's file: PBT against the grid, by seed, and the four bounds that were to hold."""
    pbt, grid = found["PBT, noise"], found["grid"]
    gains = [one - other for one, other in zip(pbt, grid, strict=True)]
    half = 1.96 * stdev(gains) / len(gains) ** 0.5
    means = {variant: round(fmean(scores), 4) for variant, scores in found.items()}
    bounds = {
        "grid 0.39": abs(means["grid"] - 0.39) < 0.005,
        "weights only 1.17": abs(means["weights only"] - 1.17) < 0.02,
        "explore only 1.12": abs(means["explore only"] - 1.12) < 0.03,
        "PBT 1.18, least 1.1": means["PBT, noise"] >= 1.18 and min(pbt) >= 1.1,
    }
    return {
        "headline": f"toy, {len(pbt)} seeds: PBT {means['PBT, noise']}, grid {means['grid']}, weights only "
        f"{means['weights only']}, explore only {means['explore only']}, PBT by factors {means['PBT, factors']}",
        "pbt": pbt,
        "random": grid,
        "difference": {"mean": fmean(gains), "low": fmean(gains) - half, "high": fmean(gains) + half},
        "holds": all(bounds.values()),
        "bounds": bounds,
        "means": means,
        "ties": "of equal scores the member with the lower number counts as better",
    }


def main(out: Path | None = None) -> None:
    """Print each variant's mean and least score; write the study's file, where one is named."""
    found = {variant: list(ends(variant)) for variant in VARIANTS}
    for variant, scores in found.items():
        print(f"{variant:<14} mean {fmean(scores):.4f}  least {min(scores):.4f}")
    if out is not None:
        out.write_text(json.dumps(record(found), indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
