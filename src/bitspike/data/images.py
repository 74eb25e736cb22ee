"""Image files (all that Pillow reads) as values in [0, 1]."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bitspike.errors import refuse

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "F"})


def _opened(path: Path) -> Image:
    """The image, with its pixels loaded; a file that is not one is refused."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError:
        refuse(str(path), "no such file", "an image")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError):
        refuse(str(path), "a damaged file or no image", "an image that Pillow reads")


def found_shape(paths: Sequence[Path]) -> tuple[int, int, int]:
    """(channels, height, width): 3 channels if any image has colour, else 1, and the commonest size."""
    from PIL import Image, UnidentifiedImageError

    sizes: Counter[tuple[int, int]] = Counter()
    colour = False
    for path in paths:
        try:
            with Image.open(path) as image:
                sizes[(image.height, image.width)] += 1
                colour = colour or image.mode not in GREY_MODES
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError):
            refuse(str(path), "a damaged file or no image", "an image that Pillow reads")
    return (3 if colour else 1, *sizes.most_common(1)[0][0])


def read_image(path: Path, shape: tuple[int, int, int]) -> Tensor:
    """One image as float32 (C, H, W) in [0, 1], C 1 (grey) or 3 (RGB), resized bilinearly."""
    from PIL import Image

    channels, height, width = shape
    image = _opened(path)
    if image.mode.startswith("I"):
        # Pillow clips 16-bit grey at 255 when it converts to 8 bits, so the scale is brought down first.
        image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image, dtype=np.float32) / 255)
    return pixels.reshape(height, width, channels).movedim(-1, 0).contiguous()


def read_images(paths: Sequence[Path], shape: tuple[int, int, int]) -> Tensor:
    """Images as float32 (N, C, H, W) in [0, 1]."""
    out = torch.empty(len(paths), *shape)
    for row, path in zip(out, paths, strict=True):
        row.copy_(read_image(path, shape))
    return out
