"""Accuracy, bits and spikes of one network with quantisers, at many step sizes: its whole curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.checks import check_finite
from bitspike.energy.fan_out import fan_outs
from bitspike.energy.levels import LevelCollector
from bitspike.errors import refuse
from bitspike.layers.modes import evaluating
from bitspike.neurons.quantiser_control import at_step, quantisers, redraw_carry
from bitspike.targets import answers, class_targets, classes_of

FACTORS = (math.inf, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5)
Batch = tuple[Tensor, ...]


def sweep(
    model: nn.Module,
    data: Callable[[], Iterable[Batch]] | Sequence[Batch],
    factors: Sequence[float] = FACTORS,
    *,
    steps: Sequence[int] | None = None,
    seed: int = 0,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> list[dict[str, Any]]:
    """One row of numbers for each number of presentations and each factor on the step sizes.

    model: gives read-outs (B, C), such as a hybrid. data: batches (x, targets), with the examples' numbers third if
    their draws of the carry are to depend on nothing else; a list, or a function that begins anew. factors: see
    `neurons.at_step`; infinity is the static network. steps: numbers of presentations to set, for models that have
    them. progress: called with each row.

    A row: steps, factor (None: static), accuracy, examples, and unless static of `energy.levels`, in total: bits
    (average), bits_range (average_range), entropy, significant, silent, spikes (per unit and presentation of an
    example), adds (additions of weights per example, over all steps). With limits, clipped: the share of activities
    that lay beyond them.
    """
    if not list(quantisers(model)):
        refuse("sweep model", type(model).__name__, "a model with quantisers (see hybridise)")
    for factor in factors:
        if not factor > 0:
            refuse("sweep factor", factor, "positive numbers, infinity for the static network")
    plan = [None] if steps is None else list(steps)
    if plan != [None] and getattr(model, "steps", None) is None:
        refuse("sweep steps", list(plan), "none: this model steps through its input")
    if not callable(data) and not isinstance(data, Sequence):
        wanted = "a list of batches (x, targets), or a function that makes them at each call"
        refuse("sweep data", f"a {type(data).__name__}, which can be gone through once", wanted)
    batches = data if callable(data) else lambda: data
    before = getattr(model, "steps", None)
    rows: list[dict[str, Any]] = []
    reach: dict[str, Tensor] | None = None
    with evaluating(model):
        try:
            for number in plan:
                if number is not None:
                    model.steps = number  # type: ignore[assignment]
                for factor in factors:
                    if number != plan[0] and math.isinf(factor):
                        continue
                    if reach is None:
                        reach = fan_outs(model, _first(batches())[:2])
                    row = {"steps": getattr(model, "steps", None), **_row(model, batches(), factor, reach, seed)}
                    rows.append(row)
                    if progress is not None:
                        progress(row)
        finally:
            if plan != [None]:
                model.steps = before  # type: ignore[assignment]
            redraw_carry(model)
            for _, quantiser in quantisers(model):
                quantiser.clipped = None
    return rows


def _first(batches: Iterable[Batch]) -> Tensor:
    for batch in batches:
        return _checked(batch)[0]
    refuse("sweep data", "no example", "batches (x, targets): a list, or a function that makes them at each call")


def _checked(batch: Any) -> Batch:
    if not isinstance(batch, tuple | list) or len(batch) < 2 or not all(isinstance(p, Tensor) for p in batch[:2]):
        refuse("sweep data", f"a batch that is a {type(batch).__name__}", "batches of tensors (x, targets)")
    if batch[0].ndim < 1 or not len(batch[0]):
        refuse("sweep data", f"inputs {tuple(batch[0].shape)}", "batches with examples")
    check_finite("sweep data", batch[0])
    return tuple(batch)


@torch.no_grad()
def _row(
    model: nn.Module, batches: Iterable[Batch], factor: float, reach: dict[str, Tensor], seed: int
) -> dict[str, Any]:
    hits = examples = 0
    collector = LevelCollector(model, reach)
    limited = [q for _, q in quantisers(model) if q.limit is not None]
    for quantiser in limited:
        quantiser.clipped = [0, 0]
    with at_step(model, factor), collector:
        for number, batch in enumerate(batches):
            x, targets, *index = _checked(batch)
            if index:
                redraw_carry(model, seed, "sweep", examples=index[0])
            else:
                redraw_carry(model, seed, "sweep", number)
            scores = model(x)
            if not isinstance(scores, Tensor) or scores.ndim != 2:
                came = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
                refuse("sweep read-out", came, "scores (B, C)")
            y = class_targets("sweep targets", targets, len(scores), classes_of(scores))
            hits += int((answers(scores) == y.to(scores.device)).sum())
            examples += len(y)
    row: dict[str, Any] = {"factor": None if math.isinf(factor) else factor, "accuracy": hits / examples}
    row["examples"] = examples
    if limited:
        counted = [q.clipped for q in limited if q.clipped]
        beyond, values = sum(pair[0] for pair in counted), sum(pair[1] for pair in counted)
        row["clipped"] = beyond / values if values else None
    if not math.isinf(factor):
        total = collector.levels().total
        row |= {"bits": total.average, "bits_range": total.average_range, "entropy": total.entropy}
        row |= {"significant": total.significant, "silent": total.silent, "most_levels": total.most_levels}
        row |= {"spikes": total.spikes, "adds": total.adds}
    return row
