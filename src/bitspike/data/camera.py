"""An event camera that is simulated: still images on a moving path become signed events.

    L(t) = log(dark + g(t))                 g in [0, 1] the grey value at a pixel, between frames L is linear in t
    tau dl/dt = L - l                       the lag of the photoreceptor (tau = 0: l = L)
    d(t) = l(t) - l(t') + leak on (t - t')  t' the pixel's last event, or the end of its reset

An event is ON (polarity 1) where d reaches +on, OFF (0) where it reaches -off, at the time of the crossing. Then d
begins again at 0, after `refractory` seconds in which the pixel is held in reset and sees nothing. Both thresholds
differ from pixel to pixel by a normal share of deviation `mismatch`: they are the camera's, and the same in all its
recordings. Noise events come by a Poisson process of each pixel, of either sign, and leave d as it is.

What is drawn for a recording (its start on the path, its noise, how far each pixel has leaked) is named by the camera's
number and the recording's, so that a recording never depends on the others.

Sources: P. Lichtsteiner, C. Posch, T. Delbruck, IEEE J. Solid-State Circuits 43:566 (2008), the pixel; Y. Hu, S. Liu,
T. Delbruck, "v2e", CVPR Workshops (2021), thresholds that differ, leak and noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from bitspike import draws
from bitspike.data.base import Events
from bitspike.errors import refuse

FARTHEST = 1 / 8  # pixels that an image moves from frame to frame, at most
SLOWEST = 10_000.0  # us from frame to frame, at most
LEAST = 0.01  # of a threshold, however much pixels differ
MOVING = 0.8  # of the time of a saccade; then the eye rests

MOST_FRAMES = 4_000_000  # of a recording
MOST_EVENTS = 100_000_000  # of a recording
AT_ONCE = 64  # recordings that a thread makes before it takes others
KINDS = (np.int64, np.int16, np.int16, np.uint8)  # of t, x, y, p

Shape = Literal["circle", "line", "saccades"]
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Camera:
    """height, width: pixels. on, off: thresholds in log intensity; mismatch: deviation of a pixel's, as a share.

    refractory, tau: seconds; leak: ON events of a pixel a second where nothing moves; noise: further events of a pixel
    a second; dark: the luminance of black, white being 1 + dark; number: of the camera, another has other pixels.
    """

    height: int
    width: int
    on: float = 0.275
    off: float = 0.225
    mismatch: float = 0.2
    refractory: float = 0.001
    leak: float = 0.3
    noise: float = 0.1
    dark: float = 0.2
    tau: float = 0.002
    number: int = 0

    def __post_init__(self) -> None:
        for name in ("height", "width", "on", "off", "dark"):
            if not 0 < getattr(self, name) < math.inf:
                refuse(f"camera {name}", getattr(self, name), "a positive number")
        for name in ("mismatch", "refractory", "leak", "noise", "tau"):
            if not 0 <= getattr(self, name) < math.inf:
                refuse(f"camera {name}", getattr(self, name), "0 or more")

    def thresholds(self) -> tuple[Array, Array]:
        """Those of each pixel, ON and OFF, float64 (H, W)."""
        shares = draws.normal(2 * self.height * self.width, "camera", self.number, "thresholds").double().numpy()
        both = 1 + self.mismatch * shares.reshape(2, self.height, self.width)
        return np.maximum(both[0], LEAST) * self.on, np.maximum(both[1], LEAST) * self.off


@dataclass(frozen=True)
class Path:
    """How an image moves: a circle of radius `amplitude` pixels, a line so far to either side, or three saccades.

    period: seconds until the path comes back to its beginning. Saccades are the sides of a triangle whose corners lie
    `amplitude` from its middle, as N-MNIST's camera makes them. phase: the share of a period in which a recording may
    begin, 0: all at the same place; 1: anywhere.
    """

    shape: Shape = "circle"
    amplitude: float = 2.0
    period: float = 1.0
    phase: float = 0.0

    def __post_init__(self) -> None:
        if self.shape not in ("circle", "line", "saccades"):
            refuse("path shape", repr(self.shape), "'circle', 'line' or 'saccades'")
        if not 0 <= self.amplitude < math.inf:
            refuse("path amplitude", self.amplitude, "0 or more pixels")
        if not 0 < self.period < math.inf:
            refuse("path period", self.period, "a positive number of seconds")
        if not 0 <= self.phase <= 1:
            refuse("path phase", self.phase, "0 to 1")

    @property
    def fastest(self) -> float:
        """The largest speed, pixels a second."""
        if self.shape == "saccades":
            return math.sqrt(3) * self.amplitude * math.pi / 2 * 3 / (MOVING * self.period)
        return 2 * math.pi * self.amplitude / self.period

    def at(self, turns: Array) -> tuple[Array, Array]:
        """How far (down, right) in pixels the image is from the middle, at numbers of periods (M,)."""
        if self.shape == "saccades":
            side, along = np.divmod(3 * (turns % 1), 1)
            share = (1 - np.cos(np.pi * np.minimum(along / MOVING, 1))) / 2
            corners = -2 * np.pi / 3 * np.arange(4) - 5 * np.pi / 6
            down, right = np.sin(corners), np.cos(corners)
            k = side.astype(int)
            return (
                self.amplitude * (down[k] + share * (down[k + 1] - down[k])),
                self.amplitude * (right[k] + share * (right[k + 1] - right[k])),
            )
        angle = 2 * np.pi * turns
        right = self.amplitude * np.cos(angle)
        return (self.amplitude * np.sin(angle) if self.shape == "circle" else np.zeros_like(right)), right


def film(
    images: Tensor, camera: Camera, path: Path, seconds: float, scale: float = 1.0,
    numbers: Sequence[int] | None = None, follow: bool = False,
) -> Events:  # fmt: skip
    """Recordings of grey images (N, h, w) in [0, 1], each in the middle of the sensor, as `Events` (2, H, W).

    scale: pixels of the sensor for a pixel of an image; what lies beyond an image is black. numbers: of the
    recordings, which name their draws (default 0, 1, ...). follow: the events are then moved back by whole pixels, as
    the image has moved, as if a recording of a larger sensor were made steady and cut out.
    """
    if images.ndim != 3 or not images.is_floating_point():
        refuse("camera images", f"{images.dtype} of shape {tuple(images.shape)}", "grey values (N, h, w) in [0, 1]")
    if images.numel() and not (float(images.min()) >= 0 and float(images.max()) <= 1):
        refuse("camera images", f"{float(images.min()):g} to {float(images.max()):g}", "values in [0, 1]")
    if not 0 < scale < math.inf:
        refuse("camera scale", scale, "a positive number")
    if not 0 < seconds * 1e6 < 2**53:
        refuse("camera seconds", seconds, "a positive number")
    numbers = range(len(images)) if numbers is None else numbers
    if len(numbers) != len(images):
        refuse("camera numbers", f"{len(numbers)}", f"{len(images)}, one for each image")
    _bounded(camera, path, seconds)
    spacing = min(SLOWEST, 1e6 * FARTHEST / path.fastest if path.fastest else SLOWEST)
    times = np.linspace(0.0, 1e6 * seconds, max(2, math.ceil(1e6 * seconds / spacing) + 1))
    recorder = _Recorder(camera, path, times, math.ceil(path.amplitude) if follow else 0)

    def part(rows: slice) -> list[tuple[Array, ...]]:
        shown = _shown(images[rows], scale)
        return [recorder.record(image, number) for image, number in zip(shown, numbers[rows], strict=True)]

    # The loop frees the interpreter lock; what a recording holds depends on no thread.
    parts = [slice(first, first + AT_ONCE) for first in range(0, len(images), AT_ONCE)]
    with ThreadPoolExecutor(max(1, min(torch.get_num_threads(), len(parts)))) as threads:
        made = [one for some in threads.map(part, parts) for one in some]
    offsets = np.concatenate([[0], np.cumsum([len(one[0]) for one in made], dtype=np.int64)])
    columns = zip(*made, strict=True) if made else ((),) * 4
    t, x, y, p = (
        torch.from_numpy(np.concatenate([*c, np.zeros(0, k)], dtype=k)) for c, k in zip(columns, KINDS, strict=True)
    )
    return Events(t, x, y, p, torch.from_numpy(offsets), (2, camera.height, camera.width))


def _bounded(camera: Camera, path: Path, seconds: float) -> None:
    """Refuse what would take more memory than a recording is worth, before any is taken."""
    frames = seconds * path.fastest / FARTHEST
    if frames > MOST_FRAMES:
        came = f"{seconds:g} s at up to {path.fastest:,.0f} pixels a second"
        refuse("camera path", came, f"at most {MOST_FRAMES:,} frames, each an eighth of a pixel from the last")
    events = (camera.leak + camera.noise) * camera.height * camera.width * seconds
    if events > MOST_EVENTS:
        refuse("camera leak and noise", f"{events:,.0f} events a recording", f"at most {MOST_EVENTS:,}")


def _places(side: int, far: Array, sensor: int) -> tuple[tuple[int, int], Array, Array]:
    """For pixels `far` (M,) from the middle: black on both sides of the image, and where the sensor begins in that.

    The latter as a whole number int64 (M,) and the rest in [0, 1), (M,).
    """
    begins = (side - sensor) / 2 - far
    whole = np.floor(begins)
    before = max(0, -int(whole.min()))
    return (before, max(0, int(whole.max()) + sensor + 1 - side)), whole.astype(np.int64) + before, begins - whole


def _shown(images: Tensor, scale: float) -> Array:
    """Images as large as the sensor sees them, float64 (N, h, w)."""
    x = images.double().unsqueeze(1)
    if scale != 1:
        size = [max(1, round(scale * side)) for side in images.shape[1:]]
        x = interpolate(x, size, mode="bilinear", antialias=True).clamp(0, 1)
    return x[:, 0].numpy()


class _Recorder:
    """One camera on one path, and room for the events of a recording."""

    def __init__(self, camera: Camera, path: Path, times: Array, margin: int) -> None:
        """margin: pixels on each side beyond the camera's, where events are moved back."""
        from bitspike.data.camera_loop import seen

        self.kept, self.margin = (camera.height, camera.width), margin
        camera = replace(camera, height=camera.height + 2 * margin, width=camera.width + 2 * margin)
        self.seen, self.camera, self.path, self.times = seen, camera, path, times
        self.on, self.off = camera.thresholds()
        self.settings = np.array([camera.dark, camera.leak * 1e-6, camera.refractory * 1e6, camera.tau * 1e6])
        self.most = 1 << 14

    def record(self, image: Array, number: int) -> tuple[Array, ...]:
        """t, x, y, p (E,) of one recording, by time."""
        camera, pixels = self.camera, self.on.size
        drawn = draws.uniform(pixels + 1, "camera", camera.number, "recording", int(number)).double().numpy()
        begin = self.path.phase * drawn[pixels]
        down, right = self.path.at(self.times / (1e6 * self.path.period) + begin)
        places = [
            _places(side, far, span) for side, far, span in zip(image.shape, (down, right), self.on.shape, strict=True)
        ]
        (top, rows, above), (left, columns, aside) = places
        image = np.pad(image, (top, left))
        leaked = drawn[:pixels].reshape(self.on.shape) * self.on if camera.leak else np.zeros_like(self.on)
        while True:
            room = [np.empty(self.most, kind) for kind in KINDS]
            count = self.seen(
                image, rows, columns, above, aside, self.times, self.on, self.off, leaked, self.settings, *room
            )
            if count <= len(room[0]):
                break
            if count > MOST_EVENTS:
                refuse("camera", f"{count:,} events in recording {number}", f"at most {MOST_EVENTS:,}")
            self.most = 2 * count
        found = [column[:count] for column in room]
        if camera.noise:
            found = [np.concatenate(both) for both in zip(found, self._noise(number), strict=True)]
        order = np.argsort(found[0], kind="stable")
        found = [column[order] for column in found]
        return self._moved_back(found, begin) if self.margin else tuple(found)

    def _moved_back(self, found: list[Array], begin: float) -> tuple[Array, ...]:
        t, x, y, p = found
        down, right = (np.rint(far) for far in self.path.at(t / (1e6 * self.path.period) + begin))
        x, y = (old - self.margin - far.astype(np.int16) for old, far in ((x, right), (y, down)))
        inside = (x >= 0) & (x < self.kept[1]) & (y >= 0) & (y < self.kept[0])
        return tuple(column[inside] for column in (t, x, y, p))

    def _noise(self, number: int) -> tuple[Array, ...]:
        draw = draws.generator("camera", self.camera.number, "noise", int(number))
        end = float(self.times[-1])
        wanted = torch.tensor(self.camera.noise * 1e-6 * end * self.on.size, dtype=torch.float64)
        count = int(torch.poisson(wanted, draw))
        t = (torch.rand(count, generator=draw, dtype=torch.float64) * end).long().numpy()
        pixel = torch.randint(self.on.size, (count,), generator=draw).numpy()
        sign = torch.randint(2, (count,), generator=draw).numpy()
        y, x = np.divmod(pixel, self.camera.width)
        return t, x.astype(np.int16), y.astype(np.int16), sign.astype(np.uint8)
