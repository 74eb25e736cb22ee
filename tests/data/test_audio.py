"""Sound files: their front end, different rates, channels and lengths."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bitspike.data import load, prepare, prepare_labelled
from bitspike.data.audio import FrontEnd
from bitspike.errors import BitspikeError

soundfile = pytest.importorskip("soundfile")

RATE = 8000


def tone(frequency: float, seconds: float, rate: int = RATE, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def folders(root: Path, count: int = 6) -> Path:
    """Low and high tones of 0.1 to 0.2 s."""
    for name, frequency in (("high", 2000), ("low", 300)):
        (root / name).mkdir(parents=True)
        for k in range(count):
            soundfile.write(root / name / f"{k}.wav", tone(frequency + 10 * k, 0.1 + 0.02 * k), RATE)
    return root


def test_a_tone_lies_in_its_band_at_its_level() -> None:
    end = FrontEnd(RATE, 32.0, 16.0, 16)
    assert (end.samples, end.step, end.size) == (256, 128, 256)
    x = end(tone(1000, 0.5))
    assert x.shape == (1 + (4000 - 256) // 128, 16)
    corners = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 18) / 2595) - 1)
    band = int(x.mean(0).argmax())
    assert corners[band] < 1000 < corners[band + 2]
    # 6 dB for twice the amplitude; silence is the floor.
    np.testing.assert_allclose(end(tone(1000, 0.5, level=1.0))[:, band] - x[:, band], 6.0206, atol=1e-3)
    assert end(np.zeros(300)).tolist() == [[-100.0] * 16]


def test_the_bands_cover_every_frequency_between_the_outermost_peaks() -> None:
    filters = FrontEnd(RATE, 32.0, 16.0, 16).filters()
    # Triangles that overlap by half add up to 1.
    inner = slice(int(filters[0].argmax()) + 1, int(filters[-1].argmax()))
    assert filters.shape == (16, 129)
    assert (filters.sum(1) > 0).all()
    assert filters.sum(0)[inner].min() > 0.8
    assert filters.sum(0)[inner].max() < 1.2


def test_class_folders_of_sound_are_sequences(tmp_path: Path) -> None:
    data = load("folder", path=folders(tmp_path / "s"), bands=12, hop=20.0)
    assert (data.input, data.shape, data.classes) == ("series", (12,), ("high", "low"))
    assert data.steps == 1 + (round(0.2 * RATE) - 200) // 160
    assert data.train.lengths is not None
    assert int(data.train.lengths.min()) < data.steps
    assert data.form["audio"] == {"rate": RATE, "frame": 25.0, "hop": 20.0, "bands": 12}
    assert data.notes[0] == "sound: 12 mel bands of frames of 25 ms every 20 ms at 8,000 Hz"
    low, high = (torch.cat([data.train.x[data.train.y == c][:, 0]]).mean(0) for c in (1, 0))
    assert int(low.argmax()) < int(high.argmax())
    x, names = prepare(tmp_path / "s" / "low" / "0.wav", data.form)
    assert names == [str(tmp_path / "s" / "low" / "0.wav")]
    short = int((~x[0].isnan().any(1)).sum())
    assert short == 1 + (800 - 200) // 160
    row = data.train.index.tolist().index(6) if 6 in data.train.index else None
    if row is not None:
        assert torch.equal(torch.nan_to_num(x[0]), data.train.x[row])
    split, names = prepare_labelled(tmp_path / "s", data.form, data.classes)
    assert split.y.tolist() == [0] * 6 + [1] * 6
    assert len(names) == 12


def test_other_rates_and_channels_are_converted_and_said(tmp_path: Path) -> None:
    root = folders(tmp_path)
    plain = load("folder", path=root, normalise="none")
    both = np.stack([2 * tone(300, 0.1), np.zeros(800)], 1)
    soundfile.write(root / "low" / "0.wav", both, RATE, subtype="FLOAT")
    soundfile.write(root / "high" / "0.flac", tone(2000, 0.1, 16000), 16000)
    (root / "high" / "0.wav").unlink()
    data = load("folder", path=root, normalise="none")
    assert data.notes[1:3] == (
        "1 of 12 sound files have another rate and are converted",
        "1 of 12 sound files have several channels, which are averaged",
    )
    for part in ("train", "validation", "test"):
        one, other = getattr(plain, part), getattr(data, part)
        assert torch.equal(one.lengths, other.lengths)
        # In decibels, in the band of the tone, away from the edges, at which the filter rings.
        torch.testing.assert_close(one.x[:, 2:5].amax(2), other.x[:, 2:5].amax(2), atol=0.1, rtol=0)


def test_what_is_no_sound_is_refused(tmp_path: Path) -> None:
    root = folders(tmp_path)
    form = load("folder", path=root).form
    name = re.escape(str(root / "low" / "0.wav"))
    whole = (root / "low" / "0.wav").read_bytes()
    (root / "low" / "0.wav").write_bytes(whole[:30])
    with pytest.raises(BitspikeError, match=rf"^{name}: got (a damaged file or no sound|no samples), wanted a sound"):
        load("folder", path=root)
    soundfile.write(root / "low" / "0.wav", np.zeros(0), RATE)
    with pytest.raises(BitspikeError, match=rf"^{name}: got no samples, wanted a sound$"):
        load("folder", path=root)
    soundfile.write(root / "low" / "0.wav", np.array([0.1, np.nan, 0.2]), RATE, subtype="FLOAT")
    with pytest.raises(BitspikeError, match=rf"^{name} sample 1: got no finite number, wanted a finite number$"):
        load("folder", path=root)
    soundfile.write(root / "low" / "0.wav", tone(300, 1.0), RATE)
    with pytest.raises(BitspikeError, match=rf"^{name}: got a sequence of 98 steps, wanted at most 18, the longest of"):
        prepare(root / "low" / "0.wav", form)
    with pytest.raises(BitspikeError, match=r"^folder option bands: got 200, wanted at most 128 at frames of 200 sam"):
        load("folder", path=root, bands=200)
    with pytest.raises(BitspikeError, match=r"^folder option size: got \(8, 8\), wanted it left out \(these are sound"):
        load("folder", path=root, size=(8, 8))


def test_a_missing_library_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folders(tmp_path)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(
        BitspikeError, match=r"^sound files: the soundfile library: not installed; .* '.\[audio\]' adds"
    ):
        load("folder", path=root)
