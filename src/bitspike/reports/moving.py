"""Moving pictures of events: some frames as a GIF, and the fullest of them for who wants stillness, or paper."""

from __future__ import annotations

import base64
import io
from typing import Any, NamedTuple

import numpy as np

from bitspike.reports.checked import Array
from bitspike.reports.text import si

# Legible on light and dark paper alike: of pixels ON, OFF and both in one frame.
SHADES = ((31, 139, 208), (217, 102, 31), (168, 96, 148))
SHOWN = 0.1  # seconds that a frame is shown
SMALLEST = 240  # pixels of the longer side, at least


class Moving(NamedTuple):
    """Data URIs of a moving picture and a still one, their size, a sentence for who does not see it, and a title."""

    moving: str
    still: str
    width: int
    height: int
    alt: str
    caption: str
    title: str = "Preview"
    signed: bool = True


def moving_picture(frames: Array, step: float, title: str = "Preview", smallest: int = SMALLEST) -> Moving:
    """Of frames (F, P, H, W), more than 0 where there were events, OFF before ON; step: seconds of a frame."""
    from PIL import Image

    count, signs, height, width = frames.shape
    factor = max(1, -(-smallest // max(height, width)))
    images = []
    for frame in frames:
        off, on = (frame[0] > 0, frame[1] > 0) if signs == 2 else (np.zeros((height, width), bool), frame[0] > 0)
        index = np.where(on & off, 3, np.where(on, 1, np.where(off, 2, 0))).astype(np.uint8)
        image = Image.fromarray(index.repeat(factor, 0).repeat(factor, 1), "P")
        image.putpalette([0, 0, 0, *(value for shade in SHADES for value in shade)])
        images.append(image)
    how: dict[str, Any] = {"transparency": 0, "optimize": False}
    more: dict[str, Any] = {"save_all": True, "append_images": images[1:], "duration": round(1000 * SHOWN), "loop": 0}
    fullest = int(frames.sum((1, 2, 3)).argmax())
    speed = SHOWN / step if step else 1.0
    pace = f"{speed:,.3g} times slower" if speed >= 1 else f"{1 / speed:,.3g} times faster"
    return Moving(
        _uri(images[0], disposal=2, **more, **how),
        _uri(images[fullest], **how),
        width * factor,
        height * factor,
        f"{title}: {count} frames of the events, the fullest from second {fullest * step:.4g} on",
        f"{count} frames of {si(step, 's')} each, {pace} than it happened." if step else "One moment.",
        title,
        signs == 2,
    )


def _uri(image: Any, **how: Any) -> str:
    content = io.BytesIO()
    image.save(content, "GIF", **how)
    return "data:image/gif;base64," + base64.b64encode(content.getvalue()).decode()
