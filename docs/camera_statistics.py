"""How the simulated camera's events differ from a real one's. Written to results/camera-statistics.json.

N-MNIST is MNIST, filmed image by image in MNIST's order. The same images are filmed again by `bitspike.data.camera`
with the usual options of `mnist-dvs-sim`, on N-MNIST's sensor and in its three saccades, and the same numbers are taken
of both. A logistic regression on the square roots of counts per pixel and sign, in five folds over the images, is
trained on either and tested on either: what it loses from one to the other is how much the two differ for a learner.

Run: python docs/camera_statistics.py (N-MNIST and MNIST in BITSPIKE_DATA; about three minutes).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bitspike
from bitspike.coding import bin_events
from bitspike.coding.events import both_signs
from bitspike.data import Events, load
from bitspike.data.camera import Camera, film
from bitspike.data.camera import Path as Moved
from bitspike.data.events import read_recordings
from bitspike.data.mnist import raw_mnist
from bitspike.data.nmnist import SIDE
from bitspike.data.sources import find_folder
from bitspike.errors import BitspikeError, refuse
from bitspike.run.checkpoint import write_json
from bitspike.tables.data import NMNIST, MNISTDVSSim

BIN = 25.0  # ms
BORDER = 3  # pixels at the sensor's edges that no stroke reaches
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SECONDS, AMPLITUDE = 0.315, 3.0  # of N-MNIST's three saccades, as its recordings show them


def statistics(events: Events, seconds: float) -> dict[str, Any]:
    """Of recordings of `seconds`; rates in events of a pixel a second, times in ms, the rest shares."""
    count, (_, height, width) = len(events), events.shape
    t, x, y, p = (column.numpy() for column in (events.t, events.x, events.y, events.p))
    each = events.offsets.diff().double()
    who = np.repeat(np.arange(count), events.offsets.diff().numpy())
    pixel = (who * height + y) * width + x
    order = np.lexsort((t, pixel))
    gaps = np.diff(t[order])[np.diff(pixel[order]) == 0] / 1000
    edge = (x < BORDER) | (y < BORDER) | (x >= width - BORDER) | (y >= height - BORDER)
    outer = height * width - (height - 2 * BORDER) * (width - 2 * BORDER)
    steps = int(np.ceil(1000 * seconds / BIN))
    active = [float((bin_events(events[k : k + 50], steps, 1000 * BIN).sum(2) > 0).float().mean()) for k in _of(count)]
    return {
        "recordings": count,
        "events": {"mean": float(each.mean()), "std": float(each.std())},
        "rate": len(t) / (count * height * width * seconds),
        "on": float(p.mean()),
        "intervals_ms": {f"{q:g}": float(np.quantile(gaps, q)) for q in QUANTILES},
        "active": float(np.average(active, weights=[min(50, count - k) for k in _of(count)])),
        "both_signs": both_signs(events, steps, 1000 * BIN),
        "pixels": len(np.unique(pixel)) / (count * height * width),
        "border": {"rate": float(edge.sum() / (count * outer * seconds)), "on": float(p[edge].mean())},
    }


def _of(count: int) -> range:
    return range(0, count, 50)


def counts(events: Events) -> Any:
    """Square roots of the events of each pixel and sign, (N, 2 H W)."""
    every = [bin_events(events[k : k + 50], 1, 1e9, "count")[0].flatten(1) for k in _of(len(events))]
    return torch.cat(every).sqrt().numpy()


def crossed(sets: dict[str, Any], y: Any, folds: int = 5) -> dict[str, dict[str, float]]:
    """Accuracy of logistic regression trained on one set and tested on another, on images that it has not seen."""
    from sklearn.linear_model import LogisticRegression

    right: dict[str, dict[str, float]] = {name: dict.fromkeys(sets, 0.0) for name in sets}
    for fold in range(folds):
        tested = np.arange(len(y)) % folds == fold
        for name, x in sets.items():
            fitted = LogisticRegression(C=0.01, max_iter=1000).fit(x[~tested], y[~tested])
            for other, z in sets.items():
                right[name][other] += float((fitted.predict(z[tested]) == y[tested]).sum()) / len(y)
    return right


def of_signs(size: int) -> dict[str, float]:
    """Accuracy of logistic regression on `mnist-dvs-sim`, `size` recordings for training and for the test."""
    from sklearn.linear_model import LogisticRegression

    data = load("mnist-dvs-sim", train_size=size, test_size=size)
    parts = [data.train, data.validation, data.test]
    x = [counts(part.x) for part in parts if isinstance(part.x, Events)]
    y = [part.y.numpy() for part in parts]
    found = {}
    for name in ("signed", "merged"):
        if name == "merged":
            x = [np.sqrt((some.reshape(len(some), 2, -1) ** 2).sum(1)) for some in x]
        fitted = LogisticRegression(C=0.01, max_iter=5000).fit(np.concatenate(x[:2]), np.concatenate(y[:2]))
        found[name] = float(fitted.score(x[2], y[2]))
    return found


def main() -> None:
    """Measure, store and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=1000, help="of N-MNIST's training part, the first ones")
    parser.add_argument("--out", type=Path, default=Path("results/camera-statistics.json"))
    asked = parser.parse_args()
    home = find_folder(NMNIST.folders, None)
    if home is None:
        refuse("N-MNIST", "no such folder", f"{NMNIST.folders[0]} in BITSPIKE_DATA")
    # File 00001 is the first image of MNIST.
    paths = sorted(home.glob("Train/*/*.bin"), key=lambda path: path.name)[: asked.recordings]
    numbers = [int(path.stem) - 1 for path in paths]
    raw = raw_mnist(None)
    images, labels = (tensor[numbers] for tensor in raw.trained)
    if labels.tolist() != [int(path.parent.name) for path in paths]:
        refuse("N-MNIST", "digits in another order than MNIST's", "file N of the N-th image")
    usual = MNISTDVSSim()
    camera = Camera(
        SIDE, SIDE, usual.on, usual.off, usual.mismatch, usual.refractory / 1000, usual.leak, usual.noise, usual.dark,
        usual.tau / 1000, usual.camera,
    )  # fmt: skip
    real = read_recordings(paths, (SIDE, SIDE))
    grey = images[:, 0].float() / 255
    filmed = film(grey, camera, Moved("saccades", AMPLITUDE, SECONDS), SECONDS, numbers=numbers)
    found = {"nmnist": statistics(real, SECONDS), "simulated": statistics(filmed, SECONDS)}
    sets = {"nmnist": counts(real), "simulated": counts(filmed)}
    circle = load("mnist-dvs-sim", train_size=asked.recordings, test_size=10)
    assert isinstance(circle.train.x, Events)
    found["mnist-dvs-sim"] = statistics(circle.train.x, usual.duration / 1000)
    options = usual.model_dump(mode="json")
    content = {
        "version": bitspike.__version__,
        "bin_ms": BIN,
        "seconds": SECONDS,
        "amplitude": AMPLITUDE,
        "options": options,
        "statistics": found,
        "logistic_regression": crossed(sets, labels.numpy()),
        "mnist-dvs-sim": {"recordings": 2 * asked.recordings, **of_signs(2 * asked.recordings)},
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(asked.out, content)
    print(table(content))


def table(content: dict[str, Any]) -> str:
    """The statistics as they stand in docs/events.md."""
    every = content["statistics"]
    rows = [["", "N-MNIST", "simulated alike", "`mnist-dvs-sim`"], ["---"] * 4]

    def row(name: str, value: Any) -> None:
        rows.append([name, *(value(every[key]) for key in ("nmnist", "simulated", "mnist-dvs-sim"))])

    row("recordings", lambda s: f"{s['recordings']:,}")
    row("events a recording", lambda s: f"{s['events']['mean']:,.0f} ± {s['events']['std']:,.0f}")
    row("events of a pixel a second", lambda s: f"{s['rate']:.2f}")
    row("share of ON", lambda s: f"{s['on']:.1%}")
    for q in QUANTILES:
        row(f"interval of a pixel, {q:.0%} quantile (ms)", lambda s, q=q: f"{s['intervals_ms'][f'{q:g}']:.2f}")
    row(f"pixels with an event, of {content['bin_ms']:g} ms", lambda s: f"{s['active']:.1%}")
    row("of these, with both signs", lambda s: f"{s['both_signs']:.1%}")
    row("pixels with an event at all", lambda s: f"{s['pixels']:.1%}")
    row(f"outer {BORDER} pixels: events of a pixel a second", lambda s: f"{s['border']['rate']:.2f}")
    row(f"outer {BORDER} pixels: share of ON", lambda s: f"{s['border']['on']:.1%}")
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


if __name__ == "__main__":
    try:
        main()
    except BitspikeError as error:
        sys.exit(str(error))
