"""Sets of event recordings in the files of their cameras, written here in the right format."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from bitspike.data import Events, load
from bitspike.data.formats import EVENT, write_events
from bitspike.data.formats.hdf5 import Hdf5
from bitspike.errors import BitspikeError


def events(*rows: tuple[int, int, int, int]) -> np.ndarray:
    """A structured array of rows (t, x, y, p)."""
    return np.array(list(rows), EVENT)


def aedat2(path: Path, *words: tuple[int, int]) -> None:
    """Addresses and times, byte by byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"#!AER-DAT2.0\r\n" + b"".join(struct.pack(">II", *pair) for pair in words))


def mnist_dvs(folder: Path) -> Path:
    """Two recordings of each digit for training and one for the test; the times of file number n begin at n."""
    for digit in range(10):
        for number in (1, 900, 901):
            path = folder / "mnist-dvs" / str(digit) / f"mnist_{digit}_scale04_{number:04}.aedat"
            # x = 127 - 79 = 48, y = 48; x = 127 - 54 = 73, y = 73; x = 127 - 53 = 74 and y = 74 lie outside.
            words = [(48 << 8 | 79 << 1 | 1, 5), (73 << 8 | 54 << 1, 30), (73 << 8 | 53 << 1, 40)]
            words += [(74 << 8 | 60 << 1, 50), (60 << 8 | 60 << 1 | 1, 60 + digit)]
            aedat2(path, *((address, number + t) for address, t in words))
    return folder


def test_mnist_dvs_is_decoded_cropped_and_split_by_number(tmp_path: Path) -> None:
    data = load("mnist-dvs", folder=mnist_dvs(tmp_path))
    assert (data.shape, data.subset) == ((2, 26, 26), "subset 20/10")
    assert data.test.index.tolist() == [1000 * digit + 900 for digit in range(10)]
    assert data.test.y.tolist() == list(range(10))
    numbers = torch.cat([data.train.index, data.validation.index])
    assert sorted(numbers.tolist()) == sorted([1000 * d for d in range(10)] + [1000 * d + 899 for d in range(10)])
    assert isinstance(data.test.x, Events)
    one = data.test.x[3:4]
    assert [column.tolist() for column in (one.t, one.x, one.y, one.p)] == [
        [0, 25, 58],
        [0, 25, 19],
        [0, 25, 12],
        [1, 0, 1],
    ]


def test_mnist_dvs_of_other_scales_is_left_out_and_other_names_are_refused(tmp_path: Path) -> None:
    home = mnist_dvs(tmp_path) / "mnist-dvs"
    aedat2(home / "mnist_3_scale16_0001.aedat", (0, 0))
    assert load("mnist-dvs", folder=tmp_path).subset == "subset 20/10"
    aedat2(home / "3" / "0901.aedat", (0, 0))
    with pytest.raises(BitspikeError, match=r"mnist_3_scale04_0901.aedat: got recording 901 of digit 3 again, as in"):
        load("mnist-dvs", folder=tmp_path)
    (home / "3" / "0901.aedat").rename(home / "notes.aedat")
    with pytest.raises(BitspikeError, match=r"notes.aedat: got a name without digit and number, wanted mnist_DIGIT"):
        load("mnist-dvs", folder=tmp_path)


def gestures(folder: Path) -> Path:
    """Users 1, 2 and 24; each makes gesture 2 for 1.2 s and gesture 11 for 0.4 s, an event each 10 ms of the clock."""
    home = folder / "DvsGesture"
    home.mkdir()
    for user in (1, 2, 24):
        t = np.arange(0, 3_000_000, 10_000)
        made = np.zeros(len(t), EVENT)
        made["t"], made["x"], made["y"], made["p"] = t, 127 - user, 127, t // 10_000 % 2
        write_events(home / f"user{user:02}_lab.aedat", made, "aedat3", size=(128, 128))
        rows = ["class,startTime_usec,endTime_usec", "2,500000,1700000", "11,2000000,2400000"]
        (home / f"user{user:02}_lab_labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_gestures_are_cut_into_clips_of_users_that_stay_apart(tmp_path: Path) -> None:
    data = load("dvs-gesture", folder=gestures(tmp_path))
    # 1.2 s are two clips of 0.5 s, 0.4 s are one; a test gesture is one clip of at most 1.8 s.
    assert [len(part) for part in (data.train, data.validation, data.test)] == [3, 3, 2]
    assert (data.shape, len(data.classes)) == ((2, 32, 32), 11)
    assert data.train.y.tolist() == [1, 1, 10]
    assert {*data.train.index.tolist(), *data.validation.index.tolist()} == set(range(6))
    assert data.test.index.tolist() == [6, 7]
    x = data.train.x
    assert isinstance(x, Events)
    assert x.offsets.diff().tolist() == [50, 50, 40]
    assert x[1:2].t.tolist() == list(range(0, 500_000, 10_000))
    user = 1 if 0 in data.train.index.tolist() else 2
    assert set(x.x.tolist()) == {(127 - user) // 4}
    assert set(x.y.tolist()) == {31}
    assert isinstance(data.test.x, Events)
    assert data.test.x.offsets.diff().tolist() == [120, 40]


def test_some_gestures_keep_their_numbers_and_get_classes_of_their_own(tmp_path: Path) -> None:
    data = load("dvs-gesture", folder=gestures(tmp_path), gestures=(10, 1), train_clip=300.0, downsample=8)
    assert data.classes == ("other", "right hand wave")
    assert data.train.y.tolist() == [1, 1, 1, 1, 0]
    assert data.test.index.tolist() == [10, 11]
    assert data.shape == (2, 16, 16)
    with pytest.raises(BitspikeError, match=r"gestures: got \[1\], wanted two or more different gestures, 0 to 10$"):
        load("dvs-gesture", folder=tmp_path, gestures=(1,))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("12,100,200", "line 2: got 12,100,200, wanted a class from 1 to 11, and times that go on"),
        ("1,100,x", "line 2: got 1,100,x, wanted three whole numbers"),
        (
            "1,0,999999999999999",
            "gestures of 999,999,999,999,999 us and clips of 500,000, wanted at most 100,000 clips",
        ),
        ("1,9000000,9500000", "user01_lab.aedat: got no event from 9,000,000 to 9,500,000 us, wanted some"),
    ],
)
def test_labels_of_gestures_that_are_wrong_are_named(tmp_path: Path, row: str, message: str) -> None:
    gestures(tmp_path)
    (tmp_path / "DvsGesture" / "user01_lab_labels.csv").write_text(f"class,startTime_usec,endTime_usec\n{row}\n")
    with pytest.raises(BitspikeError) as error:
        load("dvs-gesture", folder=tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_shd_is_read_numbered_and_its_channels_merged(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    (tmp_path / "shd").mkdir()
    for part, count in (("train", 100), ("test", 40)):
        # Recording n has an event at n ms in channel n, and one a little later in channel 699.
        made = [events((1000 * n, n, 0, 0), (1000 * n + 500, 699, 0, 0)) for n in range(count)]
        Hdf5.write_all(tmp_path / "shd" / f"shd_{part}.h5", made, [n % 20 for n in range(count)])
    data = load("shd", folder=tmp_path, merge=7)
    assert (data.shape, data.subset, len(data.classes)) == ((1, 1, 100), "subset 100/40", 20)
    assert data.test.index.tolist() == list(range(100, 140))
    assert torch.equal(data.train.y, data.train.index % 20)
    assert isinstance(data.train.x, Events)
    first = data.train.x.offsets[:-1]
    assert torch.equal(data.train.x.t[first], 1000 * data.train.index)
    assert torch.equal(data.train.x.x[first].long(), data.train.index // 7)
    assert set(data.train.x.x[first + 1].tolist()) == {99}
    fewer = load("shd", folder=tmp_path, train_size=40, test_size=20)
    assert isinstance(fewer.train.x, Events)
    assert torch.equal(fewer.train.x.x[fewer.train.x.offsets[:-1]].long(), fewer.train.index)


@pytest.mark.parametrize("name", ["mnist-dvs", "dvs-gesture", "shd"])
def test_a_set_that_is_not_there_says_where_it_is_looked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BitspikeError, match=rf"^{name}: not found and not downloaded .* into {tmp_path}/{name}$"):
        load(name, folder=tmp_path)
    monkeypatch.delenv("BITSPIKE_DATA", raising=False)
    with pytest.raises(BitspikeError, match=rf"into FOLDER/{name} with BITSPIKE_DATA=FOLDER$"):
        load(name)
