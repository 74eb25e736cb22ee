"""Sound files as sequences of mel bands.

A frame of L samples s every H samples, with a Hann window w, an FFT of K >= L points (K a power of 2) and B triangles
M_b, whose corners are equally spaced in mel = 2595 log10(1 + f/700) from 0 to half the sampling rate:

    x_{t,b} = 10 log10( 1e-10 + sum_k M_{b,k} |FFT(w s_{tH .. tH+L})_k|^2 / sum w^2 )            in dB

The samples lie in [-1, 1]; several channels are averaged, another sampling rate is converted (polyphase filter). What
is left behind the last whole frame is not heard. Source of the mel scale: O'Shaughnessy 1987.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.data.tables import padded
from bitspike.errors import refuse
from bitspike.extras import missing

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".aif", ".aiff", ".mp3"})
IN_WORDS = "sound files (.wav, .flac, .ogg, .aif or .mp3)"

FLOOR = 1e-10
LONGEST = 600
CHANNELS, RATES = 64, (1000, 1_000_000)
# Frames times bands that are worth holding: 4 GB.
MOST = 1 << 30

# The largest denominator of a ratio of sampling rates.
FINEST = 2000

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class FrontEnd:
    """rate: samples per second that files are brought to; frame and hop in milliseconds; bands of each frame."""

    rate: int
    frame: float = 25.0
    hop: float = 10.0
    bands: int = 20

    def __post_init__(self) -> None:
        if self.samples < 2 or self.step < 1:
            came = f"frames of {self.frame:g} ms every {self.hop:g} ms at {self.rate} Hz"
            refuse("folder option frame", came, "frames of 2 samples or more, and a hop of 1 or more")
        if self.bands > self.size // 2:
            refuse("folder option bands", self.bands, f"at most {self.size // 2} at frames of {self.samples} samples")

    @property
    def samples(self) -> int:
        """L, samples of a frame."""
        return round(self.rate * self.frame / 1000)

    @property
    def step(self) -> int:
        """H, samples from frame to frame."""
        return round(self.rate * self.hop / 1000)

    @property
    def size(self) -> int:
        """K, points of the FFT."""
        return 1 << (self.samples - 1).bit_length()

    def filters(self) -> Array:
        """M (B, K/2 + 1): triangles of height 1; one narrower than a bin of the FFT is the bin nearest its peak."""
        top = 2595 * math.log10(1 + self.rate / 2 / 700)
        corners = 700 * (10 ** (np.linspace(0, top, self.bands + 2) / 2595) - 1)
        bins = np.arange(self.size // 2 + 1) * self.rate / self.size
        low, peak, high = (corners[i : i + self.bands, None] for i in range(3))
        rise, fall = (bins - low) / (peak - low), (high - bins) / (high - peak)
        found: Array = np.clip(np.minimum(rise, fall), 0, None)
        empty = np.flatnonzero(found.sum(1) == 0)
        found[empty, np.abs(bins - peak[empty]).argmin(1)] = 1
        return found

    def __call__(self, sound: Array) -> Array:
        """x (T, B) float32 of samples (n,); sound shorter than a frame is one frame, with silence behind it."""
        sound = np.pad(sound, (0, max(0, self.samples - len(sound))))
        frames = np.lib.stride_tricks.sliding_window_view(sound, self.samples)[:: self.step]
        window = np.hanning(self.samples + 1)[:-1]
        parts = []
        for some in np.array_split(frames, -(-len(frames) // 1000)):
            power = np.abs(np.fft.rfft(some * window, self.size)) ** 2 / (window**2).sum()
            parts.append(10 * np.log10(FLOOR + power @ self.filters().T))
        return np.concatenate(parts).astype(np.float32)


@dataclass(frozen=True)
class Sounds:
    """x (N, T, B), zeros behind the `lengths` (N,), how it was made, and what is to be said."""

    x: Tensor
    lengths: Tensor
    front_end: FrontEnd
    notes: tuple[str, ...]


def _library() -> Any:
    try:
        import soundfile
    except ImportError:
        missing("audio", "sound files: the soundfile library")
    except OSError:
        missing("audio", "sound files: libsndfile of the soundfile library")
    return soundfile


def _read(path: Path) -> tuple[Array, int, int]:
    """Samples (n,) of a file, the mean of its channels, its sampling rate and its number of channels."""
    library = _library()
    if not path.is_file():
        refuse(str(path), "no file", "a sound file")
    try:
        with library.SoundFile(str(path)) as file:
            rate, channels, frames = int(file.samplerate), int(file.channels), int(file.frames)
            if not RATES[0] <= rate <= RATES[1] or channels > CHANNELS or frames > LONGEST * rate:
                came = f"{channels} channels of {frames / max(rate, 1):,.0f} s at {rate:,} Hz"
                refuse(str(path), came, f"up to {LONGEST} s at {RATES[0]:,} to {RATES[1]:,} Hz")
            sound = file.read(dtype="float32", always_2d=True)
    except (library.SoundFileError, OSError, RuntimeError, ValueError, MemoryError):
        refuse(str(path), "a damaged file or no sound", "a sound file that libsndfile reads")
    if len(sound) == 0:
        refuse(str(path), "no samples", "a sound")
    if not np.isfinite(sound).all():
        refuse(f"{path} sample {int(np.argmin(np.isfinite(sound).all(1)))}", "no finite number", "a finite number")
    return sound.astype(np.float64).mean(1), rate, channels


def read_sounds(paths: Sequence[Path], asked: dict[str, Any]) -> Sounds:
    """Sound files as sequences; asked: the fields of `FrontEnd` that are chosen (rate: else the commonest)."""
    found = [_read(path) for path in paths]
    rates = Counter(rate for _, rate, _ in found)
    given = {name: value for name, value in asked.items() if value is not None}
    front_end = FrontEnd(**{"rate": rates.most_common(1)[0][0], **given})
    notes = [
        f"sound: {front_end.bands} mel bands of frames of {front_end.frame:g} ms every {front_end.hop:g} ms "
        f"at {front_end.rate:,} Hz"
    ]
    if other := len(found) - rates[front_end.rate]:
        notes.append(f"{other:,} of {len(found):,} sound files have another rate and are converted")
    if several := sum(channels > 1 for _, _, channels in found):
        notes.append(f"{several:,} of {len(found):,} sound files have several channels, which are averaged")
    series = [front_end(_at_rate(sound, rate, front_end.rate)) for sound, rate, _ in found]
    lengths = torch.tensor([len(frames) for frames in series])
    if len(series) * int(lengths.max()) * front_end.bands > MOST:
        came = f"{len(series):,} files of up to {int(lengths.max()):,} frames"
        refuse("folder option hop", came, "fewer frames: a longer hop, or shorter files")
    x = padded(torch.from_numpy(np.concatenate(series)), lengths, int(lengths.max()))
    return Sounds(x, lengths, front_end, tuple(notes))


def _at_rate(sound: Array, rate: int, wanted: int) -> Array:
    if rate == wanted:
        return sound
    from scipy.signal import resample_poly

    # Rates in use are small ratios of each other; an odd one (8,001 Hz) would cost a filter of its own length.
    ratio = Fraction(wanted, rate).limit_denominator(FINEST)
    converted: Array = resample_poly(sound, max(1, ratio.numerator), ratio.denominator)
    return converted
