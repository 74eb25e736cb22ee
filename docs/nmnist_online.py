"""N-MNIST by online local learning alone, by 5-fold cross-validation: results/nmnist-online.json.

Circuits see each recording once a pass, a step at a time, and update every synapse in every step from its own traces:
output neurons alone (recipe nmnist-glm) and with hidden circuits (nmnist-glm with 32, nmnist-vowel). Beside them, on
the same folds, logistic regression on the square roots of the counts of each pixel and sign, its penalty chosen on the
validation part, and back-propagation through a convolutional spiking network (recipe nmnist-full as it is). The rate of
each online rule is chosen on the validation part of the first fold. Differences are paired by recording.

Run: python docs/nmnist_online.py (needs BITSPIKE_DATA; two hours of one core). It may be stopped and started again.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from study import held, interval, right, spread, trained
from torch import Tensor

from bitspike.data import load
from bitspike.metrics.paired import paired_difference
from bitspike.run.checkpoint import write_json

FOLDS = 5
RATES = ("0.002", "0.005", "0.01")
ARMS: dict[str, tuple[str, list[str]]] = {
    "outputs alone": ("nmnist-glm", []),
    "32 hidden neurons": ("nmnist-glm", ["model.hidden=32"]),
    "32 hidden circuits (VOWEL)": ("nmnist-vowel", []),
}
PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1)


def counts(x: Any) -> np.ndarray[Any, Any]:
    """Square roots of the events of each pixel and sign, (N, P H W)."""
    polarities, height, width = x.shape
    who = torch.repeat_interleave(torch.arange(len(x)), x.offsets.diff())
    place = (x.p.long() * height + x.y.long()) * width + x.x.long()
    size = polarities * height * width
    found = torch.bincount(who * size + place, minlength=len(x) * size).view(len(x), size)
    return found.double().sqrt().numpy()


def regression(fold: int) -> Tensor:
    """Whether logistic regression is right on each test recording of a fold."""
    data = load("nmnist", seed=0, fold=(fold, FOLDS))
    parts = {name: (counts(part.x), part.y.numpy()) for name, part in
             (("train", data.train), ("validation", data.validation), ("test", data.test))}  # fmt: skip
    best: tuple[float, Any] = (-1.0, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for penalty in PENALTIES:
            made = LogisticRegression(C=penalty, max_iter=300).fit(*parts["train"])
            best = max(best, (float(made.score(*parts["validation"])), made), key=lambda pair: pair[0])
    x, y = parts["test"]
    order = np.argsort(data.test.index.numpy())
    return torch.from_numpy((best[1].predict(x) == y)[order]).double()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--runs", type=Path, default=Path("runs/nmnist-online"))
    parser.add_argument("--out", type=Path, default=Path("results/nmnist-online.json"))
    asked = parser.parse_args()
    by_fold = [regression(fold) for fold in range(1, FOLDS + 1)]
    linear, folds = torch.cat(by_fold), [float(part.mean()) for part in by_fold]
    found: dict[str, Any] = {}
    validation = {}
    for arm in asked.arms:
        recipe, changes = ARMS[arm]
        name = f"{recipe}-{'-'.join(changes) or 'as-is'}".replace("=", "-").replace(".", "-")

        def run(fold: int, rate: str, recipe: str = recipe, changes: list[str] = changes, name: str = name) -> Any:
            more = [*changes, f"learner.rate={rate}", f"data.folds={FOLDS}", f"data.fold={fold}"]
            return trained(recipe, asked.runs / f"{name}-rate-{rate}-fold-{fold}", more)

        tried = {rate: held(run(1, rate)) for rate in RATES}
        rate = max(tried, key=lambda key: tried[key])
        runs = [run(fold, rate) for fold in range(1, FOLDS + 1)]
        each = [right(one) for one in runs]
        paired = paired_difference(torch.cat(each)[None], linear[None])
        validation[arm] = float(np.mean([held(one) for one in runs]))
        found[arm] = {
            "accuracy": spread([float(part.mean()) for part in each]),
            "nll": spread([one.result["test"]["nll"] for one in runs]),
            "ece": spread([one.result["test"]["ece"] for one in runs]),
            "scaled_ece": spread([one.result["test"]["scaled"]["ece"] for one in runs]),
            "validation_accuracy": validation[arm],
            "rates_tried_on_the_first_fold": tried,
            "rate": float(rate),
            "minus_logistic_regression": interval(paired),
            "recipe": runs[0].recipe.resolved(),
        }
        print(arm, found[arm]["accuracy"], found[arm]["minus_logistic_regression"], flush=True)
    deep = [
        trained("nmnist-full", asked.runs / f"nmnist-full-fold-{fold}", [f"data.folds={FOLDS}", f"data.fold={fold}"])
        for fold in range(1, FOLDS + 1)
    ]
    back_propagation = {
        "accuracy": spread([one.result["test"]["accuracy"] for one in deep]),
        "minus_logistic_regression": interval(
            paired_difference(torch.cat([right(one) for one in deep])[None], linear[None])
        ),
        "recipe": deep[0].recipe.resolved(),
    }
    best = max(validation, key=lambda key: validation[key])
    environment = {key: value for key, value in runs[0].environment.items() if key != "data"}
    content = {
        "accuracy": found[best]["accuracy"],
        "logistic_regression": spread(folds),
        "best_on_validation": best,
        "arms": found,
        "back_propagation": back_propagation,
        "folds": FOLDS,
        "recordings": len(linear),
        "data": runs[0].environment["data"]["digests"],
        "environment": environment,
    }
    write_json(asked.out, content)


if __name__ == "__main__":
    main()
