from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bitspike.data import Events
from bitspike.data.camera import Camera, Path, film
from bitspike.errors import BitspikeError

STILL = Path(amplitude=0.0)
TO_AND_FRO = Path("line", amplitude=4.0, period=1.0)


def ideal(height: int = 1, width: int = 1, **other: float) -> Camera:
    """A camera whose pixels are equal, quick and silent."""
    settings = {"on": 0.35, "off": 0.4, "mismatch": 0, "refractory": 0, "leak": 0, "noise": 0, "dark": 0.1, "tau": 0}
    return Camera(height, width, **(settings | other))  # type: ignore[arg-type]


def edge(bright: int) -> Tensor:
    """Sixteen columns of which the left or right half is white: a pixel sees the left ones first and last."""
    image = torch.zeros(1, 1, 17)
    image[0, 0, 8 * bright : 8 * bright + 8 + bright] = 1
    return image


def test_an_edge_gives_the_events_that_the_thresholds_say() -> None:
    # ln(1.1 / 0.1) = 2.398 is 6.85 thresholds of 0.35; back from 6 * 0.35 = 2.1 it is 5.25 of 0.4.
    events = film(edge(1), ideal(), TO_AND_FRO, 1.0)
    first, second = events.t < 500_000, events.t >= 500_000
    assert events.p[first].tolist() == [1] * 6
    assert events.p[second].tolist() == [0] * 5
    # The white half goes: ln(0.1 / 1.1) is 5.995 of 0.4; back from -2 it is 5.7 of 0.35.
    events = film(edge(0), ideal(), TO_AND_FRO, 1.0)
    assert events.p.tolist() == [0] * 5 + [1] * 5
    assert events.shape == (2, 1, 1)


def test_events_are_where_the_light_crosses_the_thresholds() -> None:
    events = film(edge(1), ideal(), TO_AND_FRO, 0.5)
    # Column 8 is the middle, and white: the grey value is linear between columns 7 and 8, and its logarithm is taken
    # to be linear in what an image moves between frames, an eighth of that.
    column = 8 - 4 * np.cos(2 * np.pi * events.t.numpy() * 1e-6)
    light = np.log(0.1 + np.clip(column - 7, 0, 1)) - math.log(0.1)
    assert light == pytest.approx(0.35 * np.arange(1, 7), abs=0.1)


def test_a_pixel_in_reset_sees_nothing() -> None:
    assert film(edge(1), ideal(refractory=0.3), TO_AND_FRO, 0.5).p.tolist() == [1]
    images = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(0))
    assert gap(film(images, Camera(8, 8, refractory=0, noise=0), Path(period=0.1), 0.2)) < 3000
    assert gap(film(images, Camera(8, 8, refractory=0.004, noise=0), Path(period=0.1), 0.2)) >= 4000 - 1


def gap(events: Events) -> int:
    """The shortest time between two events of one pixel."""
    who = torch.repeat_interleave(torch.arange(len(events)), events.offsets.diff())
    pixel = (who * 8 + events.y) * 8 + events.x
    order = np.lexsort((events.t.numpy(), pixel.numpy()))
    gaps = events.t[order].diff()[pixel[order].diff() == 0]
    assert len(gaps) > 1000
    return int(gaps.min())


def test_what_leaks_is_on_and_regular() -> None:
    events = film(torch.full((2, 3, 3), 0.5), ideal(3, 3, leak=10), STILL, 1.0)
    assert events.offsets.tolist() == [0, 90, 180]
    assert events.p.all()
    one = events[:1]
    times = one.t[(one.x == 1) & (one.y == 2)]
    assert times.diff().tolist() == pytest.approx([100_000] * 9, abs=1)
    assert len(set(one.t.tolist())) > 80


def test_events_that_follow_the_image_stay_where_its_edges_are() -> None:
    image = torch.zeros(1, 21, 21)
    image[0, 8:13, 8:13] = 1
    path = Path(amplitude=6.0)
    still, moved = (film(image, ideal(13, 13), path, 1.0, follow=follow) for follow in (True, False))
    # A square of five pixels in the middle: its edges lie within one pixel of rows and columns 4 and 8.
    edges = (still.x - 6).abs().maximum((still.y - 6).abs())
    assert ((edges >= 1) & (edges <= 3)).all()
    assert len(moved.t) > 100
    assert len(still.t) > len(moved.t)
    assert (still.t.diff() >= 0).all()
    phases = film(image.expand(4, 21, 21), ideal(13, 13), Path(amplitude=6.0, phase=1.0), 1.0, follow=True)
    assert ((phases.x - 6).abs().maximum((phases.y - 6).abs()) <= 3).all()


def test_noise_is_of_both_signs_and_of_its_rate() -> None:
    events = film(torch.zeros(4, 8, 8), ideal(16, 16, noise=5), STILL, 1.0)
    wanted = 4 * 256 * 5
    assert abs(len(events.t) - wanted) < 5 * math.sqrt(wanted)
    assert abs(float(events.p.double().mean()) - 0.5) < 5 * 0.5 / math.sqrt(wanted)
    assert (int(events.x.max()), int(events.y.max())) == (15, 15)


def test_the_lag_makes_events_late_and_no_fewer() -> None:
    prompt, late = (film(edge(1), ideal(tau=tau), TO_AND_FRO, 0.5) for tau in (0.0, 0.005))
    assert len(prompt.t) == len(late.t)
    delay = (late.t - prompt.t).double().mean() / 1000
    assert 2 < delay < 6


def test_a_recording_depends_on_its_number_and_on_no_other() -> None:
    images = torch.rand(70, 8, 8, generator=torch.Generator().manual_seed(1))
    path = Path(phase=1.0)
    together = film(images, Camera(8, 8), path, 0.2)
    alone = film(images[67:68], Camera(8, 8), path, 0.2, numbers=[67])
    for name in ("t", "x", "y", "p"):
        assert torch.equal(getattr(together[67:68], name), getattr(alone, name))
    assert bool((together.t.diff()[together.offsets.diff()[0] :] != 0).any())
    other = film(images[67:68], Camera(8, 8), path, 0.2, numbers=[3])
    camera = film(images[67:68], Camera(8, 8, number=1), path, 0.2, numbers=[67])
    assert not torch.equal(other.t, alone.t)
    assert not torch.equal(camera.t, alone.t)
    starts = together.offsets[:-1]
    assert all((one.diff() >= 0).all() for one in together.t.tensor_split(starts[1:]))


def test_thresholds_differ_from_pixel_to_pixel_as_said() -> None:
    on, off = Camera(64, 64, on=0.3, off=0.2, mismatch=0.1).thresholds()
    assert (on.mean(), on.std()) == pytest.approx((0.3, 0.03), rel=0.05)
    assert (off.mean(), off.std()) == pytest.approx((0.2, 0.02), rel=0.05)
    assert abs(np.corrcoef(on.ravel(), off.ravel())[0, 1]) < 0.1


@pytest.mark.parametrize("shape", ["circle", "line", "saccades"])
def test_a_path_is_closed_and_no_faster_than_it_says(shape: str) -> None:
    path = Path(shape, amplitude=3.0, period=0.4)  # type: ignore[arg-type]
    turns = np.linspace(0, 1, 4001)
    down, right = path.at(turns)
    assert np.hypot(down, right).max() == pytest.approx(3.0, rel=1e-6)
    assert (down[0], right[0]) == pytest.approx((down[-1], right[-1]), abs=1e-9)
    speed = np.hypot(np.diff(down), np.diff(right)).max() / (0.4 / 4000)
    assert speed == pytest.approx(path.fastest, rel=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Camera(0, 4), "camera height: got 0, wanted a positive number"),
        (lambda: Camera(4, 4, noise=-1.0), "camera noise: got -1.0, wanted 0 or more"),
        (lambda: Path(phase=2.0), "path phase: got 2.0, wanted 0 to 1"),
        (lambda: film(torch.full((1, 2, 2), 2.0), Camera(2, 2), STILL, 1.0), "camera images: got 2 to 2, wanted"),
        (lambda: film(torch.zeros(2, 2), Camera(2, 2), STILL, 1.0), "camera images: got torch.float32 of shape (2, 2)"),
        (lambda: film(torch.zeros(2, 2, 2), Camera(2, 2), STILL, 1.0, 1.0, [1]), "camera numbers: got 1, wanted 2"),
        (
            lambda: film(torch.zeros(1, 2, 2), Camera(2, 2), Path(amplitude=500.0, period=1e-3), 3600.0),
            "camera path: got 3600 s at up to 3,141,593 pixels a second, wanted at most 4,000,000 frames",
        ),
        (
            lambda: film(torch.zeros(1, 2, 2), Camera(1000, 1000, noise=1e4), STILL, 3600.0),
            "camera leak and noise: got 36,001,080,000,000 events a recording, wanted at most 100,000,000",
        ),
    ],
)
def test_what_a_camera_refuses(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BitspikeError) as error:
        make()
    assert str(error.value).startswith(message)
