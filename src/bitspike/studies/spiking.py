"""A finished run of soft rates measured as spikes, beside the same network as it was trained: its rate twin."""

from __future__ import annotations

import math
import time as clock
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitspike.convert.soft.presentation import present_all
from bitspike.convert.soft.spiking import Products, spiking
from bitspike.energy import estimate_energy
from bitspike.errors import refuse
from bitspike.run.assemble import encode
from bitspike.run.finished import Run
from bitspike.targets import answers as answers_of
from bitspike.targets import class_targets, classes_of

COUNTED_AT_ONCE = 20
# The curve over time: seconds between its points, and how many there are at most.
BETWEEN, MOST_POINTS = 0.01, 40


def evaluate_spiking(
    run: Run,
    part: str = "validation",
    *,
    time: float = 0.2,
    window: float | Sequence[tuple[float, float]] = 0.05,
    dt: float = 0.001,
    synapse: str | None = "alpha",
    tau_s: float = 0.005,
    reset: bool = False,
    streams: int | None = None,
    most: int | None = None,
    data: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    keep: bool = False,
    counted: int = 100,
    products: Products = "float32",
) -> dict[str, Any]:
    """Accuracy, spikes and rates of a split presented image after image to the run's network as spikes.

    time: of one image. window: seconds at its end over which the output is averaged; or several (start, end], each with
    a decision of its own. dt, synapse, tau_s, reset, products: as in `bitspike.spiking`; streams: as in `present_all`.
    Times in seconds. most: the first examples only. progress: told of examples done and of all. keep: the answers too,
    int64 (N,) by window, and the twin's and the targets.

    accuracy is that of the last window; twin: of the network as trained, on the same examples. over_time: the accuracy
    had a presentation been stopped at `time`, from the same presentations: the answer over a window as long as the last
    one that ends there, or begins with the image. by_events: layers whose products were sums over spikes at last.
    seconds: of showing them, on `threads`. energy: the account of
    `energy.estimate_energy` of the first `counted` of them, each from rest.
    """
    if run.form.task != "classification":
        refuse("--spiking", f"a run of {run.form.task}", "a run of classification")
    if run.encoder.takes != "values" or run.recipe.encoder.name != "direct":
        refuse("--spiking", f"encoder.name = '{run.recipe.encoder.name}'", "'direct': images as constant currents")
    if isinstance(window, int | float) and not 0 < window <= time:
        came = f"the last {1000 * window:g} ms of {1000 * time:g}"
        refuse("spiking window", came, "a part of the time (--window and --time, or window and time)")
    windows = [(time - window, time)] if isinstance(window, int | float) else list(window)
    net = spiking(run.model, dt, synapse, tau_s, reset, products=products)
    steps = net.steps_in(time, "spiking time")
    for span in windows:
        net.span_of(span, steps)
    split = run.split(part, data)
    count = len(split) if most is None else min(most, len(split))

    def images(rows: Tensor) -> Tensor:
        return encode(run.recipe, run.encoder, split.x[rows], rows, 0)[0].to(run.dtype)

    stops = _stops(time, dt, *windows[-1])
    began = clock.perf_counter()
    shown = present_all(net, images, count, time, [*windows, *stops], streams, counting(progress, count))
    seconds = clock.perf_counter() - began
    targets, twins = split.y[:count], []
    for rows in torch.arange(count).split(run.recipe.evaluation.batch):
        events = encode(run.recipe, run.encoder, split.x[rows], rows, 0).to(run.dtype)
        twins.append(run.learner.predict(events, run.draws)[-1].argmax(-1))
    twin = torch.cat(twins)
    targets = class_targets(f"--split {part} targets", targets, count, classes_of(shown.outputs[0]))
    answers = [answers_of(y) for y in shown.outputs]
    decided = [
        {"start": start, "end": end, "accuracy": _share(answer == targets), "agreement": _share(answer == twin)}
        for (start, end), answer in zip(shown.windows, answers, strict=True)
    ]
    answers, decided, over_time = answers[: len(windows)], decided[: len(windows)], decided[len(windows) :]
    last, shares = decided[-1], [{"time": row["end"], "accuracy": row["accuracy"]} for row in over_time]
    layers = [
        {"name": name, "neurons": shown.neurons[name], "spikes": shown.spikes[name], "rate": shown.rates[name]}
        for name in shown.spikes
    ]
    reading: dict[str, Any] = {"split": part, "examples": count, "time": time, "dt": dt}
    reading |= {"synapse": synapse if tau_s else None, "tau_s": tau_s if synapse else 0.0, "reset": reset}
    reading |= {"streams": shown.streams, "products": products, "by_events": net.by_events()}
    reading |= {"seconds": seconds, "threads": torch.get_num_threads(), "accuracy": last["accuracy"]}
    reading |= {"twin": _share(twin == targets), "agreement": last["agreement"], "windows": decided}
    reading |= {"over_time": shares, "spikes": math.fsum(shown.spikes.values())}
    reading |= {"mean_rate": shown.mean_rate, "layers": layers}
    first = torch.arange(min(count, counted)).split(COUNTED_AT_ONCE)
    reading["energy"] = estimate_energy(net, (images(rows) for rows in first), time=time).to_dict()
    if keep:
        reading |= {"answers": answers, "twin_answers": twin, "targets": targets}
    return reading


def counting(progress: Callable[[int, int], None] | None, total: int) -> Callable[[int], None] | None:
    """What is told of the examples just done, for a `progress` that is told of all done so far and of `total`."""
    if progress is None:
        return None
    done = 0

    def more(examples: int) -> None:
        nonlocal done
        done += examples
        progress(done, total)

    return more


def _share(found: Tensor) -> float:
    return float(found.double().mean())


def _stops(time: float, dt: float, start: float, end: float) -> list[tuple[float, float]]:
    """Windows as long as (start, end], cut off where the image begins, that end every BETWEEN seconds and at `time`."""
    steps, long = round(time / dt), round((end - start) / dt)
    every = max(1, round(BETWEEN / dt), math.ceil(steps / MOST_POINTS))
    ends = [*range(every, steps, every), steps]
    return [(max(0, last - long) * dt, last * dt) for last in ends]
