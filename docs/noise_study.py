"""Which noise in training helps a soft-LIF network run as spikes? Written to results/noise-study.json.

Networks are trained with no noise, with Gaussian noise of 10 Hz and with that of an alpha synapse of 3 ms and a
membrane, three seeds each. Each then shows the same test images as spikes, back to back, and answers in four windows:

    synapse   window          presentation
    5 ms      100 to 200 ms   200 ms
    3 ms      60 to 150 ms    150 ms
    none      10 to 80 ms     80 ms
    none      10 to 60 ms     the same 80 ms

Differences to "none" are paired by seed and image, with bootstrap intervals over both (`bitspike.metrics.paired`).
Source of the question and of the windows: Hunsberger & Eliasmith 2016, who show 150 ms for the last two, on networks
of twice the width that were trained for 520 epochs.

Run: python docs/noise_study.py (see --help). It may be stopped at any time and started again: trainings go on from
their last checkpoint, finished ones and finished presentations are read back. Two at once share the work when they are
given different --noises or --seeds; a last call with all of them only collects.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import bitspike
from bitspike.convert import present_all, spiking
from bitspike.errors import BitspikeError, refuse
from bitspike.metrics.paired import paired_difference
from bitspike.run.assemble import encode
from bitspike.run.checkpoint import write_json

NOISES = {
    "none": ["model.neuron.soft.noise=none"],
    "gaussian-10": ["model.neuron.soft.noise=gaussian", "model.neuron.soft.sigma=10.0"],
    "alpha-rc-3": ["model.neuron.soft.noise=alpha-rc", "model.neuron.soft.tau_s=0.003"],
}
NARROW = "['32c5','a3s2','32c5','a3s2','32l3','16l3']"


class Shown(NamedTuple):
    """A presentation: tau_s of its synapse (0: none), how long an image is shown, windows of answers; seconds."""

    tau_s: float
    time: float
    windows: tuple[tuple[float, float], ...]


SHOWN = (
    Shown(0.005, 0.2, ((0.1, 0.2),)),
    Shown(0.003, 0.15, ((0.06, 0.15),)),
    Shown(0.0, 0.08, ((0.01, 0.08), (0.01, 0.06))),
)


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The settings of a study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="soft-lif-cifar10")
    parser.add_argument("--layers", default=NARROW, help="of the network; '' for the recipe's own")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="further changes of the recipe")
    parser.add_argument("--noises", nargs="+", choices=list(NOISES), default=list(NOISES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--precision", default="bf16-mixed", help="of the training")
    parser.add_argument("--products", default="float32", help="of the spiking runs: float32 or bfloat16")
    parser.add_argument("--images", type=int, default=2000, help="the first of the test part")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=Path("results/noise-study.json"))
    return parser.parse_args(arguments)


def trained(asked: argparse.Namespace, noise: str, seed: int) -> bitspike.Run:
    """The run of one noise and seed: read back, gone on with, or begun."""
    folder = asked.runs / f"noise-{noise}-seed-{seed}"
    changes = [*NOISES[noise], f"training.epochs={asked.epochs}", *asked.set]
    changes += [f"model.layers={asked.layers}"] if asked.layers else []
    going = (folder / "checkpoints" / "last.json").exists()
    return bitspike.train(
        asked.recipe, folder, overrides=changes, seed=seed, precision=asked.precision, resume=going, quiet=False
    )


def correct(run: bitspike.Run, shown: Shown, images: int, products: Any) -> dict[str, Any]:
    """Whether each image is answered correctly: "spikes" (W, N), "twin" (N,), and "rate", the mean in Hz.

    Stored in the run's folder; read from there if it was measured under the same settings.
    """
    state = json.loads((run.folder.checkpoints / "shipped.json").read_text())
    settings = json.dumps({**shown._asdict(), "images": images, "products": products, "shipped": state}, sort_keys=True)
    name = f"noise-study-{1000 * shown.tau_s:g}ms.npz"
    if (run.path / name).exists():
        with np.load(run.path / name) as stored:
            found = {key: stored[key] for key in stored.files}
        if str(found.pop("settings")) == settings:
            return found
    split = run.dataset().test
    dtype = next(run.model.parameters()).dtype

    def seen(rows: Tensor) -> Tensor:
        return encode(run.recipe, run.encoder, split.x[rows], rows, 0).to(dtype)

    net = spiking(run.model, tau_s=shown.tau_s, products=products)
    presented = present_all(net, lambda rows: seen(rows)[0], images, shown.time, shown.windows)
    targets = split.y[:images]
    twin = [run.learner.predict(seen(rows), run.draws)[-1].argmax(-1) for rows in torch.arange(images).split(500)]
    found = {
        "spikes": torch.stack([means.argmax(1) == targets for means in presented.outputs]).numpy(),
        "twin": (torch.cat(twin) == targets).numpy(),
        "rate": np.asarray(presented.mean_rate),
    }
    run.folder.write_arrays(name, {**found, "settings": np.asarray(settings)})
    return found


def summary(found: dict[str, list[Tensor]]) -> dict[str, Any]:
    """Accuracy by noise, and its difference to "none"; found: for each noise, who was right (N,), seed by seed."""
    content: dict[str, Any] = {}
    for noise, seeds in found.items():
        right = torch.stack(seeds)
        each = right.double().mean(1).tolist()
        spread = statistics.stdev(each) if len(each) > 1 else None
        content[noise] = {"accuracy": statistics.fmean(each), "deviation": spread, "seeds": each}
        if noise != "none" and "none" in found:
            paired = paired_difference(right, torch.stack(found["none"]))
            content[noise]["minus_none"] = asdict(paired)
    return content


def lost(spikes: dict[str, list[Tensor]], twins: dict[str, list[Tensor]]) -> dict[str, Any]:
    """By noise, what spikes lose against the rates of the same network, and how that differs from "none"."""
    losses = {n: torch.stack(twins[n]).double() - torch.stack(seeds).double() for n, seeds in spikes.items()}
    content: dict[str, Any] = {noise: {"loss": float(loss.mean())} for noise, loss in losses.items()}
    for noise in losses.keys() - {"none"} if "none" in losses else ():
        content[noise]["minus_none"] = asdict(paired_difference(losses[noise], losses["none"]))
    return content


def study(asked: argparse.Namespace) -> dict[str, Any]:
    """Everything: trainings, presentations, differences."""
    if asked.images < 1 or asked.epochs < 1:
        refuse("--images, --epochs", (asked.images, asked.epochs), "1 or more")
    rights: dict[str, dict[str, list[Tensor]]] = {}
    runs = []
    for seed in asked.seeds:
        for noise in asked.noises:
            run = trained(asked, noise, seed)
            images = min(asked.images, len(run.dataset().test))
            row: dict[str, Any] = {"noise": noise, "seed": seed, "training_seconds": run.result["seconds"], "rates": {}}
            for shown in SHOWN:
                started = time.monotonic()
                found = correct(run, shown, images, asked.products)
                row["rates"][f"{1000 * shown.tau_s:g}"] = float(found["rate"])
                names = [f"{1000 * shown.tau_s:g}, {1000 * a:g}, {1000 * b:g}" for a, b in shown.windows]
                for name, right in zip(names, found["spikes"], strict=True):
                    rights.setdefault(name, {}).setdefault(noise, []).append(torch.from_numpy(right))
                print(f"{run.path} {', '.join(names)}: {time.monotonic() - started:.0f} s", flush=True)
            rights.setdefault("twin", {}).setdefault(noise, []).append(torch.from_numpy(found["twin"]))
            runs.append(row)
    environment = {key: value for key, value in run.environment.items() if key not in ("seed", "data")}
    return {
        "recipe": run.recipe.resolved(),
        "noises": {noise: NOISES[noise] for noise in asked.noises},
        "seeds": asked.seeds,
        "images": images,
        "products": asked.products,
        "data": run.environment["data"]["digests"],
        "environment": environment,
        "runs": runs,
        "windows": {name: summary(found) for name, found in rights.items()},
        "lost": {name: lost(found, rights["twin"]) for name, found in rights.items() if name != "twin"},
    }


def main() -> None:
    """Run the study, store it and print its table."""
    asked = options()
    content = study(asked)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(asked.out, content)
    print("| tau_s, start, end (ms) | " + " | ".join(asked.noises) + " |")
    print("|" + " --- |" * (1 + len(asked.noises)))
    for name, found in content["windows"].items():
        cells = []
        for noise in asked.noises:
            cell = f"{100 * found[noise]['accuracy']:.2f}"
            if (paired := found[noise].get("minus_none")) is not None:
                cell += " ({difference:+.2f}, {low:+.2f} to {high:+.2f})".format(
                    **{key: 100 * paired[key] for key in ("difference", "low", "high")}
                )
            cells.append(cell)
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    try:
        main()
    except BitspikeError as error:
        sys.exit(str(error))
