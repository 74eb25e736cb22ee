"""FL-SNN: two devices that each see one digit learn online and exchange filters of their synapses.

Writes results/fl-snn.json.

Devices hold '1' and '7' alone (mnist-dvs-sim, unsigned events; N-MNIST beside it). Probabilistic neurons of FL-SNN,
two outputs; a global iteration is five time steps, exchanges come every tau of them.

- frequency: no hidden neurons, all filters sent, tau in 8, 64, 400 and never. The loss is -log p of outputs clamped to
  the right class, nats a recording, over test recordings of both digits; of devices that never exchange, the mean.
- rate: 16 hidden neurons, r = K'/tau filters an iteration fixed at 1/8 and 1/4, test accuracy at the end. A filter that
  no device sends becomes 0, as the paper has it; beside it "kept": it stays as it was.

Every seed has its own weights, order of recordings and draws. Orderings hold where the 95 % interval (bootstrap over
seeds) of the paired difference has one sign. Run: python docs/fl_snn.py (needs BITSPIKE_DATA; an hour of one core).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from study import RECORDS, kept_in

from bitspike.data import load
from bitspike.data.base import DataSet, Split
from bitspike.draws import seed_of
from bitspike.federated.client import Client
from bitspike.federated.local import Local
from bitspike.federated.server import Server
from bitspike.federated.store import Store
from bitspike.run.checkpoint import write_json
from bitspike.run.folder import environment
from bitspike.run.recipe_files import parse_recipe

DIGITS = (1, 7)
SLICE = 5  # time steps of a global iteration
EACH = 400  # recordings that a device sees
RECIPE = """
name = "fl-snn"
[data]
set = "mnist-dvs-sim"
[encoder]
name = "events"
rule = "or"
polarity = "merge"
[model]
kind = "circuits"
symbols = 1
topology = "full"
[learner]
rule = "glm"
rate = 0.05
[training]
batch = 1
[federation]
clients = 2
state = "kept"
[federation.partition]
kind = "classes"
classes = 1
"""
FREQUENCY = {"8": 8, "64": 64, "400": 400, "never": None}
RATES = {"1/8": [(1, 8), (2, 16), (4, 32), (8, 64)], "1/4": [(1, 4), (2, 8), (4, 16), (8, 32)]}
# Hidden neurons, filters that are sent, iterations between exchanges, what becomes of those that nobody sends.
ARMS: dict[str, tuple[int, int, int | None, str]] = {
    **{f"tau {key}": (0, 8, tau, "zero") for key, tau in FREQUENCY.items()},
    **{f"r {r}, K' {k}, tau {tau}": (16, k, tau, "zero") for r, pairs in RATES.items() for k, tau in pairs},
    **{f"r {r}, K' {k}, tau {tau}, kept": (16, k, tau, "keep") for r, pairs in RATES.items() for k, tau in pairs[:3]},
}
SETS = {
    "mnist-dvs-sim": (80, {"train_size": 4500, "validation": 200, "test_size": 1000}),
    "nmnist": (15, {"validation": 10}),
}


def two_digits(name: str, seed: int) -> DataSet:
    """Recordings of the two digits; N-MNIST's test part is a fifth of them."""
    fold = {"fold": (seed % 5 + 1, 5)} if name == "nmnist" else {}
    whole = load(name, seed=0, **SETS[name][1], **fold)  # type: ignore[arg-type]

    def of(part: Split) -> Split:
        rows = torch.isin(part.y, torch.tensor(DIGITS))
        return replace(part[rows], y=(part.y[rows] == DIGITS[1]).long())

    parts = {part: of(getattr(whole, part)) for part in ("train", "validation", "test")}
    return replace(whole, **parts, classes=tuple(map(str, DIGITS)))  # type: ignore[arg-type]


def clamped_loss(server: Server) -> float:
    """-log p of outputs clamped to the right class, nats a recording of the test part."""
    learner: Any = server.session.learner
    total, count = 0.0, 0
    for events, targets in server.session.test.evaluation():
        total -= float(learner.presented(events, targets, (0, "test")).log_p.double().sum())
        count += len(targets)
    return total / count


def recipe_of(name: str, seed: int, hidden: int, filters: int, steps: int, missing: str = "zero") -> Any:
    """Of two devices that exchange after `steps` time steps."""
    rounds, dt = EACH * SETS[name][0] // steps, 25 if name == "mnist-dvs-sim" else 20
    changes = [
        f"data.set={name}", f"encoder.steps={SETS[name][0]}", f"encoder.dt={dt}", f"model.hidden={hidden}",
        f"federation.rounds={rounds}", f"federation.steps={steps}", f"training.validate_every={rounds}",
    ]  # fmt: skip
    if filters < 8:
        changes += ["federation.codec.kind=components", f"federation.codec.components={filters}"]
        changes += [f"federation.codec.missing={missing}"]
    return parse_recipe(RECIPE, "fl-snn", changes, seed)


def learned(
    data: DataSet, name: str, seed: int, hidden: int, filters: int, tau: int | None, points: int, missing: str = "zero"
) -> dict[str, Any]:
    """One federation of two devices; tau None: none, each by itself."""
    steps_all = EACH * SETS[name][0]
    steps = min((tau or steps_all // (SLICE * points)) * SLICE, steps_all)
    recipe = recipe_of(name, seed, hidden, filters, steps, missing)
    rounds = recipe.federation.rounds
    shares = [(data.train.y == digit).nonzero()[:, 0] for digit in (0, 1)]
    alone = range(2) if tau is None else (None,)
    curves, bits, right = [], 0, []
    for device in alone:
        server, client = Server(recipe, data, [len(rows) for rows in shares]), Client(recipe, data, shares)
        engine = Local(server, client, Store(), None if device is None else _only(device))
        every = max(1, rounds // points)
        curve = []
        while not server.finished:
            row = engine.round()
            bits += row["bits_up"]
            if server.number % every == 0 or server.finished:
                curve.append((server.number * steps // SLICE, clamped_loss(server)))
        curves.append(curve)
        right.append(accuracy(server))
    mean = [(curves[0][i][0], float(np.mean([curve[i][1] for curve in curves]))) for i in range(len(curves[0]))]
    return {"curve": mean, "accuracy": float(np.mean(right)), "bits_up": 0 if tau is None else bits}


def _only(device: int) -> Any:
    return lambda message: message if message.client == device else None


def accuracy(server: Server) -> float:
    """Of the test part."""
    hits, count = 0.0, 0
    for events, targets in server.session.test.evaluation():
        hits += float((server.session.learner.predict(events)[-1].argmax(-1) == targets).sum())
        count += len(targets)
    return hits / count


def bootstrap(values: np.ndarray[Any, Any]) -> dict[str, float]:
    """Mean and 95 % interval over seeds."""
    draw = np.random.default_rng(seed_of("fl-snn") % 2**32)
    means = values[draw.integers(len(values), size=(10_000, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--points", type=int, default=16)
    parser.add_argument("--runs", type=Path, default=RECORDS / "fl-snn")
    parser.add_argument("--out", type=Path, default=Path("results/fl-snn.json"))
    asked = parser.parse_args()
    content: dict[str, Any] = {"orderings": {}, "sets": {}, "seeds": asked.seeds}
    for name in asked.sets:
        found: dict[str, list[dict[str, Any]]] = {}
        for seed in asked.seeds:
            data = two_digits(name, seed)
            for arm, (hidden, filters, tau, missing) in ARMS.items():
                file = asked.runs / f"{name}-{arm}-{seed}.json".replace("/", "-").replace(" ", "-").replace("'", "")
                made = partial(learned, data, name, seed, hidden, filters, tau, asked.points, missing)
                found.setdefault(arm, []).append(kept_in(file, {}, made))
                print(name, seed, arm, found[arm][-1]["curve"][-1], found[arm][-1]["accuracy"], flush=True)
        recipe = recipe_of(name, asked.seeds[-1], 16, 1, 8 * SLICE)
        where = environment(data, recipe, "cpu", "32-true", 1)
        content["sets"][name] = collected(found) | {"recipe": recipe.resolved(), "environment": where}
        for key, value in content["sets"][name]["differences"].items():
            content["orderings"][f"{name}: {key}"] = value["high"] < 0
        write_json(asked.out, content)


def collected(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Losses at iterations, accuracies, and paired differences that the paper says are below 0."""
    final = {arm: np.array([one["curve"][-1][1] for one in runs]) for arm, runs in found.items()}
    right = {arm: np.array([one["accuracy"] for one in runs]) for arm, runs in found.items()}
    differences = {
        f"loss of tau {one} below that of tau {other}": bootstrap(final[f"tau {one}"] - final[f"tau {other}"])
        for one, other in (("8", "64"), ("64", "400"), ("8", "never"), ("64", "never"))
    }
    for r, pairs in RATES.items():
        often, seldom = (f"r {r}, K' {k}, tau {tau}" for k, tau in (pairs[1], pairs[-1]))
        for beside in ("", ", kept"):
            gain = right[seldom] - right[often + beside]
            differences[f"error of K' 2{beside} below that of K' 8 at r {r}"] = bootstrap(gain)
        often, seldom = (f"r {r}, K' {k}, tau {tau}, kept" for k, tau in (pairs[0], pairs[2]))
        differences[f"loss of K' 1, kept below that of K' 4, kept at r {r}"] = bootstrap(final[often] - final[seldom])
    arms = {
        arm: {
            "iterations": [at for at, _ in runs[0]["curve"]],
            "loss": [bootstrap(np.array([one["curve"][i][1] for one in runs])) for i in range(len(runs[0]["curve"]))],
            "accuracy": bootstrap(right[arm]),
            "bits_up": runs[0]["bits_up"],
        }
        for arm, runs in found.items()
    }
    return {"arms": arms, "differences": differences}


if __name__ == "__main__":
    main()
