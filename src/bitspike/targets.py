"""Targets that somebody hands in, checked before they meet a network's answers: one rule at every door.

A comparison of answers (N,) with targets (N, 1) is one of every answer with every target; so whatever is not one whole
number for each example is refused by name. A column (N, 1) of class numbers is read as the class numbers it holds.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bitspike.errors import refuse


def class_targets(field: str, targets: Any, examples: int, classes: int | None = None) -> Tensor:
    """int64 class numbers (N,) of `examples` examples on the device they came on; classes: how many there are.

    Any integer dtype is taken, and shape (N,) or (N, 1). Refused, by `field`: other shapes (columns of 0 and 1 with a
    hint), booleans and real numbers, negative numbers and those that are no class.
    """
    if not isinstance(targets, Tensor):
        refuse(field, type(targets).__name__, f"a tensor of class numbers ({examples},)")
    y = targets.detach()
    if classes is not None and classes > 1 and tuple(y.shape) == (examples, classes):
        refuse(field, f"shape {tuple(y.shape)}, a column for each class", f"class numbers ({examples},): argmax(1)")
    if y.shape not in ((examples,), (examples, 1)):
        refuse(field, f"shape {tuple(y.shape)}", f"({examples},)")
    if y.dtype == torch.bool or y.is_floating_point() or y.is_complex():
        refuse(field, str(y.dtype), "int64 class numbers")
    y = y.reshape(examples).long()
    if y.device.type == "meta":
        refuse(field, "a tensor on device 'meta', without values", "class numbers")
    if examples:
        low, high = (int(bound) for bound in y.aminmax())
        if low < 0 or (classes is not None and high >= classes):
            known = "0 or more" if classes is None else f"0 to {classes - 1}"
            refuse(field, f"class {low if low < 0 else high}", f"classes {known}")
    return y


def value_targets(field: str, targets: Any, shape: tuple[int, ...]) -> Tensor:
    """Finite real values of this shape (N, D), in the dtype they came in; (N,) is taken where D is 1."""
    if not isinstance(targets, Tensor):
        refuse(field, type(targets).__name__, f"a tensor of values {shape}")
    y = targets.detach()
    if shape[-1] == 1 and tuple(y.shape) == shape[:-1]:
        y = y.unsqueeze(-1)
    if tuple(y.shape) != shape:
        refuse(field, f"shape {tuple(y.shape)}", f"values {shape}")
    if y.is_complex() or y.device.type == "meta":
        refuse(field, f"{y.dtype} on device '{y.device.type}'", "real numbers")
    if y.is_floating_point() and not bool(torch.isfinite(y).all()):
        refuse(field, "a value that is not finite", "finite numbers")
    return y


def classes_of(scores: Tensor) -> int:
    """How many classes scores (..., C) tell apart: C, and two for a single read-out."""
    return max(2, scores.shape[-1])


def answers(scores: Tensor) -> Tensor:
    """The class of scores (..., C): the largest, or for a single read-out whether it is above 0."""
    return (scores[..., 0] > 0).long() if scores.shape[-1] == 1 else scores.argmax(-1)
