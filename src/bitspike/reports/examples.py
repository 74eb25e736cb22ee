"""The figures of real examples: rasters with their inputs, regressions over x, and series with their answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bitspike.errors import refuse
from bitspike.reports import figures, pictures
from bitspike.reports.checked import Array
from bitspike.reports.rundata import RunData, section
from bitspike.reports.sections import Section

MOST_SAMPLES = 4
INPUT = "input"


def regression(run: RunData) -> Section | None:
    """Mean and spread over x with the training points, or predicted against true."""
    found = _answers(run)
    if found is None:
        return None
    mean, spread, targets = found
    size, inputs = targets.shape[1], run.array("inputs", 2)
    if size == 1 and inputs is not None and inputs.shape == (len(targets), 1):
        x, y = run.array("train_inputs", 2), run.array("train_targets", 2)
        learned = None
        if x is not None and y is not None:
            if x.shape != y.shape or x.shape[1] != 1:
                field = f"{run.path / 'predictions.npz'} train_targets"
                refuse(field, f"shape {y.shape}", "that of train_inputs (n, 1)")
            learned = (x[:, 0], y[:, 0])
        name = next(iter(_columns(run)), "x")
        drawn = [figures.spread_over_x(inputs[:, 0], mean[:, 0], spread[:, 0], targets[:, 0], learned, name)]
        caption = (
            "The line is the prediction, the bands one and two spreads around it, the dots the true values"
            f"{', the circles what it learned from' if learned is not None else ''}. "
            "Where there was nothing to learn from, the bands should open."
        )
        return Section("regression", "Prediction and doubt", caption, drawn, wide=True)
    titles = [f"Output {k + 1}" for k in range(min(size, 4))] if size > 1 else ["Predicted against true"]
    shown = zip(mean.T, spread.T, targets.T, titles, strict=False)
    drawn = [figures.predicted_against_true(*each) for each in shown]
    caption = "A dot on the dashed line is predicted exactly; its whisker is the spread the network admits to."
    return Section("regression", "Prediction and doubt", caption, drawn)


def series(run: RunData) -> Section | None:
    """Series that a regression has read, each with the value it had to give and the one it gave."""
    found, given, index = _answers(run), run.array("raster_inputs", 3), run.array("raster_index", 1)
    numbers = run.array("index", 1)
    if found is None or given is None or index is None or numbers is None:
        return None
    mean, spread, targets = found
    if len(index) != given.shape[2] or len(numbers) != len(targets):
        refuse(f"{run.path / 'predictions.npz'} raster_inputs", f"shape {given.shape}", "one example to a raster_index")
    rows = [np.flatnonzero(numbers == k) for k in index[:MOST_SAMPLES]]
    if len(given) < 2 or any(len(row) == 0 for row in rows):
        return None
    read = [
        pictures.Read(given[:, :, s], float(targets[row[0], 0]), float(mean[row[0], 0]), float(spread[row[0], 0]))
        for s, row in enumerate(rows)
    ]
    # Of one signal, the value asked for lies on the series' own axis, so many steps beyond its end.
    ahead = run.data_option("ahead")
    ahead = ahead if isinstance(ahead, int) and 0 < ahead < 10_000 else None
    drawn = [pictures.series(read, ahead)]
    caption = "Test examples as the network reads them, in the data's own units. "
    caption += f"It is asked for the value {ahead} steps after the last. " if ahead else "At the right, its answer. "
    caption += "Circle: the true value; dot: the prediction, with one and two spreads."
    return Section("series", "What it reads and what it says", caption, drawn, wide=True)


def _answers(run: RunData) -> tuple[Array, Array, Array] | None:
    """Mean, spread and target at the end, (N, D) each; None where a run has none of them."""
    prediction, targets = run.arrays.get("prediction"), run.arrays.get("targets")
    if prediction is None or targets is None or not run.is_regression:
        return None
    if prediction.ndim != 3 or targets.ndim != 2 or prediction.shape[1:] != (len(targets), 2 * targets.shape[1]):
        came = f"shape {prediction.shape} beside targets {targets.shape}"
        refuse(f"{run.path / 'predictions.npz'} prediction", came, "(T, N, 2D) beside (N, D)")
    size = targets.shape[1]
    mean, spread = prediction[-1, :, :size].astype(float), prediction[-1, :, size:].astype(float)
    if (spread < 0).any():
        refuse(f"{run.path / 'predictions.npz'} prediction", "a negative spread", "value and spread")
    return mean, spread, targets.astype(float)


def _columns(run: RunData) -> list[str]:
    """Names of the columns of x, where the run has them."""
    found = section(section(run.environment, "data"), "form").get("columns")
    return [str(name) for name in found] if isinstance(found, list) else []


def raster(run: RunData) -> Section | None:
    """Spikes of a few real samples, layer by layer; none of a network without a layer that spikes."""
    samples, classes = _samples(run)
    if not samples or set(samples[0].spikes) == {INPUT}:
        return None
    first = samples[0]
    most = max(spikes.shape[1] for sample in samples for spikes in sample.spikes.values())
    caption = (
        "Real test examples on their way through the network: each mark is a spike, time runs to the right, "
        "one neuron to a row."
    )
    if most > pictures.MOST_UNITS:
        caption += f" Of layers with more than {pictures.MOST_UNITS} neurons, as many are shown, evenly chosen."
    if first.given is not None:
        channels, names = first.given.shape[1], _columns(run)
        caption += " The input is no spikes but numbers: "
        low, high = pictures.ranges([s.given for s in samples if s.given is not None], first.image is not None)
        shared = (low == low[0]).all() and (high == high[0]).all()
        if channels <= pictures.TRACES:
            named = f" ({', '.join(names)})" if 1 < channels == len(names) else ""
            caption += f"its trace{'' if channels == 1 else 's'}{named}{'' if shared else ', each in its own range'}."
        elif shared:
            caption += f"one row to a channel, from {low[0]:.3g} (paper) to {high[0]:.3g} (full ink)."
        else:
            caption += "one row to a channel, from its least value (paper) to its largest (full ink)."
    elif section(run.recipe, "encoder").get("name") == "direct" and INPUT not in first.spikes:
        caption += " The input is fed as a steady current, not as spikes."
    if section(section(run.recipe, "model"), "hybrid"):
        caption += " A mark is a whole number other than zero"
        below = any((s < 0).any() for sample in samples for s in sample.spikes.values())
        caption += ": blue above it, red below, the fuller the larger." if below else "."
    if first.belief is not None:
        caption += " At the right, the probability of each class as the spikes come in."
    return Section("raster", "Spikes", caption, [pictures.raster(samples, classes)], wide=True)


def _samples(run: RunData) -> tuple[list[pictures.Sample], list[str]]:
    layers = {INPUT: "raster_events"}
    hidden = sorted((key for key in run.arrays if key.removeprefix("raster_").isdigit()), key=lambda key: int(key[7:]))
    layers |= {f"layer {key.removeprefix('raster_')}": key for key in hidden}
    spikes = {name: _spikes(run, key) for name, key in layers.items() if key in run.arrays}
    if not spikes:
        return [], []
    count = next(iter(spikes.values())).shape[2]
    if any(events.shape[2] != count for events in spikes.values()):
        refuse(f"{run.path / 'predictions.npz'} raster", "layers of unequal numbers of samples", "(T, units, S)")
    targets, images, given = (run.arrays.get(f"raster_{name}") for name in ("targets", "images", "inputs"))
    index, probabilities = run.arrays.get("raster_index"), run.arrays.get("probabilities")
    if given is not None and given.shape[2] != count:
        refuse(f"{run.path / 'predictions.npz'} raster_inputs", f"shape {given.shape}", f"(T, channels, {count})")
    if probabilities is not None and probabilities.ndim != 3:
        probabilities = None
    images = images if images is not None and len(images) == count else None
    steady = given is not None and (given == given[:1]).all()
    # A mark for "not zero" tells nothing of real numbers; nor does a picture's current that never changes.
    direct, marks = section(run.recipe, "encoder").get("name") == "direct", spikes.get(INPUT)
    if given is not None or (direct and marks is not None and bool((marks == marks[:1]).all())):
        if len(spikes) > 1:
            spikes.pop(INPUT, None)
        given = None if images is not None and steady else given
    classes = run.classes(probabilities.shape[2] if probabilities is not None else 0)
    labels = targets if targets is not None and targets.ndim == 1 else ()
    samples = [
        pictures.Sample(
            _label(classes, labels[s]) if s < len(labels) else f"{s + 1}",
            None if images is None else images[s],
            {name: events[:, :, s] for name, events in spikes.items()},
            _belief(run, probabilities, None if index is None or s >= len(index) else int(index[s])),
            None if given is None else given[:, :, s].astype(float),
        )
        for s in range(min(count, MOST_SAMPLES))
    ]
    if any(sample.belief is None for sample in samples):
        samples = [replace(sample, belief=None) for sample in samples]
    return samples, classes


def _spikes(run: RunData, key: str) -> Array:
    """(T, units, S); a layer with more axes (channels, height, width) has them made one."""
    found = run.arrays[key]
    if found.ndim < 3 or 0 in found.shape:
        refuse(f"{run.path / 'predictions.npz'} {key}", f"shape {found.shape}", "(T, units, S)")
    return found.reshape(found.shape[0], -1, found.shape[-1])


def _label(classes: list[str], target: object) -> str:
    k = int(str(target)) if str(target).isdecimal() else -1
    return classes[k] if 0 <= k < len(classes) else str(target)


def _belief(run: RunData, probabilities: Array | None, number_for_good: int | None) -> Array | None:
    index = run.arrays.get("index")
    if probabilities is None or index is None or number_for_good is None or len(index) != probabilities.shape[1]:
        return None
    rows = np.flatnonzero(index == number_for_good)
    # One answer, at the end of a sequence, is no curve.
    shown = len(rows) > 0 and probabilities.shape[2] > 1 and len(probabilities) > 1
    return run.tempered(probabilities[:, rows[0]]) if shown else None
