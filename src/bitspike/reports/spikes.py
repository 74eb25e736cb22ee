"""A network run as spikes beside itself as it was trained: soft rates (spiking.json) and ReLUs (relu_spiking.json)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bitspike.errors import refuse
from bitspike.reports.checked import Array
from bitspike.reports.measurement import Measurement, Progress, energy_lines, reading
from bitspike.reports.rundata import RunData, number, section
from bitspike.reports.sections import Section
from bitspike.reports.style import BLUE, INK, MUTED, ORANGE, PANEL, ends, panel, percent_axis, short, styled, tell
from bitspike.reports.tables import Table
from bitspike.reports.text import NONE, fixed, percent, whole
from bitspike.tables.measurement import ReluSpiking, Spiking

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINT = 0.01


@dataclass(frozen=True)
class Layer:
    """neurons and spikes: of one image; rate: of a neuron."""

    name: str
    neurons: float
    rate: float


@dataclass(frozen=True)
class AsSpikes:
    """Accuracies as spikes and as trained; `curve`: at times or steps `at`, both (E,), as spikes; rates by layer."""

    found: dict[str, Any]
    accuracy: float
    trained: float
    at: Array
    curve: Array
    layers: list[Layer]
    mean_rate: float | None

    @property
    def images(self) -> str:
        return f"{whole(number(self.found, 'examples'))} {self.found.get('split', 'test')} images"

    @property
    def difference(self) -> float:
        return self.accuracy - self.trained

    @property
    def compared(self) -> str:
        """'0.56 points less often than'."""
        points = f"{abs(100 * self.difference):.2f}"
        if points == "0.00":
            return "as often as"
        return f"{points} points {'more' if self.difference > 0 else 'less'} often than"


def soft_rates(run: RunData) -> AsSpikes | None:
    """What spiking.json says; times in ms. None without an accuracy; refused where rows are not readable."""
    found = run.measured["spiking"]
    accuracy, trained = number(found, "accuracy"), number(found, "twin")
    if accuracy is None or trained is None:
        return None
    where = f"{run.path / 'spiking.json'}"
    rows = _rows(where, found, "over_time", "time", "accuracy")
    at, curve = ([float(row[name]) for row in rows] for name in ("time", "accuracy"))
    _rows(where, found, "windows", "start", "end", "accuracy")
    rows = _rows(where, found, "layers", "neurons", "rate")
    layers = [Layer(str(row.get("name", k)), row["neurons"], row["rate"]) for k, row in enumerate(rows, 1)]
    return AsSpikes(found, accuracy, trained, 1000 * np.array(at), np.array(curve), layers, number(found, "mean_rate"))


def relus(run: RunData) -> AsSpikes | None:
    """What relu_spiking.json says, step by step. None without a curve; refused where it is not readable."""
    found, where = run.measured["relu_spiking"], f"{run.path / 'relu_spiking.json'}"
    curve, trained = found.get("accuracy"), number(found, "ann")
    if curve is None or trained is None:
        return None
    if not isinstance(curve, list) or not curve or any(number({"": share}, "") is None for share in curve):
        refuse(f"{where} accuracy", "no list of numbers", "one number for each step")
    neurons, rates = section(found, "neurons"), section(found, "rates")
    if any(number(values, name) is None for name in rates for values in (neurons, rates)):
        refuse(f"{where} rates", "an unreadable layer", "a rate and a number of neurons for each layer")
    layers = [Layer(name, neurons[name], rate) for name, rate in rates.items()]
    at = np.arange(1.0, len(curve) + 1)
    return AsSpikes(found, curve[-1], trained, at, np.array(curve), layers, number(found, "mean_rate"))


def _rows(where: str, found: dict[str, Any], key: str, *names: str) -> list[dict[str, Any]]:
    rows = found.get(key, [])
    if not isinstance(rows, list) or any(number(row, name) is None for row in rows for name in names):
        refuse(f"{where} {key}", "an unreadable row", ", ".join(names))
    return rows


def soft_table(of: AsSpikes) -> Table:
    """The reading of each window; what they share stands in the last row, which is the one that counts."""
    found = of.found
    time, dt, tau = (number(found, name) for name in ("time", "dt", "tau_s"))
    steps = f"{time / dt:,.0f} of {_ms(dt)} ms" if time is not None and dt else NONE
    synapse = f"{found['synapse']}, {_ms(tau)} ms" if found.get("synapse") else "none"
    rate = NONE if of.mean_rate is None else f"{of.mean_rate:.1f}\u202fHz"
    shared = [synapse, steps, whole(number(found, "spikes")), rate]
    rows = []
    for row in found.get("windows") or [{"accuracy": of.accuracy}]:
        window = f"{_ms(row['start'])} to {_ms(row['end'])} ms" if "end" in row else NONE
        less = signed(row["accuracy"] - of.trained)
        rows.append(["", window, percent(row["accuracy"], 2), percent(of.trained, 2), less, *("" for _ in shared)])
    rows[-1] = [of.images, *rows[-1][1:5], *shared]
    head = ["", "answer over", "as spikes", "as trained", "points", "synapse", "steps", "spikes per image", "mean rate"]
    return Table(head, rows)


def relu_table(of: AsSpikes) -> Table:
    """Accuracies, steps and spikes of a ReLU network as spikes."""
    found = of.found
    within = number(found, "within_a_point")
    spikes = [value for name in section(found, "spikes") if (value := number(found, "spikes", name)) is not None]
    row = [
        of.images, percent(of.accuracy, 2), percent(of.trained, 2), signed(of.difference),
        percent(number(found, "limit"), 2), "never" if within is None else f"from step {within:.0f}",
        whole(len(of.curve)), whole(sum(spikes)) if spikes else NONE, fixed(of.mean_rate),
    ]  # fmt: skip
    head = [
        "", "as spikes", "as trained", "points", "cut off", "within a point", "steps", "spikes per image",
        "per neuron and step",
    ]  # fmt: skip
    note = "Cut off: what long runs tend to, the network as trained with activations limited to the thresholds."
    return Table(head, [row], note)


def signed(difference: float) -> str:
    """-0.0056 -> '−0.56': points of percentage."""
    text = f"{100 * difference:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def _ms(seconds: float | None) -> str:
    return NONE if seconds is None else f"{1000 * seconds:g}"


@styled
def over_time(of: AsSpikes, window: tuple[float, float] | None) -> Figure:
    """Accuracy as spikes over the ms an image has been seen; dashed: as trained; shaded: the window, in ms."""
    figure, axes = panel()
    if window is not None:
        axes.axvspan(*window, color=ORANGE, alpha=0.16, linewidth=0)
    _lines(axes, of, dots=40)
    axes.set(xlabel="ms of an image seen", title="Accuracy over time", xlim=(0, 1.02 * float(of.at[-1])))
    return _beside(figure, axes, of, "ms")


@styled
def over_steps(of: AsSpikes) -> Figure:
    """Accuracy as spikes over steps; dashed: as trained; shaded: the point below it; dotted: from where it is kept."""
    figure, axes = panel()
    axes.axhspan(of.trained - POINT, of.trained, color=ORANGE, alpha=0.25, linewidth=0)
    _lines(axes, of, dots=12)
    if (within := number(of.found, "within_a_point")) is not None:
        axes.axvline(within, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="steps seen", title="Accuracy over steps")
    return _beside(figure, axes, of, "steps")


def _lines(axes: Axes, of: AsSpikes, dots: int) -> None:
    marker = "o" if len(of.at) <= dots else ""
    axes.plot(of.at, of.curve, color=BLUE, marker=marker, markersize=3.2, label="as spikes")
    axes.axhline(of.trained, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label="as trained")


def _beside(figure: Figure, axes: Axes, of: AsSpikes, unit: str) -> Figure:
    """The names of both at the ends of their lines, and what the figure shows in words."""
    percent_axis(axes)
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    ends(axes, [("as trained", of.trained, INK), ("as spikes", float(of.curve[-1]), BLUE)])
    first, last = (f"{100 * share:.1f} %" for share in (of.curve[0], of.curve[-1]))
    trained = f"as trained {100 * of.trained:.1f} %"
    return tell(figure, f"Accuracy as spikes: {first} after {of.at[0]:g} {unit}, {last} after {of.at[-1]:g}; {trained}")


@styled
def layer_rates(layers: Sequence[Layer], label: str, unit: str) -> Figure:
    """One bar for each layer, the first on top."""
    figure, axes = panel(PANEL[0], max(PANEL[1], 0.7 + 0.28 * len(layers)))
    rows, rates = np.arange(len(layers)), [layer.rate for layer in layers]
    axes.barh(rows, rates, 0.62, color=BLUE)
    for row, rate in zip(rows, rates, strict=True):
        axes.annotate(f"{rate:.3g}{unit}", (rate, row), (4, 0), textcoords="offset points", va="center", fontsize=8.5)
    names, neurons = [short(layer.name) for layer in layers], [f"{whole(layer.neurons)} neurons" for layer in layers]
    if len(layers) <= 6:
        # Ticks of their own, not lines of one text: lines are set apart by the widths of matplotlib's font.
        axes.set_yticks(rows - 0.12, names)
        axes.set_yticks(rows + 0.13, neurons, minor=True, fontsize=7.5)
    else:
        axes.set_yticks(rows, [f"{name}: {count}" for name, count in zip(names, neurons, strict=True)])
    axes.set(xlabel=label, title="Rates by layer", ylim=(len(layers) - 0.4, -0.6), xlim=(0, 1.18 * max(rates) or 1))
    axes.tick_params(axis="y", which="both", length=0)
    axes.grid(False, axis="y")
    axes.grid(axis="x")
    each = (f"{short(layer.name)} {layer.rate:.3g}{unit}" for layer in layers)
    return tell(figure, f"Rates by layer, {label}: {', '.join(each)}")


class SoftRates(Measurement):
    """Soft rates run as spikes (`bitspike evaluate --spiking`)."""

    file = Spiking.file
    account = "as spikes"

    def __init__(self, **how: Any) -> None:
        self.how = how

    def measure(self, run: Any, part: str, data: Path | None = None, progress: Progress = None) -> dict[str, Any]:
        """See `studies.spiking`."""
        from bitspike.studies.spiking import evaluate_spiking

        return evaluate_spiking(run, part, data=data, progress=progress, **self.how)

    def lines(self, found: dict[str, Any]) -> Iterator[str]:
        """Accuracy beside the twin's, spikes by layer, energy."""
        last = found["windows"][-1]
        between = "from rest" if found["reset"] else "back to back"
        yield (
            f"{found['examples']:,} {found['split']} images of {1000 * found['time']:g} ms, {between}, "
            f"answers over {1000 * last['start']:g} to {1000 * last['end']:g} ms"
        )
        yield reading("accuracy", f"{found['accuracy']:.4f}  as spikes")
        yield reading("twin", f"{found['twin']:.4f}  as trained, same answer on {found['agreement']:.2%}")
        yield reading("spikes", f"{found['spikes']:,.0f} per image, {found['mean_rate']:.1f} Hz")
        for layer in found["layers"]:
            yield reading(layer["name"], f"{layer['neurons']:,} neurons, {layer['rate']:.1f} Hz")
        yield reading("took", f"{found['seconds']:.1f} s on {found['threads']} threads")
        yield from energy_lines(found["energy"])

    @classmethod
    def sections(cls, run: RunData, found: dict[str, Any]) -> list[Section]:
        """Accuracy over time, rates, and the settings."""
        of = soft_rates(run)
        if of is None:
            return []
        time, windows = number(of.found, "time"), of.found.get("windows")
        window = (1000 * windows[-1]["start"], 1000 * windows[-1]["end"]) if windows else None
        shown = "from rest" if of.found.get("reset") else "back to back"
        shown += f", {1000 * time:g} ms each" if time is not None else ""
        caption = f"As spikes on {of.images} ({shown}) the network is right {of.compared} as it was trained."
        drawn = []
        if len(of.at) > 1:
            drawn.append(over_time(of, window))
            caption += " The line is its answer had the image ended there"
            if window is not None:
                last = f"{window[1] - window[0]:g} ms"
                caption += f", over the last {last}; shaded is the window of the answer in the table"
            caption += ". Dashed: as trained."
        if of.layers:
            drawn.append(layer_rates(of.layers, "spikes per second and neuron (Hz)", "\u202fHz"))
            caption += " Bars: how often the neurons of each layer fire on average."
        return [Section("as-spikes", "Run as spikes", caption, drawn, table=soft_table(of))]


class Relus(Measurement):
    """ReLUs run as spikes whose rates are the activations (`bitspike evaluate --spiking`)."""

    file = ReluSpiking.file
    account = "as spikes whose rates are its activations"

    def __init__(self, time: float, dt: float, most: int | None, reset: bool) -> None:
        # Every image begins at rest: `reset` says nothing new.
        self.time, self.dt, self.most = time, dt, most

    @classmethod
    def takes(cls, run: Any) -> bool:
        """Whether the run is of ReLUs."""
        from bitspike.studies.relu_spiking import is_relu_run

        return is_relu_run(run)

    def measure(self, run: Any, part: str, data: Path | None = None, progress: Progress = None) -> dict[str, Any]:
        """See `studies.relu_spiking`."""
        from bitspike.convert.entrance import MOST_STEPS
        from bitspike.studies.relu_spiking import evaluate_rates

        steps = round(self.time / self.dt) if self.dt > 0 else 0
        if steps < 1 or abs(steps * self.dt - self.time) > 1e-6 * self.time:
            refuse("--time", f"{1000 * self.time:g} ms", f"a whole number of steps of {1000 * self.dt:g} ms")
        if steps > MOST_STEPS:
            refuse("--dt", f"{1000 * self.dt:g} ms", f"at most {MOST_STEPS:,} steps in {1000 * self.time:g} ms")
        return evaluate_rates(run, part, steps=steps, most=self.most, data=data, progress=progress)

    def lines(self, found: dict[str, Any]) -> Iterator[str]:
        """The accuracy-time curve at powers of two, rates by layer."""
        steps, within = found["steps"], found["within_a_point"]
        yield f"{found['examples']:,} {found['split']} images, {steps} steps of {1000 * self.dt:g} ms from rest"
        for step in sorted({2**k for k in range(steps.bit_length())} | {steps}):
            yield reading(f"step {step}", f"{found['accuracy'][step - 1]:.4f}")
        reached = "never" if within is None else f"from step {within} on"
        yield reading("as trained", f"{found['ann']:.4f}  within a point of it: {reached}")
        yield reading("cut off", f"{found['limit']:.4f}  what long runs tend to: activations up to the thresholds")
        yield reading("spikes", f"{found['spikes_per_neuron']:.2f} per neuron and image")
        for name, neurons in found["neurons"].items():
            yield reading(name, f"{neurons:,} neurons, {found['rates'][name]:.3f} spikes per neuron and step")
        yield from (f"note: {note}" for note in found["notes"])
        yield reading("took", f"{found['seconds']:.1f} s on {found['threads']} threads")

    @classmethod
    def sections(cls, run: RunData, found: dict[str, Any]) -> list[Section]:
        """Accuracy over steps, rates, and the numbers."""
        of = relus(run)
        if of is None:
            return []
        steps, within = len(of.curve), number(of.found, "within_a_point")
        counted = f"{steps} steps" if steps > 1 else "one step"
        caption = f"After {counted} on {of.images} the spikes are right {of.compared} the network as trained."
        drawn = []
        if steps > 1:
            drawn.append(over_steps(of))
            kept = "not within a point of it (shaded) at the end"
            if within is not None:
                kept = f"within a point of it (shaded) from step {within:.0f} on (dotted)"
            caption += f" Dashed: as trained; the mean output since the image began is {kept}."
        if of.layers:
            drawn.append(layer_rates(of.layers, "spikes per neuron and step", ""))
            caption += " Bars: how often the neurons of each layer fire on average."
        return [Section("relu-spikes", "Activations as spikes", caption, drawn, table=relu_table(of))]
