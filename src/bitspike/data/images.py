"""Image files (PNG, JPEG, GIF, TIFF, WebP, BMP, PGM, PPM) as values in [0, 1]: x = pixel / white.

    depth of the file                          white
    8-bit (grey, colour, palette, CMYK, 1-bit) 255
    16-bit grey                                65,535
    32-bit whole numbers, float                1 (float only), 255 or 65,535: the least that no pixel of the set exceeds

unless another `white` is given. What a file holds is used or refused by name: pixels below 0, above white or not a
number, 16-bit colour (which Pillow reads with 8 bits), animations and stacks, depths that differ within a set. A
camera's note on how it was held (EXIF) turns the picture. Transparent pictures are laid on black, white or grey,
whichever the faintest of their inks stands out from the most.

The setting is stored with a run, so that one file is later read exactly as the set was.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bitspike.data.normalise import scaled_from
from bitspike.errors import BitspikeError, refuse

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}
)
# By content, not by name: without this list Pillow would start other programs for some formats.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM")
GREY_MODES = frozenset({"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F"})
DEPTHS = {"I": "32-bit", "F": "float"}
BACKGROUNDS = {"black": 0, "white": 255, "grey": 128}
NO_IMAGE = "an image that Pillow reads (PNG, JPEG, GIF, TIFF, WebP, BMP, PGM, PPM)"
TAG_OF_ORIENTATION, TAG_OF_SAMPLE_FORMAT, SIGNED = 0x0112, 339, 2


@dataclass(frozen=True)
class Setting:
    """How pixels become values: the files' depth, the pixel that becomes 1, what lies behind transparent ones."""

    depth: str = "8-bit"
    white: float = 255.0
    background: str | None = None

    @classmethod
    def stored(cls, normalisation: dict[str, Any]) -> Setting:
        """That of a run; of a set that is not of image files (or of before this was stored): 8-bit and opaque."""
        return cls(**normalisation.get("pixels", {}))

    def normalisation(self) -> dict[str, Any]:
        """As it is stored: the range of the files' own values and, unless they are 8-bit and opaque, the setting."""
        own = {"depth": self.depth, "white": self.white, "background": self.background}
        return scaled_from(self.white) | ({} if self == Setting() else {"pixels": own})


@dataclass(frozen=True)
class Head:
    """What is known of an image before its pixels are read."""

    height: int
    width: int
    grey: bool
    depth: str
    transparent: bool


@contextmanager
def opened(path: Path) -> Iterator[tuple[Image, Head]]:
    """The image at `path` and its head; whatever is wrong with it (here or in the body of `with`) is refused."""
    from PIL import Image

    Image.init()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Pillow's bound on sizes: of 89 million pixels it warns, of twice as many it raises.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=FORMATS) as image:
                yield image, _head(image, path)
        except (BitspikeError, KeyboardInterrupt):
            raise
        except FileNotFoundError:
            refuse(str(path), "no such file", "an image")
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            refuse(str(path), "an image of more than 89 million pixels", "a smaller one")
        except Exception:
            # What a damaged image raises has no common class.
            refuse(str(path), "a damaged file or no image", NO_IMAGE)


def _head(image: Image, path: Path) -> Head:
    """Size (as held upright), colour and depth; files whose pixels would be read only in part are refused."""
    if getattr(image, "is_animated", False) and image.format != "MPO":  # a phone's photo and its small copies
        frames = getattr(image, "n_frames", 2)
        refuse(str(path), f"{frames} pictures (an animation or a stack)", "one picture (save the one that is meant)")
    deep_grey = image.mode.startswith("I;16")
    # What Pillow tells the decoder of the file's pixels; a PPM's is told the largest value.
    tiles: Any = getattr(image, "tile", ())
    most = 255 if image.format == "PPM" else math.inf
    how = [part for tile in tiles for part in _parts(tile[3]) if isinstance(part, str | int)]
    deep = any(";16" in part if isinstance(part, str) else part > most for part in how)
    if image.mode not in ("I", "F") and not deep_grey and deep:
        refuse(str(path), "16-bit colour or transparency", "8 bits, or 16-bit grey (Pillow would drop the lower 8)")
    tags: Any = getattr(image, "tag_v2", {})
    if image.format == "TIFF" and image.mode == "L" and SIGNED in _parts(tags.get(TAG_OF_SAMPLE_FORMAT)):
        refuse(str(path), "8-bit pixels with a sign", "pixels from 0 on")
    # A PGM of more than 8 bits comes as "I", stretched to 16 bits.
    whole = image.mode == "I" and image.format in ("PPM", "PNG")
    depth = "16-bit" if deep_grey or whole else DEPTHS.get(image.mode, "8-bit")
    transparent = bool(image.has_transparency_data)
    if transparent and depth != "8-bit":
        refuse(str(path), f"a transparent {depth} image", "an opaque one, or 8 bits")
    turned = _orientation(image) >= 5
    height, width = (image.width, image.height) if turned else (image.height, image.width)
    return Head(height, width, image.mode in GREY_MODES, depth, transparent)


def _parts(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _orientation(image: Image) -> int:
    """1 to 8 as in EXIF. A PNG is asked only if it has one: Pillow would decode its pixels to look for it."""
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & image.info.keys():
        return 1
    found = image.getexif().get(TAG_OF_ORIENTATION, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _flat(image: Image, background: str) -> Image:
    """A transparent image laid on its background."""
    from PIL import Image

    ink = image.convert("RGBA")
    paper = Image.new("RGB", ink.size, (BACKGROUNDS[background],) * 3)
    paper.paste(ink, mask=ink.getchannel("A"))
    return paper


def numbers(image: Image, path: Path) -> np.ndarray[Any, Any]:
    """Deep grey pixels (H, W) as they are, checked to be finite and not below 0."""
    pixels = np.asarray(image)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        row, column = np.argwhere(~np.isfinite(pixels))[0].tolist()
        refuse(f"{path} row {row}, column {column}", pixels[row, column], "a finite pixel")
    if pixels.size and pixels.min() < 0:
        row, column = np.unravel_index(int(pixels.argmin()), pixels.shape)
        refuse(f"{path} row {row}, column {column}", pixels[row, column], "pixels from 0 (black) on")
    return pixels


def opaque(image: Image) -> bool:
    """Whether no pixel of an image that may be transparent is."""
    lowest: Any = image.convert("RGBA").getchannel("A").getextrema()[0]
    return bool(lowest == 255)


def read_image(path: Path, shape: tuple[int, int, int], setting: Setting) -> Tensor:
    """One image as float32 (C, H, W) in [0, 1], C 1 (grey) or 3 (RGB), resized bilinearly."""
    from PIL import Image, ImageOps

    channels, height, width = shape
    with opened(path) as (image, head):
        if head.depth != setting.depth:
            refuse(str(path), f"{head.depth} pixels", f"{setting.depth}, as in training")
        image.load()
        if _orientation(image) > 1:
            image = ImageOps.exif_transpose(image)
        if head.depth != "8-bit":
            found = numbers(image, path).astype(np.float32)
            if found.size and found.max() > setting.white:
                refuse(str(path), f"a pixel of {found.max():g}", f"at most {setting.white:g}, which is white")
            image = Image.fromarray(found)
        else:
            if head.transparent and not opaque(image):
                if setting.background is None:
                    refuse(str(path), "transparent pixels", "an opaque image, as in training (lay it on a background)")
                image = _flat(image, setting.background)
            image = image.convert("L" if channels == 1 else "RGB")
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image, dtype=np.float32) / np.float32(setting.white))
    if pixels.ndim == 2:
        return pixels.expand(channels, height, width).contiguous()
    return pixels.movedim(-1, 0).contiguous()


def read_images(paths: Sequence[Path], shape: tuple[int, int, int], setting: Setting) -> Tensor:
    """Images as float32 (N, C, H, W) in [0, 1]."""
    needed, there = 4.0 * len(paths) * np.prod(shape, dtype=np.float64), _memory()
    if needed > there / 2:
        came = f"{len(paths):,} of {shape[1]} x {shape[2]} pixels, {needed / 1e9:.1f} GB"
        refuse("images", came, f"smaller ones (size = [HEIGHT, WIDTH]); {there / 1e9:.1f} GB of memory are there")
    out = torch.empty(len(paths), *shape)
    for row, path in zip(out, paths, strict=True):
        row.copy_(read_image(path, shape, setting))
    return out


def _memory() -> float:
    """Bytes of memory of this machine; without bound where it does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return float("inf")
