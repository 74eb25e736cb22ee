"""The rules of `bitspike init`: from what a person's data are to the recipe of a spiking network with few-bit weights.

Each rule is a function of `Facts` alone, so that the same data give the same recipe, and says why. They were found on
sets of 80 to 1,800 examples (docs/own-data.md); what was tried and did not help is in docs/findings.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Precision = Literal["bayesian", "straight-through", "full"]

# A window of the series is a quarter of it and moves by a sixteenth.
WINDOW, MOVES = 4, 16
MOST_STEPS_SEEN = 16  # of a window, where there is an answer at each step
MOST_VALUES_SEEN = 2048
STEPS_OF_CONSTANT = 4
SIDE = 32  # pixels to which larger images and sensors are brought
SMALLEST_FOR_CONVOLUTION = 12
EVENT_STEPS = 15
UPDATES, MOST_UPDATES, UPDATES_FOR_VALUES = 1000, 3000, 400
PASSES = 10
TRAVEL, TRAVEL_OF_SIGNS = 500.0, 50.0
UNBALANCED = 3.0
FEW, FEW_VALIDATION = 200, 0.2


@dataclass(frozen=True)
class Facts:
    """What is known of a data set.

    kind: classification or regression; input: vector, series, image, events; training, held: examples of the training
    and of the validation part;
    shape: of one example without time; steps: T of a series; lengths: the shortest, median and longest sequence where
    they differ; counts: examples of each class; milliseconds: of events, within which 95 % of the recordings end;
    options: of the data set, found by looking at the file; raw: an array of pictures rather than of measured values.
    """

    kind: str
    input: str
    examples: int
    training: int
    held: int
    shape: tuple[int, ...]
    steps: int | None = None
    lengths: tuple[int, int, int] | None = None
    per_step: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    groups: int | None = None
    tested: str | None = None
    milliseconds: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)
    raw: bool = False


class Choice(NamedTuple):
    """A key of the recipe, its value, and why; without a reason it is part of the choice above it."""

    key: str
    value: Any
    why: str = ""


def is_few(facts: Facts) -> bool:
    """Whether so few examples are left of the test part that more than an eighth of them should judge."""
    return facts.training + facts.held < FEW and facts.groups is None


def choices(facts: Facts, precision: Precision = "bayesian") -> list[Choice]:
    """The recipe's keys beyond its name, in the order in which they are written and printed."""
    return [*_data(facts), *_encoder(facts), *_model(facts), *_weights(precision), *_training(facts, precision)]


def _data(facts: Facts) -> Iterator[Choice]:
    yield Choice("data.set", "folder")
    if is_few(facts):
        yield Choice("data.validation", FEW_VALIDATION, f"of under {FEW} examples an eighth would judge nothing")
    most, least = max(facts.counts.values(), default=1), min(facts.counts.values(), default=1)
    if facts.kind == "classification" and most >= UNBALANCED * least:
        why = f"the largest class has {most / least:.1f} times the examples of the smallest (from {UNBALANCED:g} on)"
        yield Choice("data.class_weights", True, why)
    options = dict(facts.options)
    yield Choice("data.options.path", options.pop("path"))
    for name, value in options.items():
        yield Choice(f"data.options.{name}", value, _OPTION_REASONS.get(name, ""))
    if facts.input in ("vector", "series") and not facts.raw and "normalise" not in options:
        why = "mean 0 and variance 1 by the training part: one far value does not press all others together"
        yield Choice("data.options.normalise", "standard", why)
    if facts.input == "image" and max(facts.shape[1:]) > SIDE:
        yield Choice("data.options.size", _smaller(facts.shape), f"the longer side is brought to {SIDE} pixels")


_OPTION_REASONS = {
    "test_path": "a test file lies beside it: it is the test part and nothing else",
    "group": "no group is in two parts, so that the test part tells how new groups fare",
    "time": "x has a time axis, (N, T, ...)",
    "padding": "steps at the end that hold nothing else are behind a sequence's end",
}


def _smaller(shape: tuple[int, ...]) -> list[int]:
    """[height, width] with the longer side brought to SIDE."""
    height, width = shape[-2:]
    longer = max(height, width)
    return [max(1, round(height * SIDE / longer)), max(1, round(width * SIDE / longer))]


def _encoder(facts: Facts) -> Iterator[Choice]:
    if facts.input == "events":
        dt = max(0.1, round(facts.milliseconds / EVENT_STEPS, 1))
        yield Choice("encoder.name", "events")
        yield Choice("encoder.steps", EVENT_STEPS, f"{EVENT_STEPS} bins")
        why = f"95 % of the recordings end within {facts.milliseconds:.0f} ms, which {EVENT_STEPS} bins span"
        yield Choice("encoder.dt", dt, why)
        return
    if facts.steps is None:
        yield Choice("encoder.name", "direct", "values without a time axis: a constant current")
        yield Choice("encoder.steps", STEPS_OF_CONSTANT, "more steps cost time and bring nothing to a constant current")
        return
    if facts.steps == 1 or len(facts.shape) != 1:
        yield Choice("encoder.name", "sequence", "each time step of the data is one of the network")
        yield Choice("encoder.steps", facts.steps)
        return
    typical = facts.steps if facts.lengths is None else facts.lengths[1]
    stride, width = window(typical, math.prod(facts.shape), facts.per_step)
    width = min(width, facts.steps)
    why = "one step alone says little and a membrane forgets the order of steps: the network sees a moving window"
    yield Choice("encoder.name", "windows", why)
    yield Choice("encoder.steps", facts.steps, "time steps of the data")
    seen = f"the last {width} of {'typically ' if facts.lengths else ''}{typical} steps at once"
    yield Choice("encoder.width", width, seen + (": a quarter" if width == typical // WINDOW else ""))
    each = "an answer is wanted at each step" if facts.per_step else f"about {MOVES} steps of the network for a series"
    yield Choice("encoder.stride", stride, each)


def window(steps: int, features: int, per_step: bool) -> tuple[int, int]:
    """(stride, width) of the window over a series of `steps` steps of `features` values."""
    stride = 1 if per_step else -(-steps // MOVES)
    width = max(steps // WINDOW, 2 * stride, min(4, steps))
    if per_step:
        width = min(width, MOST_STEPS_SEEN)
    return stride, min(steps, max(stride, min(width, max(1, MOST_VALUES_SEEN // features))))


def layers(facts: Facts) -> tuple[list[str], str]:
    """The hidden layers and why."""
    if facts.kind == "regression":
        return ["128"], "values to predict: one layer, as a second one learns few examples by heart"
    if facts.input == "vector" and len(facts.shape) == 1:
        return ["128"], "a table: one layer, as a second one learns few examples by heart"
    picture = len(facts.shape) == 3 and (facts.input in ("image", "events") or (facts.raw and facts.shape[0] in (1, 3)))
    height, width = facts.shape[-2:] if picture else (0, 0)
    if facts.input == "image" and max(height, width) > SIDE:
        height, width = _smaller(facts.shape)
    smallest = min(height, width)
    shrunk: list[str] = []
    if facts.input == "events":
        while max(height, width) > SIDE + 2:
            shrunk, height, width = [*shrunk, "p2"], height // 2, width // 2
        smallest = min(height, width)
    if smallest < SMALLEST_FOR_CONVOLUTION:
        return [*shrunk, "128", "64"], "dense: there are no neighbours to look at together"
    first = "pooled to about 32 pixels, then " if shrunk else ""
    return [*shrunk, "16c5s2", "32c3s2", "128"], f"{first}two convolutions and a dense layer see neighbouring pixels"


def _model(facts: Facts) -> Iterator[Choice]:
    yield Choice("model.layers", *layers(facts))
    if facts.per_step:
        yield Choice("learner.decoder", "last", "y has a class for each step: each step is answered by itself")


def _weights(precision: Precision) -> Iterator[Choice]:
    reasons = {
        "bayesian": "a probability for each sign of a weight: what is shipped is ±1 and knows what it does not know",
        "straight-through": "weights are ±1, learned through real ones",
        "full": "weights are real numbers",
    }
    yield Choice("weights.precision", precision, reasons[precision])


def batch_size(training: int) -> int:
    """Examples of an update."""
    return 32 if training < 2000 else 64 if training < 20_000 else 128


def updates(facts: Facts) -> tuple[int, str]:
    """How often the weights are changed, and why."""
    if facts.kind == "regression":
        return UPDATES_FOR_VALUES, "values: few, as errors on new examples soon rise again"
    passes = math.ceil(PASSES * facts.training / batch_size(facts.training))
    least = UPDATES + UPDATES // 2 if len(facts.counts) > 10 else UPDATES
    count = min(max(passes, least), MOST_UPDATES)
    if count == least:
        many = f" and a half more for {len(facts.counts)} classes" if least > UPDATES else ""
        return count, f"signs want about {UPDATES:,} updates to become certain{many}, however few examples"
    most = f", {MOST_UPDATES:,} updates at most" if count == MOST_UPDATES else ""
    return count, f"{PASSES} passes over the examples{most}"


def _training(facts: Facts, precision: Precision) -> Iterator[Choice]:
    yield Choice("optimizer.lr", 5e-3, "gains and offsets of the norms, and real weights")
    if precision != "full":
        travel = TRAVEL if precision == "bayesian" else TRAVEL_OF_SIGNS
        if facts.kind == "regression":
            travel *= UPDATES_FOR_VALUES / UPDATES
        why = "the way a latent weight can go in all updates together: far enough that its sign becomes certain"
        yield Choice("latent_optimizer.lr_sum", travel, why)
    yield Choice("schedule.kind", "one-cycle", "the rate rises for a fifth of training and falls to nothing")
    yield Choice("training.updates", *updates(facts))
    yield Choice("training.batch", batch_size(facts.training), f"{facts.training:,} examples to learn from")
