"""The figures of a run's page with the sentence that tells how to read each; None where the data is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bitspike.errors import refuse
from bitspike.reports import curve, figures, pictures, spikes
from bitspike.reports.rundata import Array, RunData, number, section
from bitspike.reports.style import BLUE, ORANGE, svg
from bitspike.reports.tables import Table
from bitspike.reports.text import NONE, fixed, percent, whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SAMPLES = 4
MOST_TENSORS = 6
INPUT = "input"


@dataclass(frozen=True)
class Plate:
    """One numbered figure of the page: its panels as inline SVG. `wide` spans the page and scrolls on a phone.

    table: its numbers, below the panels.
    """

    key: str
    title: str
    caption: str
    panels: list[str]
    wide: bool = False
    table: Table | None = None


def plate(
    key: str, title: str, caption: str, drawn: Sequence[Figure], *, wide: bool = False, table: Table | None = None
) -> Plate:
    """Render the figures; the key makes their ids unique on the page."""
    panels = [svg(figure, f"{key}-{k}") for k, figure in enumerate(drawn, start=1)]
    return Plate(key, title, caption, panels, wide, table)


def plates(run: RunData) -> list[Plate]:
    """Every figure the run has data for, in reading order."""
    makers: tuple[Callable[[RunData], Plate | None], ...] = (
        learning,
        reliability,
        time_steps,
        spiking,
        soft_rates,
        relus,
        regression,
        plane,
        raster,
        weights,
        confusion,
    )
    return [made for maker in makers if (made := maker(run)) is not None]


def learning(run: RunData) -> Plate | None:
    """Loss and accuracy (or rmse) over epochs."""
    kept, best = number(run.result, "kept_epoch"), number(run.result, "best_epoch")
    mark = kept if kept is not None and kept < len(run.epochs) else best
    losses = _curves(run, ("training loss", "train", "loss"), ("validation loss", "validation", "loss"))
    if not any(label.startswith("validation") for label, _, _ in losses):
        losses += _curves(run, ("validation NLL", "validation", "nll"))
    name, title = ("rmse", "Root-mean-square error") if run.is_regression else ("accuracy", "Accuracy")
    scores = _curves(run, ("training", "train", name), ("validation", "validation", name))
    drawn = []
    for lines, heading, percents in ((losses, "Loss", False), (scores, title, name == "accuracy")):
        if lines:
            colours = [ORANGE if label.startswith("validation") else BLUE for label, _, _ in lines]
            drawn.append(figures.curves(lines, heading, "epoch", percent=percents, mark=mark, colours=colours))
    if not drawn:
        return None
    caption = (
        "Blue: examples it learns from. Orange: validation examples it does not learn from. "
        "If blue goes on improving while orange does not, it has begun to learn by heart."
    )
    if mark is not None:
        caption += f" The dotted line marks epoch {mark:.0f}, "
        caption += "the one that was kept." if mark == kept else "the best on validation."
    return plate("learning", "How it learned", caption, drawn)


def _curves(run: RunData, *wanted: tuple[str, str, str]) -> list[figures.Curve]:
    found = [(label, *run.curve(split, name)) for label, split, name in wanted]
    return [curve for curve in found if len(curve[1])]


def reliability(run: RunData) -> Plate | None:
    """Reliability diagrams before and after temperature scaling."""
    drawn = []
    raw, scaled = run.reliability(), run.reliability("reliability_scaled")
    if raw:
        title = f"As shipped, ECE {fixed(number(run.result, 'test', 'ece'))}"
        drawn.append(figures.reliability(raw, title))
    if scaled:
        title = f"After temperature scaling, ECE {fixed(number(run.result, 'test', 'scaled', 'ece'))}"
        drawn.append(figures.reliability(scaled, title))
    if not drawn:
        return None
    caption = (
        "Each dot gathers the test answers given with about the same confidence; its height is the share of them "
        "that is right. On the dashed line the network keeps its word; below it is over-confident, above it "
        "under-confident (shaded: by how much). Whiskers are 95 % Wilson intervals; the bars below count the answers."
    )
    temperature = number(run.result, "test", "scaled", "temperature")
    if scaled and temperature is not None:
        caption += (
            f" One temperature, {temperature:.2f}, fitted on validation, turns the first picture into the second."
        )
    return plate("reliability", "Does it keep its word?", caption, drawn)


def time_steps(run: RunData) -> Plate | None:
    """Accuracy and ECE (or rmse) after each time step."""
    drawn = []
    titles = (("accuracy", "Accuracy"), ("ece", "Calibration error (ECE)"))
    if run.is_regression:
        titles = (("rmse", "Root-mean-square error"), ("nll", "Negative log-likelihood"))
    for name, title in titles:
        at, values = run.over_time(name)
        if len(at) > 1:
            line = [(title, at, values)]
            drawn.append(figures.curves(line, title, "time steps seen", percent=name == "accuracy"))
    if not drawn:
        return None
    caption = (
        "A spiking network answers after every time step and may be stopped at any of them. "
        "Where the curve is flat, later steps cost energy and bring nothing."
    )
    return plate("time", "What waiting brings", caption, drawn)


def spiking(run: RunData) -> Plate | None:
    """Accuracy over spikes and bits of an ordinary network made spiking (`bitspike hybridise`)."""
    found = curve.trade(run)
    if found is None:
        return None
    drawn = [
        curve.over(found, "spikes", "Accuracy over spikes", "spikes per neuron and inference", log=True),
        curve.over(found, "bits", "Accuracy over bits", "bits per activation", log=False),
    ]
    caption = (
        "The trained network with its activities sent as whole numbers, from fine steps (right) to coarse ones (left): "
        f"each dot is one step size, measured on test. Dashed: the network as trained, {percent(found.static, 2)}. "
        "A spike is one unit of such a number; bits are log2 of how many different numbers a neuron sends, a mean over "
        "neurons. An input shown several times gives several answers, which are averaged."
    )
    best = found.chosen
    if best:
        times = {1: "once", 2: "twice"}.get(int(best["steps"]), f"{best['steps']} times")
        caption += (
            f" Ringed: chosen on validation, shown {times}, {percent(best['accuracy'], 2)} at {best['spikes']:.2f} "
            f"spikes and {best['bits']:.2f} bits."
        )
    return plate("spiking", "What spikes cost", caption, drawn)


def soft_rates(run: RunData) -> Plate | None:
    """Soft rates run as spikes (`bitspike evaluate --spiking`): accuracy over time, rates, and the settings."""
    of = spikes.soft_rates(run)
    if of is None:
        return None
    time, windows = number(of.found, "time"), of.found.get("windows")
    window = (1000 * windows[-1]["start"], 1000 * windows[-1]["end"]) if windows else None
    shown = "from rest" if of.found.get("reset") else "back to back"
    shown += f", {1000 * time:g} ms each" if time is not None else ""
    caption = f"As spikes on {of.images} ({shown}) the network is right {of.compared} as it was trained."
    drawn = []
    if len(of.at) > 1:
        drawn.append(spikes.over_time(of, window))
        caption += " The line is its answer had the image ended there"
        if window is not None:
            caption += f", over the last {window[1] - window[0]:g} ms; shaded is the window of the answer in the table"
        caption += ". Dashed: as trained."
    if of.layers:
        drawn.append(spikes.layer_rates(of.layers, "spikes per second and neuron (Hz)", "\u202fHz"))
        caption += " Bars: how often the neurons of each layer fire on average."
    return plate("as-spikes", "Run as spikes", caption, drawn, table=spikes.soft_table(of))


def relus(run: RunData) -> Plate | None:
    """ReLUs run as spikes whose rates are the activations: accuracy over steps, rates, and the numbers."""
    of = spikes.relus(run)
    if of is None:
        return None
    steps, within = len(of.curve), number(of.found, "within_a_point")
    counted = f"{steps} steps" if steps > 1 else "one step"
    caption = f"After {counted} on {of.images} the spikes are right {of.compared} the network as trained."
    drawn = []
    if steps > 1:
        drawn.append(spikes.over_steps(of))
        kept = "not within a point of it (shaded) at the end"
        if within is not None:
            kept = f"within a point of it (shaded) from step {within:.0f} on (dotted)"
        caption += f" Dashed: as trained; the mean output since the image began is {kept}."
    if of.layers:
        drawn.append(spikes.layer_rates(of.layers, "spikes per neuron and step", ""))
        caption += " Bars: how often the neurons of each layer fire on average."
    return plate("relu-spikes", "Activations as spikes", caption, drawn, table=spikes.relu_table(of))


def regression(run: RunData) -> Plate | None:
    """Mean and spread over x, or predicted against true."""
    prediction, targets = run.array("prediction", 3), run.array("targets", 2) if run.is_regression else None
    if prediction is None or targets is None:
        return None
    last, size = prediction[-1], targets.shape[1]
    if last.shape != (len(targets), 2 * size):
        refuse(f"{run.path / 'predictions.npz'} prediction", f"shape {prediction.shape}", "(T, N, 2D)")
    mean, spread = last[:, :size].astype(float), last[:, size:].astype(float)
    inputs = run.arrays.get("inputs")
    if size == 1 and inputs is not None and inputs.size == len(targets):
        drawn = [figures.spread_over_x(inputs.reshape(-1), mean[:, 0], spread[:, 0], targets[:, 0])]
        caption = (
            "The line is the prediction, the bands one and two spreads around it, the dots the true values. "
            "Where there was nothing to learn from, the bands should open."
        )
        return plate("regression", "Prediction and doubt", caption, drawn, wide=True)
    drawn = [
        figures.predicted_against_true(
            mean[:, k], spread[:, k], targets[:, k], f"Output {k + 1}" if size > 1 else "Predicted against true"
        )
        for k in range(min(size, 4))
    ]
    caption = "A dot on the dashed line is predicted exactly; its whisker is the spread the network admits to."
    return plate("regression", "Prediction and doubt", caption, drawn)


def plane(run: RunData) -> Plate | None:
    """Class probabilities over a two-dimensional input."""
    x, probability = run.array("grid_x", 2), run.array("grid_probability", 2)
    if x is None or probability is None or x.shape[1] != 2 or probability.shape[1] < 2:
        return None
    if len(x) != len(probability):
        came = f"{len(probability)} rows for {len(x)} points"
        refuse(f"{run.path / 'predictions.npz'} grid_probability", came, "one row per grid_x")
    drawn = [pictures.predictive_map(x, probability, run.classes(probability.shape[1]))]
    caption = (
        "Colour shows the likeliest class at each point, and strength how sure the network is: "
        "full colour is certainty, none is a guess. Doubt should lie between the classes and far from all data."
    )
    return plate("plane", "What it believes, everywhere", caption, drawn)


def raster(run: RunData) -> Plate | None:
    """Spikes of a few real samples, layer by layer; none of a network without a layer that spikes."""
    samples, classes = _samples(run)
    if not samples or set(samples[0].spikes) == {INPUT}:
        return None
    most = max(spikes.shape[1] for sample in samples for spikes in sample.spikes.values())
    caption = (
        "Real test examples on their way through the network: each mark is a spike, time runs to the right, "
        "one neuron to a row."
    )
    if most > pictures.MOST_UNITS:
        caption += f" Of layers with more than {pictures.MOST_UNITS} neurons, as many are shown, evenly chosen."
    if section(run.recipe, "encoder").get("name") == "direct":
        caption += " The input is fed as a steady current, not as spikes: a mark there means that it is not zero."
    if section(section(run.recipe, "model"), "hybrid"):
        caption += " A mark is a whole number other than zero."
    if samples[0].belief is not None:
        caption += " At the right, the probability of each class as the spikes come in."
    return plate("raster", "Spikes", caption, [pictures.raster(samples, classes)], wide=True)


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
    targets, images = run.arrays.get("raster_targets"), run.arrays.get("raster_images")
    index, probabilities = run.arrays.get("raster_index"), run.array("probabilities", 3)
    classes = run.classes(probabilities.shape[2] if probabilities is not None else 0)
    samples = []
    for s in range(min(count, MOST_SAMPLES)):
        samples.append(
            pictures.Sample(
                _label(run, targets[s])
                if targets is not None and targets.ndim == 1 and s < len(targets)
                else f"{s + 1}",
                images[s] if images is not None and images.ndim == 3 and len(images) == count else None,
                {name: events[:, :, s] for name, events in spikes.items()},
                _belief(run, probabilities, None if index is None else int(index[s])),
            )
        )
    if any(sample.belief is None for sample in samples):
        samples = [pictures.Sample(sample.label, sample.image, sample.spikes) for sample in samples]
    return samples, classes


def _spikes(run: RunData, key: str) -> Array:
    """(T, units, S); a layer with more axes (channels, height, width) has them made one."""
    found = run.arrays[key]
    if found.ndim < 3 or 0 in found.shape:
        refuse(f"{run.path / 'predictions.npz'} {key}", f"shape {found.shape}", "(T, units, S)")
    return found.reshape(found.shape[0], -1, found.shape[-1])


def _label(run: RunData, target: object) -> str:
    probabilities = run.arrays.get("probabilities")
    names = run.classes(probabilities.shape[-1]) if probabilities is not None else []
    k = int(str(target)) if str(target).isdigit() else -1
    return names[k] if 0 <= k < len(names) else str(target)


def _belief(run: RunData, probabilities: Array | None, number_for_good: int | None) -> Array | None:
    index = run.arrays.get("index")
    if probabilities is None or index is None or number_for_good is None or len(index) != probabilities.shape[1]:
        return None
    rows = np.flatnonzero(index == number_for_good)
    # One answer, at the end of a sequence, is no curve.
    shown = len(rows) > 0 and probabilities.shape[2] > 1 and len(probabilities) > 1
    return probabilities[:, rows[0]] if shown else None


def weights(run: RunData) -> Plate | None:
    """Histograms of p(w = +1) over training, by weight tensor; for Bayesian weights only."""
    epochs, edges = run.history.get("epochs"), run.history.get("edges")
    counts = {key.removeprefix("counts/"): n for key, n in run.history.items() if key.startswith("counts/")}
    if epochs is None or edges is None or not counts or len(epochs) == 0:
        return None
    for name, found in counts.items():
        if found.shape != (len(epochs), len(edges) - 1):
            wanted = f"({len(epochs)}, {len(edges) - 1})"
            refuse(f"{run.path / 'history.npz'} counts/{name}", f"shape {found.shape}", wanted)
    largest = sorted(counts, key=lambda name: -int(counts[name][0].sum()))[:MOST_TENSORS]
    drawn = [pictures.weight_history(epochs, edges, {name: counts[name] for name in counts if name in largest})]
    caption = (
        "Each weight is +1 with a probability of its own: in the middle it is undecided, at 0 or 1 certain. "
        "The stronger the colour, the more of the tensor's weights have that probability after that epoch."
    )
    if len(largest) < len(counts):
        caption += f" Shown are the {len(largest)} largest of {len(counts)} weight tensors."
    return plate("weights", "How the weights made up their minds", caption, drawn, wide=len(largest) > 1)


def confusion(run: RunData) -> Plate | None:
    """Confusion matrix with class names."""
    rows = run.result.get("confusion")
    if not rows:
        return None
    try:
        counts = np.array(rows, dtype=float)
    except (TypeError, ValueError):
        counts = np.empty(0)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        refuse(f"{run.path / 'result.json'} confusion", "rows of unequal length", "a square table of counts")
    classes = run.classes(len(counts))
    wrong = counts * (1 - np.eye(len(counts)))
    total = counts.sum()
    share = percent(float(wrong.sum() / total)) if total else NONE
    caption = (
        f"Rows: what it was. Columns: what the network answered. {whole(float(wrong.sum()))} of {whole(float(total))} "
        f"answers ({share}) are off the diagonal."
    )
    if wrong.any():
        true, answered = np.unravel_index(int(wrong.argmax()), wrong.shape)
        often = int(wrong[true, answered])
        times = "once" if often == 1 else "twice" if often == 2 else f"{often} times"
        caption += f" The commonest mistake: {classes[true]} taken for {classes[answered]}, {times}."
    return plate("confusion", "What it takes for what", caption, [figures.confusion(counts, classes)])
