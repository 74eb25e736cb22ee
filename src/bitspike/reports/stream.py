"""The page of a stream that circuits saw and learned (stream.json)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bitspike.errors import refuse
from bitspike.reports.measurement import Measurement, Progress, reading
from bitspike.reports.moving import Moving, moving_picture
from bitspike.reports.rundata import RunData, number
from bitspike.reports.sections import Section
from bitspike.reports.style import BLUE, GREEN, INK, MUTED, VERMILION, panel, styled, tell
from bitspike.tables.measurement import Stream

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

READINGS = (
    ("log_likelihood", "true class"),
    ("log_likelihood_of_another_class", "another class"),
    ("log_likelihood_of_sampled_symbols", "sampled"),
)
MOST_STEPS, MOST_PAIRS, MOST_CELLS = 100_000, 1_000_000, 50_000_000


class Streamed(Measurement):
    """Likelihoods, learning signal, traces and emitted symbols of probabilistic circuits."""

    file = Stream.file

    def __init__(self, examples: int = 200, learned: int = 5) -> None:
        self.examples, self.learned = examples, learned

    @classmethod
    def takes(cls, run: Any) -> bool:
        """Circuits alone have outputs to clamp."""
        return bool(run.recipe.model.kind == "circuits")

    def measure(self, run: Any, part: str, data: Path | None = None, progress: Progress = None) -> dict[str, Any]:
        """See `studies.stream`."""
        from bitspike.studies.stream import streamed

        return streamed(run, part, self.examples, self.learned, data, progress)

    def lines(self, found: dict[str, Any]) -> Iterator[str]:
        """Log-likelihoods of the outputs in nats per step."""
        yield f"{found['examples']} {found['split']} examples, log-likelihood of clamped outputs, nats per step"
        for key, name in READINGS:
            yield reading(name, f"{found[key]:.4f}")

    @classmethod
    def check(cls, found: dict[str, Any], place: str) -> None:
        """Refuse what cannot be drawn."""
        for key, _ in READINGS:
            if number(found, key) is None:
                refuse(f"{place} {key}", type(found.get(key)).__name__, "a number")
        rows = found.get("over_time")
        wanted = ("true_class", "another_class")
        if not isinstance(rows, list) or len(rows) > MOST_STEPS or not all(
            isinstance(row, dict) and all(number(row, key) is not None for key in wanted) for row in rows
        ):  # fmt: skip
            refuse(f"{place} over_time", "rows of another form", f"a list of rows with {' and '.join(wanted)}")
        learning = found.get("learning")
        if not isinstance(learning, dict) or not all(
            _numbers(learning.get(key)) for key in ("log_p", "divergence", "signal", "trace", "ends")
        ):
            refuse(f"{place} learning", "curves of another form", "lists of numbers")
        generated = found.get("generated")
        if not isinstance(generated, list) or not all(
            isinstance(one, dict) and all(_pairs(one.get(key)) for key in ("outputs", "hidden", "hidden_clamped"))
            for one in generated
        ):
            refuse(f"{place} generated", "symbols of another form", "lists of [step, unit] for each class")
        if not all(_is_film(one) for one in generated):
            refuse(f"{place} generated", "events of another form", "[step, feature] within steps and shape")

    @classmethod
    def sections(cls, run: RunData, found: dict[str, Any]) -> list[Section]:
        """Likelihood over a presentation, signal and traces over a stream, what circuits emit."""
        caption = (
            "Left: summed log-likelihood of the output circuits while an example is shown, clamped to its true class "
            "and to another one: the distance is the evidence. Middle and right: a copy of the network learns on from "
            "a few training examples, one update a step; the signal that hidden synapses hear, and the mean size of "
            "eligibility traces. Dotted lines: a new example."
        )
        drawn = [_evidence(found["over_time"]), *_stream(found["learning"])]
        shown = [_emitted(one) for one in found["generated"][:4]]
        sections = [Section("stream", "What it hears while it learns", caption, drawn)]
        if shown:
            words = (
                "Symbols of hidden circuits (below) and outputs (above the line) for one example of a class, all of "
                "them free. The class of the output that emits most is the answer."
            )
            sections.append(Section("generated", "What the circuits emit", words, shown))
        if films := [_film(one) for one in found["generated"][:4] if "seen" in one]:
            classes = ", ".join(film.title for film in films)
            words = f"The same examples as they came in, step by step: {classes}. {films[0].caption}"
            sections.append(Section("seen", "What it was shown", words, (), films=films))
        return sections


def _numbers(values: Any) -> bool:
    return (
        isinstance(values, list) and len(values) <= MOST_STEPS and all(number({"": v}, "") is not None for v in values)
    )


def _pairs(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= MOST_PAIRS
        and all(
            isinstance(pair, list) and len(pair) == 2 and all(type(v) is int and 0 <= v <= MOST_STEPS for v in pair)
            for pair in values
        )
    )


def _is_film(one: dict[str, Any]) -> bool:
    """Whether events, if there are any, lie within frames of a size that can be drawn."""
    if "seen" not in one:
        return True
    shape, steps = one.get("shape"), one.get("steps")
    sizes = [steps, *shape] if isinstance(shape, list) and len(shape) == 3 else [0]
    if not all(type(size) is int and size > 0 for size in sizes) or sizes[1] > 2 or math.prod(sizes) > MOST_CELLS:
        return False
    seconds = number(one, "seconds")
    if seconds is None or not 0 < seconds <= 1e6 or not _pairs(one["seen"]):
        return False
    return all(step < sizes[0] and feature < math.prod(sizes[1:]) for step, feature in one["seen"])


def _film(one: dict[str, Any]) -> Moving:
    frames = np.zeros((one["steps"], math.prod(one["shape"])), np.uint8)
    at = np.asarray(one["seen"], dtype=int).reshape(-1, 2)
    frames[at[:, 0], at[:, 1]] = 1
    return moving_picture(frames.reshape(-1, *one["shape"]), one["seconds"], str(one.get("class", "a class")), 160)


@styled
def _evidence(rows: list[dict[str, float]]) -> Figure:
    figure, axes = panel()
    steps = np.arange(1, len(rows) + 1)
    for key, name, ink in (("true_class", "true class", BLUE), ("another_class", "another class", VERMILION)):
        axes.plot(steps, [row[key] for row in rows], color=ink, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("nats")
    axes.legend()
    return _titled(figure, axes, "Log-likelihood as it grows")


@styled
def _stream(learning: dict[str, list[float]]) -> list[Figure]:
    drawn = []
    for keys, title, label in (
        ((("signal", GREEN), ("log_p", BLUE)), "Learning signal (green) and log p (blue)", "nats"),
        ((("trace", INK),), "Size of eligibility traces", ""),
    ):
        figure, axes = panel()
        for key, ink in keys:
            axes.plot(np.arange(1, len(learning[key]) + 1), learning[key], color=ink, linewidth=1)
        for end in learning["ends"][:-1]:
            axes.axvline(end + 0.5, color=MUTED, linestyle=":", linewidth=0.8)
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        drawn.append(_titled(figure, axes, title))
    return drawn


@styled
def _emitted(one: dict[str, Any]) -> Figure:
    figure, axes = panel()
    hidden, outputs = (np.asarray(one[key], dtype=int).reshape(-1, 2) for key in ("hidden", "outputs"))
    top = int(hidden[:, 1].max(initial=-1)) + 2
    axes.plot(hidden[:, 0], hidden[:, 1], "|", color=MUTED, markersize=4)
    axes.plot(outputs[:, 0], outputs[:, 1] + top, "|", color=BLUE, markersize=5)
    axes.axhline(top - 0.75, color=MUTED, linewidth=0.6)
    axes.set_xlabel("step")
    axes.set_ylabel("circuit")
    return _titled(figure, axes, f"An example of {one.get('class', 'a class')}")


def _titled(figure: Figure, axes: Axes, title: str) -> Figure:
    axes.set_title(title)
    return tell(figure, title)
