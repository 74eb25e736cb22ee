"""Calibration with few data and under shift, Bayesian weights against ensembles: results/small-data.json.

    python docs/small_data.py [--sizes 100 300 ...] [--seeds 1 2 3] [--runs runs/small-data] [--out results/...]

MNIST, binary weights, 784-256-128-10, four steps. A seed draws the images that there are (a fifth of them for
validation, of all 60,000 a twelfth). Straight-through networks: alone, and ensembles of two, five and ten that differ
in first weights and batches, on the same images. Bayesian weights: ten draws averaged, two, one, the most probable
ones, and one pass under a new draw at each of the four steps, by these weights and by some that learned so; the weight
of the KL is chosen on validation (NLL of ten draws, scaled) from 0, 0.01, 0.1 and 1 over the number of training images
(1: the evidence bound). Learning rates are those of mnist-st and mnist-bayes for all sizes.

Measured: accuracy, NLL and ECE on 10,000 test images, and with one temperature fitted on validation; the same on images
turned by 30 and 60 degrees and with noise (standard deviation 0.3), with the temperature as it is; and how well doubt
(1 - the largest probability) tells images of another kind from test images (area under the curve): recordings of
N-MNIST summed up, and CIFAR-10 in grey, 28 x 28, where they are there. Differences are paired by seed and image. Two
hours of one core; goes on where it was stopped, and sizes that the file holds of the same seeds and version stay in it
(--sizes measures some again).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import study
import torch
import torch.nn.functional as F
from torch import Tensor

import bitspike
from bitspike import metrics
from bitspike.data import load
from bitspike.draws import generator
from bitspike.errors import BitspikeError
from bitspike.metrics.paired import paired_difference
from bitspike.metrics.temperature import choose_temperature
from bitspike.run.checkpoint import write_json

SIZES = (100, 300, 1000, 3000, 10_000, 60_000)
MEMBERS = (1, 2, 5, 10)
SHARES = (0.0, 0.01, 0.1, 1.0)  # of the KL, over the number of training images
TURNS, NOISE = (30.0, 60.0), 0.3
SHIFTED = 5000  # test images that are shifted
SAME = ["model.layers=['256', '128']"]


def told(size: int, seed: int) -> list[str]:
    """Overrides of a size: a thousand updates at least, and eight epochs."""
    share = 0.2 if size <= 10_000 else 1 / 12
    updates = max(1000, 8 * int((1 - share) * size) // 128)
    batch = 32 if size <= 1000 else 128
    return [*SAME, f"data.options.train_size={size}", f"data.options.validation={share}", f"data.split_seed={seed}",
            f"training.updates={updates}", f"training.batch={batch}"]  # fmt: skip


class Views:
    """What every network is shown: validation, test, shifted test images, and images of another kind."""

    def __init__(self, run: Any, others: dict[str, Tensor]) -> None:
        self.validation, test = run.split("validation"), run.split("test")
        x, y = test.x, test.y
        self.y = {"validation": self.validation.y, "test": y}
        self.x = {"validation": self.validation.x, "test": x}
        some = x[:SHIFTED]
        for turn in TURNS:
            self.x[f"turned {turn:g}"] = turned(some, turn)
        self.x["noise"] = (some + NOISE * torch.randn(some.shape, generator=generator(0, "noise"))).clamp(0, 1)
        self.y |= {name: y[:SHIFTED] for name in self.x if name not in self.y}
        self.x |= others

    def answers(self, run: Any, samples: int) -> dict[str, Tensor]:
        """Raw probabilities (N, C) by view."""
        return {name: run.predict(x, samples=samples, scaled=False).double() for name, x in self.x.items()}


def turned(x: Tensor, degrees: float) -> Tensor:
    """Images (N, 1, H, W) turned about their middle."""
    angle = torch.tensor(degrees).deg2rad()
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin(), torch.zeros(())]),
                        torch.stack([angle.sin(), angle.cos(), torch.zeros(())])])  # fmt: skip
    grid = F.affine_grid(turn.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def other_kinds() -> dict[str, Tensor]:
    """Images of another kind as (N, 1, 28, 28) in [0, 1]; those that there are."""
    found: dict[str, Tensor] = {}
    try:
        events = load("nmnist").test.x
        frames = torch.stack([_summed(events[k : k + 1]) for k in range(len(events))])
        found["other: N-MNIST"] = F.pad(frames, (0, 28 - frames.shape[-1], 0, 28 - frames.shape[-2]))
    except BitspikeError as error:
        print(f"without N-MNIST: {error}")
    try:
        colour = load("cifar10").test.x[:SHIFTED].mean(1, keepdim=True)
        found["other: CIFAR-10"] = F.interpolate(colour, size=(28, 28), mode="bilinear").clamp(0, 1)
    except BitspikeError as error:
        print(f"without CIFAR-10: {error}")
    return found


def _summed(events: Any) -> Tensor:
    """Events of one recording counted by pixel, the largest count 1."""
    height, width = events.shape[-2:]
    counts = torch.zeros(height * width)
    counts.index_add_(0, events.y.long() * width + events.x.long(), torch.ones(len(events.x)))
    return counts.view(1, height, width) / counts.max().clamp_min(1)


def doubt_tells(known: Tensor, other: Tensor) -> float:
    """Area under the curve of 1 - max p: the chance that one of another kind is doubted more."""
    from sklearn.metrics import roc_auc_score

    doubt = 1 - torch.cat([known.amax(1), other.amax(1)])
    return float(roc_auc_score([0] * len(known) + [1] * len(other), doubt.numpy()))


def reading(found: dict[str, Tensor], views: Views) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Metrics by view, and of each test image whether it was right and its NLL, raw and scaled."""
    temperature = choose_temperature(found["validation"], views.y["validation"]).value
    made: dict[str, Any] = {"temperature": temperature}
    each: dict[str, Tensor] = {}
    for name, p in found.items():
        if name.startswith("other"):
            made[name] = {"auroc": doubt_tells(found["test"], p)}
            continue
        y = views.y[name]
        scaled = metrics.apply_temperature(p, temperature)
        raw, fitted = metrics.classification(p, y), metrics.classification(scaled, y)
        made[name] = {"accuracy": raw["accuracy"], "nll": raw["nll"], "ece": raw["ece"],
                      "scaled_nll": fitted["nll"], "scaled_ece": fitted["ece"]}  # fmt: skip
        if name == "test":
            each = {"accuracy": (p.argmax(1) == y).double(), "nll": _nll(p, y), "scaled_nll": _nll(scaled, y)}
    return made, each


def _nll(p: Tensor, y: Tensor) -> Tensor:
    return -p.gather(1, y[:, None])[:, 0].clamp_min(1e-12).log()


def of_seed(size: int, seed: int, folder: Path, others: dict[str, Tensor]) -> dict[str, tuple[Any, dict[str, Tensor]]]:
    """All arms on one draw of images."""
    changes = told(size, seed)
    members = [
        study.trained("mnist-st", folder / f"st-{size}-{seed}-{k}", changes, 100 * seed + k)
        for k in range(max(MEMBERS))
    ]
    views = Views(members[0], others)
    answers = [views.answers(run, 1) for run in members]
    found = {
        f"st x {count}": {name: torch.stack([one[name] for one in answers[:count]]).mean(0) for name in answers[0]}
        for count in MEMBERS
    }
    images = len(views.validation.y)
    learned = size - images
    tried = {}
    for share in SHARES:
        run = study.trained("mnist-bayes", folder / f"bayes-{size}-{seed}-{share}",
                            [*changes, f"learner.rho={share / learned}"], 100 * seed)  # fmt: skip
        held = run.predict(views.validation.x, samples=10, scaled=False).double()
        fit = choose_temperature(held, views.validation.y)
        tried[share] = float(_nll(metrics.apply_temperature(held, fit.value), views.validation.y).mean()), run
    share = min(tried, key=lambda key: tried[key][0])
    run = tried[share][1]
    for name, samples in (("bayes, 10 draws", 10), ("bayes, 2 draws", 2), ("bayes, 1 draw", 1), ("bayes, MAP", 0)):
        found[name] = views.answers(run, samples)
    with study.drawn_by_the_step(run):
        found["bayes, by the step"] = views.answers(run, 1)
    more = [*changes, f"learner.rho={share / learned}", "weights.redraw=step"]
    learned_so = study.trained("mnist-bayes", folder / f"bayes-by-the-step-{size}-{seed}-{share}", more, 100 * seed)
    found["bayes, learned by the step"] = views.answers(learned_so, 1)
    made = {name: reading(one, views) for name, one in found.items()}
    made["bayes, 10 draws"][0]["share_of_kl"] = share
    made["bayes, 10 draws"][0]["validation_nll_by_share"] = {str(key): value for key, (value, _) in tried.items()}
    return made


def compared(seeds: list[dict[str, tuple[Any, dict[str, Tensor]]]], one: str, other: str) -> dict[str, Any]:
    """Differences on test by metric: paired by seed and image; ECE and areas over seeds alone (Student)."""
    found: dict[str, Any] = {}
    for key in ("accuracy", "nll", "scaled_nll"):
        a, b = (torch.stack([seed[arm][1][key] for seed in seeds]) for arm in (one, other))
        found[key] = study.interval(paired_difference(a, b))
    for view, metric in (("test", "ece"), ("test", "scaled_ece"), *((f"turned {turn:g}", "nll") for turn in TURNS),
                         *((f"turned {turn:g}", "ece") for turn in TURNS), ("noise", "nll"), ("noise", "ece"),
                         ("other: N-MNIST", "auroc"), ("other: CIFAR-10", "auroc")):  # fmt: skip
        if view in seeds[0][one][0]:
            values = [[seed[arm][0][view][metric] for seed in seeds] for arm in (one, other)]
            found[f"{view}, {metric}"] = study.gain(*values)
    return found


def _held(path: Path, seeds: list[int]) -> dict[str, Any]:
    """Sizes that a file holds of these seeds, measured by this version."""
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    same = found["seeds"] == seeds and found["environment"]["version"] == bitspike.__version__
    return dict(found["curve"]) if same else {}


def main() -> None:
    """See the module."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sizes", nargs="+", type=int, default=None, help="default: those that are not there")
    options.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    options.add_argument("--runs", type=Path, default=Path("runs/small-data"))
    options.add_argument("--out", type=Path, default=Path("results/small-data.json"))
    asked = options.parse_args()
    others, curve = other_kinds(), _held(asked.out, asked.seeds)
    for size in [size for size in SIZES if str(size) not in curve] if asked.sizes is None else asked.sizes:
        seeds = [of_seed(size, seed, asked.runs, others) for seed in asked.seeds]
        curve[str(size)] = {
            "arms": {name: [seed[name][0] for seed in seeds] for name in seeds[0]},
            "bayes_minus_st": compared(seeds, "bayes, 10 draws", "st x 1"),
            "bayes_minus_st_x_10": compared(seeds, "bayes, 10 draws", "st x 10"),
            "bayes_2_minus_st_x_2": compared(seeds, "bayes, 2 draws", "st x 2"),
            "by_the_step_minus_st": compared(seeds, "bayes, by the step", "st x 1"),
            "learned_by_the_step_minus_st": compared(seeds, "bayes, learned by the step", "st x 1"),
        }
        for name, one in curve[str(size)]["arms"].items():
            middle = {key: float(np.mean([seed["test"][key] for seed in one])) for key in one[0]["test"]}
            print(size, name, {key: round(value, 4) for key, value in middle.items()}, flush=True)
        run = study.trained("mnist-st", asked.runs / f"st-{size}-{asked.seeds[0]}-0", told(size, asked.seeds[0]),
                            100 * asked.seeds[0])  # fmt: skip
        environment = study.environment_of(run)
        curve = dict(sorted(curve.items(), key=lambda item: int(item[0])))
        content = {"curve": curve, "seeds": asked.seeds, "recipe": run.recipe.resolved(), "environment": environment}
        write_json(asked.out, content | {"data": run.environment["data"]["digests"]})


if __name__ == "__main__":
    main()
