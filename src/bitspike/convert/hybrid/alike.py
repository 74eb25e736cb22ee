"""Whether a network made by `hybridise` computes what the model does, told on a batch before anything is quantised."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.convert.entrance import is_half, plain_words, without_listings
from bitspike.convert.hybrid.hybrid import Hybrid
from bitspike.errors import BitspikeError, refuse
from bitspike.layers.modes import evaluating
from bitspike.neurons import at_step

ALIKE, HALF = 1e-3, 0.1  # how far answers may be off, relative to their norm
FAILURES = (RuntimeError, ValueError, TypeError, IndexError, AttributeError)
FIELD = "hybridise model"
BATCH_FIRST = "the batch as the first dimension throughout"


def check_alike(hybrid: Hybrid, model: nn.Module, x: Any, answer: Any) -> None:
    """Refuse a network that computes something else than the model does, or a model whose rows mix, where that is told.

    A model that answers differently each time tells nothing, nor one that does not take this input's dtype.
    """
    given = x.unsqueeze(0) if hybrid.time_first and hybrid.clock is not None else x
    wanted, again = _answers(model, given), _answers(model, given)
    if wanted is None or again is None or _differ(wanted, again):
        return
    if isinstance(x, Tensor) and hybrid.clock is not None and not hybrid.time_first:
        _check_rows(model, x, wanted)
    found = _tensors(answer)
    if [value.numel() for value in found] != [value.numel() for value in wanted]:
        return
    if (off := max(map(_far, found, wanted), default=0.0)) > 0:
        came = f"a model whose answers are {off:.2g} off when its calls are followed"
        refuse(FIELD, came, "code without views that are changed in place, or branches")


def _check_rows(model: nn.Module, x: Tensor, wanted: list[Tensor]) -> None:
    """Refuse a model whose answer for one row of a batch depends on which rows are shown beside it.

    wanted: its answers to the whole batch.
    """
    chosen = torch.arange(len(x) - 1, -1, -2, device=x.device)
    if len(x) < 2:
        return
    found = _answers(model, x[chosen])
    if found is None:
        return
    for mine, its in zip(found, wanted, strict=True):
        by_row = mine.ndim > 0 and its.ndim > 0 and len(mine) == len(chosen) and len(its) == len(x)
        if not by_row or _far(mine, its[chosen]) > 0:
            refuse(FIELD, "answers that depend on the other rows of a batch", BATCH_FIRST)


@torch.no_grad()
def check_presentations(hybrid: Hybrid, x: Tensor) -> None:
    """Refuse a network in which two presentations of a batch, not quantised, do not both have the answer of one."""
    with evaluating(hybrid), at_step(hybrid, math.inf):
        try:
            with without_listings():
                one, two = (hybrid.presented(x, steps=steps) for steps in (1, 2))
        except BitspikeError:
            raise
        except FAILURES as error:
            refuse(FIELD, f"code for batches of one size ({plain_words(error)})", "code for batches of any size")
    for its, mine in zip(_tensors(one), _tensors(two), strict=True):
        if _far(mine, its.expand(2, *its.shape[1:])) > 0:
            refuse(FIELD, "code in which one presentation of a batch changes the answer of another", BATCH_FIRST)


@torch.no_grad()
def _answers(model: nn.Module, x: Any) -> list[Tensor] | None:
    """What the model answers in evaluation; None where it does not take the input."""
    with evaluating(model):
        try:
            return _tensors(model(x))
        except FAILURES:
            return None


def _differ(one: list[Tensor], other: list[Tensor]) -> bool:
    return any(bool((a != b).any()) for a, b in zip(one, other, strict=True))


def _far(mine: Tensor, its: Tensor) -> float:
    """How far an answer is from another, relative to that one's norm; 0 where it is near enough."""
    size, off = float(its.double().norm()), float((mine.double().flatten() - its.double().flatten()).norm())
    relative = off / max(size, 1e-30)
    return 0.0 if relative <= (HALF if is_half(its) else ALIKE) else relative


def _tensors(answer: Any) -> list[Tensor]:
    """Real tensors in nested tuples, lists and dicts."""
    if isinstance(answer, Tensor):
        return [answer] if answer.is_floating_point() else []
    parts = answer.values() if isinstance(answer, dict) else answer if isinstance(answer, tuple | list) else ()
    return [tensor for part in parts for tensor in _tensors(part)]
