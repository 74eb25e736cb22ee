"""A set of image files: its size, colour and depth, what is white and what lies behind transparent pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from bitspike.data.images import BACKGROUNDS, Head, Setting, numbers, opened, read_images
from bitspike.errors import refuse

WHITE = {"8-bit": 255.0, "16-bit": 65535.0}
FOUND_WHITES = {"32-bit": (255.0, 65535.0), "float": (1.0, 255.0, 65535.0)}
# Of what the network sees: below it, a note says that the pictures are dark.
DARK = 0.1


@dataclass(frozen=True)
class Pictures:
    """The images of a set: x float32 (N, C, H, W) in [0, 1], how they were read, and what is to be said of them."""

    x: Tensor
    setting: Setting
    notes: tuple[str, ...]


def _head(path: Path) -> Head:
    with opened(path) as (_, head):
        return head


def read_set(
    paths: Sequence[Path], size: tuple[int, int] | None, channels: int | None, white: float | None
) -> Pictures:
    """The images of a set, resized to `size` (height, width; default the commonest), with 1 or 3 `channels`
    (default 3 if any has colour). white: the pixel that becomes 1, for depths other than 8 bits."""
    heads = [_head(path) for path in paths]
    notes = []
    sizes = Counter((head.height, head.width) for head in heads)
    height, width = size or sizes.most_common(1)[0][0]
    others = len(heads) - sizes[height, width]
    if others:
        notes.append(f"{others:,} of {len(heads):,} images are not {height} x {width} and are resized to it")
    first = heads[0].depth
    for path, head in zip(paths, heads, strict=True):
        if head.depth != first:
            refuse(str(path), f"{head.depth} pixels", f"{first}, as in {paths[0]}")
    colours = channels or (1 if all(head.grey for head in heads) else 3)
    if first == "8-bit":
        if white is not None:
            refuse("folder option white", white, "it left out (8-bit pixels have 255)")
        background = _background(paths, heads)
        if background is not None:
            notes.append(f"transparent pictures are laid on {background}")
        setting = Setting(background=background)
    else:
        largest = _largest(paths)
        setting = Setting(first, _white(first, largest, white, paths[0].parent))
        if largest < DARK * setting.white:
            shown = f"the largest pixel is {largest:g} and white is {setting.white:g}"
            notes.append(f"dark pictures: {shown}; data.options.white={largest:g} would use the whole range")
        elif first not in WHITE:
            notes.append(f"{first} pixels up to {largest:g}, of which {setting.white:g} is white")
    return Pictures(read_images(paths, (colours, height, width), setting), setting, tuple(notes))


def _largest(paths: Sequence[Path]) -> float:
    """The largest pixel of deep images."""
    largest = 0.0
    for path in paths:
        with opened(path) as (image, _):
            image.load()
            largest = max(largest, float(numbers(image, path).max()))
    return largest


def _white(depth: str, largest: float, given: float | None, where: Path) -> float:
    if given is not None:
        return given
    if depth in WHITE:
        return WHITE[depth]
    if fitting := [white for white in FOUND_WHITES[depth] if largest <= white]:
        return fitting[0]
    wanted = "up to 65535, or data.options.white, the pixel that is white"
    refuse(str(where), f"{depth} pixels up to {largest:g}", wanted)


def _background(paths: Sequence[Path], heads: Sequence[Head]) -> str | None:
    """What the transparent pictures of a set are laid on; None if all are opaque.

    contrast of a picture on g = sum of a |l - g| / sum of a          l luminance, a opacity of its pixels

    Of black, white and grey the one whose least contrast, over pictures with any ink, is largest.
    """
    contrasts = []
    transparent = False
    light = np.arange(256, dtype=np.float64)
    for path, head in zip(paths, heads, strict=True):
        if not head.transparent:
            continue
        # How much ink there is of each luminance, in bands of rows: large pictures then need no copies in floats.
        ink = np.zeros(256)
        clear = False
        with opened(path) as (image, _):
            image.load()
            pixels = np.asarray(image.convert("RGBA").convert("LA"))
            for rows in np.array_split(pixels, max(1, pixels.size >> 21)):
                ink += np.bincount(rows[..., 0].ravel(), rows[..., 1].ravel(), 256)
                clear = clear or bool((rows[..., 1] < 255).any())
        transparent = transparent or clear
        if clear and ink.any():
            contrasts.append([float(ink @ np.abs(light - grey) / ink.sum()) for grey in BACKGROUNDS.values()])
    if not transparent:
        return None
    least = np.min(contrasts, axis=0) if contrasts else np.zeros(len(BACKGROUNDS))
    return list(BACKGROUNDS)[int(least.argmax())]
