"""Normalisation of values, as plain numbers that are stored with a run.

    minmax     x' = (x - low) / (high - low), clipped to [0, 1] when "clip"
    standard   x' = (x - mean) / std
    none       x' = x

Numbers are one per feature of the last axis (of another one with "axis": -3 for the channels of images), or a
single one for all. A constant feature gives 0.
The arithmetic is float64, so that a value restored is off by a rounding of its range, not of its size.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

Kind = Literal["minmax", "standard", "none"]

NONE: dict[str, Any] = {"kind": "none"}


def fitted(x: Tensor, kind: Kind, *, per_feature: bool, clip: bool) -> dict[str, Any]:
    """The normalisation that the (training) values x (..., F) call for.

    per_feature: one range for each of the F features, else one for all values together.
    """
    if kind == "none":
        return dict(NONE)
    rows = x.double().reshape(-1, x.shape[-1]) if per_feature else x.double().reshape(-1, 1)
    if kind == "standard":
        mean, std, low = rows.mean(0), rows.std(0, correction=0), rows.amin(0)
        constant = low == rows.amax(0)
        std = std.masked_fill(constant, 0.0)
        if bool((tiny := (std == 0) & ~constant).any()):
            # Squares of the smallest numbers are 0: these are brought to one size first.
            size = (rows - mean).abs().amax(0)
            std = torch.where(tiny, size * ((rows - mean) / size).std(0, correction=0), std)
        return {"kind": kind, "mean": torch.where(constant, low, mean).tolist(), "std": std.tolist()}
    return {"kind": kind, "low": rows.amin(0).tolist(), "high": rows.amax(0).tolist(), "clip": clip}


def scaled_from(high: float) -> dict[str, Any]:
    """Division by `high`, the largest value the format can hold (255 for 8-bit pixels)."""
    return {"kind": "minmax", "low": [0.0], "high": [high], "clip": True}


def _offset_and_scale(normalisation: dict[str, Any]) -> tuple[Tensor, Tensor]:
    if normalisation["kind"] == "standard":
        offset, scale = (torch.tensor(normalisation[k], dtype=torch.float64) for k in ("mean", "std"))
    else:
        offset, high = (torch.tensor(normalisation[k], dtype=torch.float64) for k in ("low", "high"))
        scale = high - offset
    after = (1,) * (-1 - normalisation.get("axis", -1))
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))

    def placed(values: Tensor) -> Tensor:
        # One for each pixel of an image (see `mean_image`) stands where it belongs.
        return values if values.ndim > 1 else values.reshape(-1, *after)

    return placed(offset), placed(scale)


def apply(x: Tensor, normalisation: dict[str, Any]) -> Tensor:
    """x (..., F) normalised, float32."""
    if normalisation["kind"] == "none":
        return x.float()
    offset, scale = _offset_and_scale(normalisation)
    out = (x.double() - offset) / scale
    return (out.clamp(0, 1) if normalisation.get("clip") else out).float()


def restore(x: Tensor, normalisation: dict[str, Any] | None) -> Tensor:
    """The inverse of `apply` (what was clipped stays clipped), float64; the same values for None."""
    if normalisation is None or normalisation["kind"] == "none":
        return x.double()
    offset, scale = _offset_and_scale(normalisation)
    return x.double() * scale.to(x.device) + offset.to(x.device)


def rescale(spread: Tensor, normalisation: dict[str, Any] | None) -> Tensor:
    """A spread in normalised units brought back to the data's: the scale alone is undone, float64."""
    if normalisation is None or normalisation["kind"] == "none":
        return spread.double()
    return spread.double() * _offset_and_scale(normalisation)[1].to(spread.device)
