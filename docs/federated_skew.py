"""What helps clients whose labels are skewed: federated-digits with Dirichlet 0.1, results/federated-skew.json.

Ten clients of binary networks, 20 rounds, the plain mean (every client counts the same), and beside it: a server with
Adam's rule (FedAdam), margins by the client's own labels (FedLC), and SCAFFOLD. SCAFFOLD is defined for plain SGD, so
it stands beside a mean of clients that learn by SGD. Every arm but the recipe's own has the value of its grid that was
best on validation at seed 0, which is not among the seeds that are compared; shares are drawn anew for each seed.

Run: python docs/federated_skew.py (under an hour of one core). It may be stopped and gone on with.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from study import Measured, environment_of, federated, gain, interval, measured, spread
from torch import stack

from bitspike.metrics.paired import paired_difference
from bitspike.run.checkpoint import write_json

RECIPE = "federated-digits"
EVERY = ["federation.partition.alpha=0.1", "federation.aggregator.kind=mean"]


def adam(rate: float) -> list[str]:
    """FedAdam with a rate of the server's."""
    return [f"federation.aggregator={{kind='adam', rate={rate}, weighted=false}}"]


def margin(tau: float) -> list[str]:
    """FedLC with its tau."""
    return [f"federation.label_margin={tau}"]


def sgd(rate: float) -> list[str]:
    """Clients that learn by plain SGD, with a rate of latents."""
    return ["optimizer={name='SGD', lr=0.1}", f"latent_optimizer={{name='SGD', lr={rate}}}"]


def scaffold(rate: float) -> list[str]:
    """The same with corrected gradients."""
    return [*sgd(rate), "federation.aggregator.kind=scaffold"]


# What is set by arm and value, and the values that were tried.
GRIDS: dict[str, tuple[Any, tuple[float, ...]]] = {
    "mean": (lambda _: [], (0.0,)),
    "server_adam": (adam, (0.01, 0.03, 0.1, 0.3)),
    "margins": (margin, (0.3, 1.0, 3.0)),
    "sgd_mean": (sgd, (10.0, 30.0, 100.0, 300.0)),
    "scaffold": (scaffold, (10.0, 30.0, 100.0, 300.0)),
}
AGAINST = {"server_adam": "mean", "margins": "mean", "scaffold": "sgd_mean"}


def summary(runs: list[Measured]) -> dict[str, Any]:
    """Means over seeds, and what they are means of."""
    tests = [run.result["test"] for run in runs]
    found = {name: spread([one[name] for one in tests]) for name in ("accuracy", "nll", "ece")}
    return {"accuracy": found["accuracy"]["mean"], "spread": found, "recipe": runs[0].recipe}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--runs", type=Path, default=Path("runs/federated-skew"))
    parser.add_argument("--out", type=Path, default=Path("results/federated-skew.json"))
    asked = parser.parse_args()

    def run(arm: str, value: float, seed: int) -> Measured:
        overrides = [*EVERY, *GRIDS[arm][0](value)]
        return measured(federated, RECIPE, asked.runs / f"{arm}-{value:g}-{seed}", overrides, seed)

    content: dict[str, Any] = {}
    answers = {}
    for arm, (_, values) in GRIDS.items():
        tried = {value: run(arm, value, 0).validation["accuracy"] for value in values} if len(values) > 1 else {}
        chosen = max(tried, key=lambda value: tried[value]) if tried else values[0]
        runs = [run(arm, chosen, seed) for seed in asked.seeds]
        content[arm] = {"chosen": chosen, "validation_at_seed_0": tried, **summary(runs)}
        answers[arm] = stack([one.right for one in runs])
        print(arm, chosen, tried, content[arm]["accuracy"], flush=True)
    for arm, other in AGAINST.items():
        content[f"{arm}_minus_{other}"] = interval(paired_difference(answers[arm], answers[other]))
        for metric in ("nll", "ece"):
            one, beside = (content[name]["spread"][metric]["values"] for name in (arm, other))
            content[f"{arm}_minus_{other}"][metric] = gain(one, beside)
        print(arm, "-", other, content[f"{arm}_minus_{other}"], flush=True)
    environment = environment_of(runs[0])
    content |= {"seeds": asked.seeds, "data": runs[0].environment["data"]["digests"], "environment": environment}
    write_json(asked.out, content)


if __name__ == "__main__":
    main()
