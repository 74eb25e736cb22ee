"""Training images changed a little, drawn per example and epoch (`bitspike.draws`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bitspike.draws import uniform_per_example
from bitspike.errors import refuse
from bitspike.run.recipe import DataPart


def check_augmentation(part: DataPart, x: Any) -> None:
    """Refuse what cannot be done to training examples x."""
    shape = tuple(x.shape[1:]) if isinstance(x, Tensor) else "events"
    images = isinstance(x, Tensor) and x.ndim == 4
    if part.shift and not (images and min(x.shape[2:]) > 2 * part.shift):
        wanted = "0, or less than half the side of images (C, H, W)"
        refuse("data.shift", f"{part.shift} on examples of {shape}", wanted)
    if part.flip and not images:
        refuse("data.flip", f"true on examples of {shape}", "false, or images (C, H, W)")


def augment(part: DataPart, x: Any, index: Tensor, seed: int, epoch: int) -> Any:
    """Examples `index` as the recipe changes them in this epoch."""
    if part.flip:
        x = flip_images(x, index, seed, epoch)
    return shift_images(x, index, part.shift, seed, epoch) if part.shift else x


def flip_images(x: Tensor, index: Tensor, seed: int, epoch: int) -> Tensor:
    """Images (B, C, H, W), left and right exchanged with probability 1/2."""
    mirrored = uniform_per_example(index, (1,), seed, "flip", epoch) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)


def shift_images(x: Tensor, index: Tensor, most: int, seed: int, epoch: int) -> Tensor:
    """Images (B, C, H, W) each moved by up to `most` pixels both ways, zeros coming in; drawn per example."""
    offsets = (uniform_per_example(index, (2,), seed, "shift", epoch) * (2 * most + 1)).long()
    padded = nn.functional.pad(x, (most,) * 4)
    rows = offsets[:, :1] + torch.arange(x.shape[2])
    columns = offsets[:, 1:] + torch.arange(x.shape[3])
    batch = torch.arange(len(x))
    moved = padded.permute(0, 2, 3, 1)[batch[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)
