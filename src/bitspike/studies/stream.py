"""How circuits see and learn a stream: likelihoods, learning signal, traces, generated symbols.

log-likelihood   log p of the outputs that are clamped to the true class, per step, on a whole split: what the rules
                 climb, beside that of the next class and of sampled symbols (the papers' code prints the last)
stream           a copy of the learner goes on learning a few examples: its signal, and the size of its traces
generated        what the circuits emit when outputs are free, and hidden ones when outputs are clamped
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import refuse
from bitspike.kernels.cpu import circuit_parts as codes
from bitspike.learners.circuits import CircuitLearner
from bitspike.neurons.winner_take_all import one_hot
from bitspike.run.assemble import encode
from bitspike.run.finished import Run

MOST_UNITS = 60  # of the symbols that are kept for the page


def streamed(
    run: Run, part: str, examples: int, learned: int, data: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Plain values, as stream.json holds them, of the first `examples` of a split and `learned` training examples."""
    learner = run.learner
    if not isinstance(learner, CircuitLearner):
        refuse("--measure stream", f"a run of learner.rule '{run.recipe.learner.rule}'", "one of 'vowel' or 'glm'")
    split = run.split(part, data)
    rows = torch.arange(min(examples, len(split)))
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for some in rows.split(run.recipe.evaluation.batch):
        events = encode(run.recipe, run.encoder, split.x[some], some, 0).to(run.dtype)
        found.append(_likelihoods(learner, events, split.y[some]))
        if progress is not None:
            progress(int(some[-1]) + 1, len(rows))
    right, other, sampled = (torch.cat(parts, 1).double().mean(1) for parts in zip(*found, strict=True))
    return {
        "split": part,
        "examples": len(rows),
        "log_likelihood": float(right.mean()),
        "log_likelihood_of_another_class": float(other.mean()),
        "log_likelihood_of_sampled_symbols": float(sampled.mean()),
        "over_time": [
            {"step": step, "true_class": a, "another_class": b}
            for step, (a, b) in enumerate(zip(right.cumsum(0).tolist(), other.cumsum(0).tolist(), strict=True), 1)
        ],
        "learning": _learning(run, learner, data, learned),
        "generated": _generated(run, learner, split),
    }


def _likelihoods(learner: CircuitLearner, events: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log p (T, B) of outputs clamped to the true class, to the next one, and of all circuits' sampled symbols."""
    keys = (learner.seed, "likelihood")
    right = learner.presented(events, y, keys).log_p
    other = learner.presented(events, (y + 1) % learner.model.outputs, keys).log_p
    sampled = learner.model(events, keys=keys)
    again = learner.model(events, sampled.symbols[:, :, learner.model.hidden :].contiguous(), keys)
    return right, other, again.log_p


def _learning(run: Run, learner: CircuitLearner, data: Path | None, examples: int) -> dict[str, Any]:
    """Signal, log p and size of eligibility traces at each step of the first training examples, which a copy learns."""
    made = copy.deepcopy(learner)
    columns = made.model.circuits * made.model.symbols
    split = run.split("train", data)
    found: dict[str, list[float]] = {"log_p": [], "divergence": [], "signal": [], "trace": []}
    ends = []
    for row in range(min(examples, len(split))):
        events = encode(run.recipe, run.encoder, split.x[row : row + 1], torch.tensor([row]), 0).to(run.dtype)
        for step in range(len(events)):
            made.fit_batch(events[step : step + 1], split.y[row : row + 1].reshape(-1)[:1], reset=step == 0)
            logs = made.last
            for name, place in (("log_p", codes.LOG_P), ("divergence", codes.DIVERGENCE), ("signal", codes.SIGNAL)):
                found[name].append(float(logs[:, -1, place].mean()))
            assert made.state is not None
            found["trace"].append(float(abs(made.state.arrays["own_traces"][: 2 * columns]).mean()))
        ends.append(len(found["signal"]))
    return {**found, "ends": ends}


def _generated(run: Run, learner: CircuitLearner, split: Any) -> list[dict[str, Any]]:
    """What circuits emit for an example of each class, pairs of step and circuit: outputs free, then clamped."""
    model, found = learner.model, []
    for number, name in enumerate(run.classes):
        rows = (split.y == number).nonzero().flatten()[:1]
        if len(rows) == 0:
            continue
        events = encode(run.recipe, run.encoder, split.x[rows], rows, 0).to(run.dtype)
        keys = (learner.seed, "generated")
        free, clamped = learner.model(events, keys=keys), learner.presented(events, split.y[rows], keys)
        found.append(
            {
                "class": name,
                "steps": len(events),
                "outputs": (free.symbols[:, 0, model.hidden :] >= 0).nonzero().tolist(),
                "hidden": _pairs(free.symbols[:, 0, : model.hidden], model.symbols),
                "hidden_clamped": _pairs(clamped.symbols[:, 0, : model.hidden], model.symbols),
                **_seen(run, events[:, 0]),
            }
        )
    return found


def _seen(run: Run, events: Tensor) -> dict[str, Any]:
    """Of a camera's events (T, P, H, W): pairs of step and feature, the shape, and the seconds of a step."""
    seconds = getattr(run.recipe.encoder, "dt", None)
    if events.ndim != 4 or len(events[0]) > 2 or seconds is None:
        return {}
    return {"seen": events.flatten(1).nonzero().tolist(), "shape": list(events.shape[1:]), "seconds": seconds / 1000}


def _pairs(symbols: Tensor, count: int) -> list[list[int]]:
    """[step, unit] of the symbols (T, N) that were emitted, of the first `MOST_UNITS` units."""
    pairs: list[list[int]] = one_hot(symbols, count).flatten(1)[:, :MOST_UNITS].nonzero().tolist()
    return pairs
