"""Data sets: what each can be asked for, whether it is drawn anew for every seed, where its files are looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from bitspike.options import Options
from bitspike.registry import register

Share = Annotated[float, Field(gt=0)]
Size = Annotated[int, Field(ge=10)]
Drawn = Annotated[int, Field(ge=2)]
Wait = Annotated[float, Field(ge=0, le=60_000)]
Whole = Annotated[int, Field(gt=0)]
Side = Annotated[int, Field(ge=1, le=1024)]
Threshold = Annotated[float, Field(ge=0.01, le=10)]
Gesture = Annotated[int, Field(ge=0, le=10)]
Own = Annotated[Path, Field(strict=False)]
VALIDATION = "Validation part: below 1 a share of what the test part leaves, else a number of examples."
TEST = "Test part: below 1 a share of all examples, else a number of them."


class DataOptions(Options):
    """generated: drawn anew for every seed. folders: names of the folder that its files are in, the usual one first.

    files: of a set whose files stand by themselves, in any of `folders`. otherwise: where there is none, in words.
    """

    generated: ClassVar[bool] = False
    folders: ClassVar[tuple[str, ...]] = ()
    files: ClassVar[tuple[str, ...]] = ()
    otherwise: ClassVar[str] = "embedded or generated"


@register("data", "digits", "bitspike.data.digits:digits")
class Digits(DataOptions):
    """Handwritten digits of 8 x 8 pixels, embedded in scikit-learn."""

    validation: Annotated[Share, Field(description=VALIDATION)] = 0.1
    test: Annotated[Share, Field(description=TEST)] = 0.2


@register("data", "two-moons", "bitspike.data.toy:two_moons")
class TwoMoons(DataOptions):
    """Two interleaved half-circles."""

    generated = True
    validation: Drawn = 500
    """Validation points, drawn for it."""
    train_size: Drawn = 200
    """Training points."""
    test_size: Drawn = 2000
    """Test points."""
    noise: Annotated[float, Field(ge=0)] = 0.1
    """Standard deviation of the points about the half-circles, whose radius is 1."""


@register("data", "regression-1d", "bitspike.data.toy:regression_1d")
class Regression1D(DataOptions):
    """A noisy curve with gaps."""

    generated = True
    noise: Annotated[float, Field(ge=0)] = 0.1
    """Standard deviation of the training targets about the curve."""


@register("data", "mackey-glass", "bitspike.data.mackey_glass:mackey_glass")
class MackeyGlass(DataOptions):
    """Chaotic series, each with a value to come."""

    generated = True
    validation: Drawn = 500
    """Validation series, drawn for it."""
    train_size: Drawn = 4000
    """Training series."""
    test_size: Drawn = 1000
    """Test series."""
    steps: Annotated[int, Field(ge=1)] = 100
    """Time steps that are shown."""
    ahead: Annotated[int, Field(ge=1)] = 15
    """How many steps behind the last one the value lies that is asked for."""
    tau: Annotated[float, Field(gt=0, le=100)] = 17.0
    """Delay of the equation, in time steps; the series are chaotic from about 17."""


@register("data", "cue-order", "bitspike.data.cue_order:cue_order")
class CueOrder(DataOptions):
    """Events of two cues whose order is the class: nothing but time tells them apart."""

    generated = True
    validation: Drawn = 500
    """Validation recordings, drawn for it."""
    train_size: Drawn = 4000
    """Training recordings."""
    test_size: Drawn = 1000
    """Test recordings."""
    sensor: Annotated[tuple[Side, Side], Field(strict=False)] = (2, 4)
    """[height, width] of the sensor in pixels; a cue is of its left or right half."""
    cue: Annotated[float, Field(gt=0, le=60_000)] = 100.0
    """Milliseconds of a cue."""
    rate: Annotated[float, Field(gt=0, le=1000)] = 25.0
    """Events of a pixel and sign a second while its cue lasts."""
    gap: Annotated[tuple[Wait, Wait], Field(strict=False)] = (275.0, 350.0)
    """[shortest, longest] milliseconds of silence between the cues."""
    lead: Wait = 100.0
    """Milliseconds before the first cue, at most."""


class Official(DataOptions):
    """A set with a test part of its own."""

    otherwise = ""
    validation: Annotated[Share, Field(description=VALIDATION)] = 1 / 10
    train_size: Size | None = None
    """Training examples: a seeded, stratified subset of the official part (validation included)."""
    test_size: Size | None = None
    """Test examples: a seeded, stratified subset of the official part."""


@register("data", "mnist", "bitspike.data.mnist:mnist")
class MNIST(Official):
    """Handwritten digits, 28 x 28 pixels."""

    folders = ("mnist", "MNIST/raw")
    otherwise = "downloaded on first use"
    # 5,000 of the 60,000.
    validation: Annotated[Share, Field(description=VALIDATION)] = 1 / 12


@register("data", "fashion-mnist", "bitspike.data.mnist:fashion_mnist")
class FashionMNIST(MNIST):
    """Pieces of clothing in the form of MNIST."""

    folders = ("fashion-mnist", "FashionMNIST/raw")
    otherwise = ""


@register("data", "cifar10", "bitspike.data.cifar:cifar10")
class CIFAR10(Official):
    """Ten kinds of things in colour, 32 x 32 pixels."""

    folders = ("cifar-10-batches-py",)
    scale: Literal["unit", "channel"] = "unit"
    """unit: pixels in [0, 1]; channel: each channel has mean 0 and variance 1 in training."""


@register("data", "cifar100", "bitspike.data.cifar:cifar100")
class CIFAR100(CIFAR10):
    """A hundred kinds of things in colour, or their twenty groups."""

    folders = ("cifar-100-python",)
    labels: Literal["fine", "coarse"] = "fine"
    """fine: 100 classes; coarse: 20 of five each."""


@register("data", "svhn", "bitspike.data.svhn:svhn")
class SVHN(Official):
    """House numbers seen from the street, 32 x 32 pixels."""

    folders = ("svhn", "SVHN", "")
    files = ("train_32x32.mat", "test_32x32.mat")
    extra: bool = False
    """Train on the 531,131 easier images too."""


@register("data", "nmnist", "bitspike.data.nmnist:nmnist")
class NMNIST(Official):
    """MNIST filmed by a moving event camera."""

    folders = ("nmnist", "nmnist-small", "N-MNIST")


class Filmed(DataOptions):
    """Still images that a simulated event camera films while they move. Usual values: N-MNIST's camera."""

    sensor: Annotated[tuple[Side, Side], Field(strict=False)] = (26, 26)
    """[height, width] of the sensor in pixels."""
    scale: Annotated[float, Field(gt=0, le=64)] = 1.0
    """Pixels of the sensor for a pixel of the image."""
    duration: Annotated[float, Field(ge=1, le=3_600_000)] = 2000.0
    """Milliseconds of a recording."""
    path: Literal["circle", "line", "saccades"] = "circle"
    """How the image moves: round and round, to and fro, or in three saccades along a triangle, as N-MNIST's camera."""
    amplitude: Annotated[float, Field(ge=0, le=512)] = 2.0
    """Pixels from the middle to the circle, to the line's ends or to the triangle's corners."""
    period: Annotated[float, Field(gt=0, le=3_600_000)] = 1000.0
    """Milliseconds until the image is again where it began."""
    phase: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the path on which a recording may begin: 0 all at one place, 1 anywhere."""
    follow: bool = False
    """Move events back with the image, by whole pixels, as recordings that were made steady afterwards."""
    on: Threshold = 0.275
    """Threshold of ON events, in log intensity."""
    off: Threshold = 0.225
    """Threshold of OFF events, in log intensity."""
    mismatch: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Standard deviation of the pixels' thresholds, as a share."""
    refractory: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    """Milliseconds for which a pixel sees nothing after its event."""
    leak: Annotated[float, Field(ge=0, le=1e4)] = 0.3
    """ON events of a pixel a second where nothing moves."""
    noise: Annotated[float, Field(ge=0, le=1e4)] = 0.1
    """Random events of a pixel a second, of either sign."""
    dark: Annotated[float, Field(ge=1e-3, le=1e3)] = 0.2
    """Luminance of black; that of white is 1 more."""
    tau: Annotated[float, Field(ge=0, le=1e6)] = 2.0
    """Milliseconds by which a pixel lags behind the light (time constant)."""
    camera: Annotated[int, Field(ge=0)] = 0
    """Number of the camera: another one has other thresholds and other noise."""


@register("data", "mnist-dvs-sim", "bitspike.data.filmed:mnist_dvs_sim")
class MNISTDVSSim(Filmed, MNIST):
    """MNIST filmed by a simulated event camera, as MNIST-DVS was by a real one."""

    validation: Annotated[Share, Field(description=VALIDATION)] = 1 / 10
    train_size: Size | None = 9000
    """Recordings for training (validation included): of a seeded, stratified subset of MNIST's training images."""
    test_size: Size | None = 1000
    """Test recordings: of a seeded, stratified subset of MNIST's test images."""


@register("data", "digits-dvs-sim", "bitspike.data.filmed:digits_dvs_sim")
class DigitsDVSSim(Filmed, Digits):
    """The embedded digits of 8 x 8 pixels, filmed by a simulated event camera."""

    sensor: Annotated[tuple[Side, Side], Field(strict=False)] = (16, 16)
    """[height, width] of the sensor in pixels."""
    scale: Annotated[float, Field(gt=0, le=64)] = 1.5
    """Pixels of the sensor for a pixel of the image."""
    duration: Annotated[float, Field(ge=1, le=3_600_000)] = 1000.0
    """Milliseconds of a recording."""


@register("data", "mnist-dvs", "bitspike.data.mnist_dvs:mnist_dvs")
class MNISTDVS(Official):
    """MNIST on a monitor, moving slowly, filmed by an event camera; 26 x 26 pixels."""

    folders = ("mnist-dvs", "MNIST-DVS", "MNIST_DVS")


@register("data", "dvs-gesture", "bitspike.data.dvs_gesture:dvs_gesture")
class DVSGesture(DataOptions):
    """Gestures of 29 people before an event camera."""

    folders = ("dvs-gesture", "DvsGesture", "DVSGesture")
    otherwise = ""
    validation: Annotated[Share, Field(description=VALIDATION)] = 0.1
    gestures: Annotated[tuple[Gesture, ...], Field(strict=False)] | None = None
    """Which gestures, 0 to 10, in the order of the classes (default all eleven)."""
    downsample: Literal[1, 2, 4, 8] = 4
    """Pixels of the camera for a pixel of the recordings, to either side: 4 gives 32 x 32."""
    train_clip: Annotated[float, Field(ge=1, le=1e6)] = 500.0
    """Milliseconds of the pieces into which a gesture for training is cut."""
    test_clip: Annotated[float, Field(ge=1, le=1e6)] = 1800.0
    """Milliseconds of a test gesture, from its begin."""


@register("data", "shd", "bitspike.data.shd:shd")
class SHD(Official):
    """Spoken digits as spikes of a model cochlea (Heidelberg)."""

    folders = ("shd", "SHD", "")
    files = ("shd_train.h5", "shd_test.h5")
    merge: Annotated[int, Field(ge=1, le=700)] = 1
    """Neighbouring channels, of 700, that are one."""


@register("data", "braille", "bitspike.data.braille:braille")
class Braille(DataOptions):
    """Braille letters felt by 12 sensors, as events."""

    folders = ("braille", "")
    files = ("braille.npz",)
    otherwise = ""
    validation: Annotated[Share, Field(description=VALIDATION)] = 0.1
    test: Annotated[Share, Field(description=TEST)] = 0.2
    delta: Annotated[float, Field(ge=1e-3, le=1e6)] = 2.0
    """By how much a reading (0 to 255) moves for an event."""
    step: Annotated[float, Field(ge=1e-3, le=1e6)] = 25.0
    """Milliseconds from reading to reading; the file does not say."""


@register("data", "folder", "bitspike.data.folder:own_folder")
class Folder(DataOptions):
    """Files of one's own."""

    otherwise = "your own, with data.options.path"
    path: Own
    """Class folders of images, event files or sound (with or without train and test above them), an .npz with x and
    y, or a CSV: wide (a row is an example; the target is the column y, label, class or target, else the last) or long
    (columns example and t; a row is one time step of one example; examples may differ in length)."""
    test_path: Own | None = None
    """A file or folder of the same kind whose examples are the test part (with folds: one more part)."""
    validation: Annotated[Share, Field(description=VALIDATION)] = 0.125
    test: Annotated[Share | None, Field(description=TEST)] = None
    group: str | Whole | None = None
    """Column of a CSV (its name, or its number from 1) or array of an .npz that says who an example is of: no group is
    in two parts."""
    size: Annotated[tuple[Whole, Whole], Field(strict=False)] | None = None
    """[height, width] of images (default the commonest) or of the event sensor (default: as files say, or the largest
    addresses + 1)."""
    channels: Literal[1, 3] | None = None
    """Images: 1 grey, 3 RGB (default 3 if any image has colour)."""
    white: Share | None = None
    """Images of more than 8 bits: the pixel that becomes 1 (default 65535 for 16 bits, else 1, 255 or 65535, the least
    that no pixel exceeds)."""
    time: bool = False
    """An .npz or wide CSV: x has a time axis, (N, T, ...)."""
    steps: Whole | None = None
    """Time steps T of a wide CSV, whose columns are those of step 1, 2, ...; or the T to which sequences of different
    lengths are padded (default the longest)."""
    padding: Literal["nan", "zero"] | None = None
    """An .npz without lengths: steps at the end that hold nothing but NaN, or zeros, are behind a sequence's end."""
    target: Literal["class", "value"] | None = None
    """What y is: class names or values. Left out: text is classes, and so are whole numbers, different texts of one
    number, and a column called label or class, where few are distinct (at most 100, at most half the examples)."""
    target_column: str | Whole | None = None
    """The target's column of a CSV, by its name or its number (from 1)."""
    per_step: bool = False
    """A long CSV: the target is a class for each step (an .npz says so by y of shape (N, T))."""
    normalise: Literal["minmax", "standard", "none"] | None = None
    """x of a table or of sound, by its training part: minmax to [0, 1] and clipped (default), standard (mean 0,
    variance 1) or none."""
    rate: Whole | None = None
    """Sound: samples per second that all files are brought to (default the commonest)."""
    frame: Share | None = None
    """Sound: milliseconds of a frame (default 25)."""
    hop: Share | None = None
    """Sound: milliseconds from frame to frame, which are the time steps (default 10)."""
    bands: Whole | None = None
    """Sound: mel bands of a frame (default 20)."""


@register("data", "given", "bitspike.data.given:again")
class Given(DataOptions):
    """Examples in memory, as they were handed to `bitspike.fit`."""

    otherwise: ClassVar[str] = "handed to bitspike.fit"
    validation: Annotated[float | int | None, Field(description=VALIDATION)] = None
    test: Annotated[float | int | None, Field(description=TEST)] = None
