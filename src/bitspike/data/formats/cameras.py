"""Cameras that AEDAT headers name in words, and their sensors; other sizes are said by the person who reads."""

from __future__ import annotations

import re

from bitspike.errors import refuse

# (height, width)
CAMERAS = {
    "DVS128": (128, 128),
    "DAVIS128": (128, 128),
    "DAVIS208": (192, 208),
    "DAVIS240": (180, 240),
    "DAVIS346": (260, 346),
    "DAVIS640": (480, 640),
}
NAMED = re.compile(r"(dvs128|davis[-_ ]?(?:128|208|240|346|640))", re.IGNORECASE)


def camera_in(text: str) -> str | None:
    """The camera that a line of a header names."""
    found = NAMED.search(text)
    return re.sub(r"[-_ ]", "", found[1]).upper() if found else None


def smallest(path: object, size: tuple[int, int]) -> str:
    """The camera of the smallest sensor that has room for `size` (height, width)."""
    fitting = [name for name, (height, width) in CAMERAS.items() if height >= size[0] and width >= size[1]]
    if not fitting:
        refuse(str(path), f"a sensor of {size[0]} x {size[1]}", "at most 480 x 640 (rows x columns), a camera's")
    return min(fitting, key=lambda name: CAMERAS[name])
