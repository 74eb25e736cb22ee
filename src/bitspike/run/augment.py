"""Training images changed a little, drawn per example and epoch (`bitspike.draws`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bitspike.draws import uniform_per_example
from bitspike.errors import refuse
from bitspike.run.recipe import DataPart


def check_augmentation(part: DataPart, x: Any, steps: int | None = None) -> None:
    """Refuse what cannot be done to training examples x; steps: of sequences."""
    shape: Any = tuple(x.shape[1:]) if isinstance(x, Tensor) else "events"
    shape = shape if steps is None else f"{shape}, the first of which is time"
    images = isinstance(x, Tensor) and x.ndim == 4 and steps is None
    side = min(x.shape[2:]) if images else 0
    if part.shift and side <= 2 * part.shift:
        wanted = "0, or less than half the side of images (C, H, W)"
        refuse("data.shift", f"{part.shift} on examples of {shape}", wanted)
    if part.flip and not images:
        refuse("data.flip", f"true on examples of {shape}", "false, or images (C, H, W)")
    if part.crop and side < part.crop:
        refuse("data.crop", f"{part.crop} on examples of {shape}", "0, or at most the side of images (C, H, W)")


def seen_shape(part: DataPart, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an example as the network sees it."""
    return (shape[0], part.crop, part.crop) if part.crop and len(shape) == 3 else shape


def seen(part: DataPart, x: Any) -> Any:
    """Examples through the window in the middle, unless they have been cropped before."""
    if not part.crop or not isinstance(x, Tensor) or x.ndim != 4:
        return x
    top, left = (x.shape[2] - part.crop) // 2, (x.shape[3] - part.crop) // 2
    return x[:, :, top : top + part.crop, left : left + part.crop]


def augment(part: DataPart, x: Any, index: Tensor, seed: int, epoch: int) -> Any:
    """Examples `index` as the recipe changes them in this epoch."""
    if part.flip:
        x = flip_images(x, index, seed, epoch)
    if part.shift:
        # What comes in is the darkest pixel, or what the mean image leaves of the mean one.
        x = shift_images(x, index, part.shift, seed, epoch, 0.0 if part.mean_image else part.pixel_low)
    return crop_images(x, index, part.crop, seed, epoch) if part.crop else x


def flip_images(x: Tensor, index: Tensor, seed: int, epoch: int) -> Tensor:
    """Images (B, C, H, W), left and right exchanged with probability 1/2."""
    mirrored = uniform_per_example(index, (1,), seed, "flip", epoch) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)


def shift_images(x: Tensor, index: Tensor, most: int, seed: int, epoch: int, dark: float = 0.0) -> Tensor:
    """Images (B, C, H, W) each moved by up to `most` pixels both ways, `dark` coming in; drawn per example."""
    offsets = (uniform_per_example(index, (2,), seed, "shift", epoch) * (2 * most + 1)).long()
    return _windows(nn.functional.pad(x, (most,) * 4, value=dark), offsets, x.shape[2], x.shape[3])


def crop_images(x: Tensor, index: Tensor, side: int, seed: int, epoch: int) -> Tensor:
    """Windows (B, C, side, side) of images (B, C, H, W), each anywhere inside, drawn per example."""
    places = torch.tensor([x.shape[2] - side + 1, x.shape[3] - side + 1])
    offsets = (uniform_per_example(index, (2,), seed, "crop", epoch) * places).long()
    return _windows(x, offsets, side, side)


def _windows(x: Tensor, offsets: Tensor, height: int, width: int) -> Tensor:
    """The window of each image whose top left corner is at offsets (B, 2)."""
    rows = offsets[:, :1] + torch.arange(height)
    columns = offsets[:, 1:] + torch.arange(width)
    batch = torch.arange(len(x))
    moved = x.permute(0, 2, 3, 1)[batch[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)
