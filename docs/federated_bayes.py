"""One bit a weight from fifty clients: Bayesian binary networks on MNIST, results/federated-bayes-mnist.json.

Recipe federated-mnist-bayes (50 clients, Dirichlet 0.5, ten a round, 40 rounds), three seeds: one draw of each weight a
reply, added up by the server; the same federation with natural parameters in 32 bits; and, as the published anchor
(sparse updates of spiking networks, arXiv 2409.12769), the largest changes with their places at the bits of the draws.
Uplink bits are those of all tensors of all replies; what goes down is not counted. Temperatures are fitted on the
server's validation images.

Run: python docs/federated_bayes.py (needs BITSPIKE_DATA with MNIST; two hours of one core). It may be stopped and gone
on with.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from study import Measured, environment_of, federated, interval, measured, spread
from torch import stack

from bitspike.metrics.paired import paired_difference
from bitspike.run.checkpoint import write_json

# 32 bits of a change and 20 of its place, for each of 2 % of a million weights, are one bit a weight.
ARMS: dict[str, list[str]] = {
    "one_bit": [],
    "full": ["federation.codec.kind=full"],
    "top_k": ["federation.codec.kind=top-k", "federation.codec.share=0.0195"],
}


def bits_up(run: Any) -> int:
    """Uplink bits of a federation."""
    found = json.loads((run.path / "federation.json").read_text())
    return int(found["bits_up"] + found["settled"]["bits_up"])


def summary(runs: list[Measured]) -> dict[str, Any]:
    """Means over seeds, and what they are means of."""
    tests = [run.result["test"] for run in runs]
    found: dict[str, Any] = {
        "accuracy": spread([one["accuracy"] for one in tests]),
        "ece": spread([one["ece"] for one in tests]),
        "scaled_ece": spread([one["scaled"]["ece"] for one in tests]),
        "nll": spread([one["nll"] for one in tests]),
        "scaled_nll": spread([one["scaled"]["nll"] for one in tests]),
        "uplink_bits": spread([run.more for run in runs]),
    }
    means = {name: found[name]["mean"] for name in ("accuracy", "scaled_ece", "uplink_bits")}
    shipped = [run.result["shipped"]["answer"] for run in runs]
    return means | {"spread": found, "shipped": shipped, "recipe": runs[0].recipe}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--runs", type=Path, default=Path("runs/federated-bayes"))
    parser.add_argument("--out", type=Path, default=Path("results/federated-bayes-mnist.json"))
    asked = parser.parse_args()
    content: dict[str, Any] = {}
    answers = {}
    for arm in asked.arms:
        runs = [
            measured(federated, "federated-mnist-bayes", asked.runs / f"{arm}-{seed}", ARMS[arm], seed, bits_up)
            for seed in asked.seeds
        ]
        content[arm], answers[arm] = summary(runs), stack([run.right for run in runs])
        print(arm, {name: content[arm][name] for name in ("accuracy", "scaled_ece", "uplink_bits")}, flush=True)
    if set(asked.arms) != set(ARMS):
        return
    content["ratio_of_bits"] = content["full"]["uplink_bits"] / content["one_bit"]["uplink_bits"]
    for other in ("full", "top_k"):
        content[f"one_bit_minus_{other}"] = interval(paired_difference(answers["one_bit"], answers[other]))
    environment = environment_of(runs[0])
    content |= {"seeds": asked.seeds, "data": runs[0].environment["data"]["digests"], "environment": environment}
    write_json(asked.out, content)


if __name__ == "__main__":
    main()
