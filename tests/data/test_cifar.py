from __future__ import annotations

import io
import os
import pickle
import re
import struct
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from bitspike.data import load, plain_pickle, prepare
from bitspike.data.plain_pickle import read_plain_pickle
from bitspike.errors import BitspikeError

ANIMALS = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship", b"truck"]


class Python2Pickler(pickle._Pickler):  # type: ignore[name-defined,misc]
    """Writes text as Python 2 did, in which the published files are made: strings of bytes."""

    dispatch: ClassVar[dict[Any, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def save_bytes(self, text: bytes) -> None:
        self.write(b"T" + struct.pack("<i", len(text)) + text)
        self.memoize(text)

    dispatch[bytes] = save_bytes


def python2(content: Any) -> bytes:
    out = io.BytesIO()
    Python2Pickler(out, 2).dump(content)
    return out.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


def rows(count: int, first: int = 0) -> np.ndarray[Any, Any]:
    """Image i: red i, green 100 + i, blue 200, its top left pixel black."""
    x = np.empty((count, 3, 32, 32), np.uint8)
    x[:, 0] = (first + np.arange(count)).reshape(-1, 1, 1)
    x[:, 1] = (100 + np.arange(count)).reshape(-1, 1, 1)
    x[:, 2] = 200
    x[:, :, 0, 0] = 0
    return x.reshape(count, 3072)


def cifar10(folder: Path, old: bool = True) -> Path:
    home = folder / "cifar-10-batches-py"
    home.mkdir(parents=True)
    dump = python2 if old else pickle.dumps
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        content = {b"data": rows(20, 20 * number), b"labels": [i % 10 for i in range(20)], b"batch_label": b"x"}
        (home / name).write_bytes(dump(content))
    (home / "batches.meta").write_bytes(dump({b"label_names": ANIMALS, b"num_cases_per_batch": 20}))
    return folder


@pytest.mark.parametrize("old", [True, False])
def test_cifar10_is_read_in_its_layout_and_split(tmp_path: Path, old: bool) -> None:
    data = load("cifar10", folder=cifar10(tmp_path, old), validation=20)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [80, 20, 20]
    assert (data.shape, data.subset, data.notes) == ((3, 32, 32), "subset 100/20", ())
    assert data.classes[:2] == ("airplane", "automobile")
    assert isinstance(data.train.x, torch.Tensor)
    for part in (data.train, data.validation, data.test):
        assert isinstance(part.x, torch.Tensor)
        place = part.index % 20
        assert torch.equal((part.x[:, 0, 5, 7] * 255).round().long(), part.index)
        assert torch.equal((part.x[:, 1, 31, 31] * 255).round().long(), 100 + place)
        assert torch.equal(part.y, place % 10)
        assert part.x[:, :, 0, 0].abs().max() == 0
    assert sorted(torch.cat([data.train.index, data.validation.index, data.test.index]).tolist()) == list(range(120))


def test_digests_are_of_the_images_not_of_the_pickles(tmp_path: Path) -> None:
    one, other = (load("cifar10", folder=cifar10(tmp_path / str(old), old)) for old in (True, False))
    assert one.digests == other.digests
    assert set(one.digests) == {*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"}


def test_channels_are_scaled_over_the_training_part_and_new_images_alike(tmp_path: Path) -> None:
    from PIL import Image

    data = load("cifar10", folder=cifar10(tmp_path), scale="channel")
    assert isinstance(data.train.x, torch.Tensor)
    assert torch.allclose(data.train.x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(data.train.x.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4)
    pixels = rows(1, int(data.test.index[0])).reshape(3, 32, 32)
    Image.fromarray(pixels.transpose(1, 2, 0)).save(tmp_path / "image.png")
    np.savez(tmp_path / "image.npz", x=pixels[None])
    for name in ("image.png", "image.npz"):
        x, _ = prepare(tmp_path / name, data.form)
        assert torch.allclose(x[0], data.test.x[0], atol=1e-6)


def test_cifar100_has_fine_and_coarse_labels(tmp_path: Path) -> None:
    home = tmp_path / "cifar-100-python"
    home.mkdir()
    for name in ("train", "test"):
        labels = {b"fine_labels": [i % 100 for i in range(200)], b"coarse_labels": [i % 20 for i in range(200)]}
        (home / name).write_bytes(python2({b"data": rows(200)[:, :], **labels}))
    names = {
        b"fine_label_names": [b"f%d" % i for i in range(100)],
        b"coarse_label_names": [b"c%d" % i for i in range(20)],
    }
    (home / "meta").write_bytes(python2(names))
    fine, coarse = load("cifar100", folder=tmp_path), load("cifar100", folder=tmp_path, labels="coarse")
    assert (len(fine.classes), fine.classes[99], len(coarse.classes)) == (100, "f99", 20)
    assert torch.equal(coarse.test.y, coarse.test.index % 20)
    assert torch.equal(fine.test.y, fine.test.index % 100)


def test_a_missing_folder_says_where_to_put_it(tmp_path: Path) -> None:
    with pytest.raises(BitspikeError, match=f"put the folder cifar-10-batches-py at {tmp_path}/cifar-10-batches-py$"):
        load("cifar10", folder=tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({b"labels": []}, "got a pickle without 'data', wanted a batch of CIFAR in its Python form"),
        ({b"data": rows(3)[:, :100], b"labels": [0] * 3}, "data: got uint8 of shape (3, 100), wanted uint8"),
        ({b"data": rows(3), b"labels": [0, 1]}, "labels: got 2 entries, wanted a list of 3 whole numbers"),
        ({b"data": rows(3), b"labels": [0, 12, 1]}, "labels: got label 12 at position 1, wanted 0 to 9"),
    ],
)
def test_a_file_of_other_content_is_named(tmp_path: Path, content: Any, message: str) -> None:
    path = cifar10(tmp_path) / "cifar-10-batches-py" / "data_batch_2"
    path.write_bytes(pickle.dumps(content, 2))
    with pytest.raises(BitspikeError, match=re.escape(f"{path}") + ".*" + re.escape(message)):
        load("cifar10", folder=tmp_path)


class Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_would_run_something_is_refused_and_nothing_runs(tmp_path: Path, protocol: int) -> None:
    path, mark = tmp_path / "data_batch_1", tmp_path / "ran"
    path.write_bytes(pickle.dumps({b"data": Call(os.system, f"touch {mark}")}, protocol))
    with pytest.raises(BitspikeError, match=re.escape(f"{path}: got a pickle that names posix.system, wanted dicts")):
        read_plain_pickle(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        Call(eval, "1"),
        Call(getattr, "a", "join"),
        {b"data": np.array([{}, []], object)},
        {b"data": np.zeros(3)},
        {b"data": np.zeros(3, [("a", "u1")])},
        np.dtype("u1"),
        np.uint8,
        bytearray,
        {1, 2},
    ],
)
def test_other_content_than_plain_data_is_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "file").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(BitspikeError, match=re.escape(f"{tmp_path / 'file'}: got a")):
        read_plain_pickle(tmp_path / "file")


def test_a_damaged_pickle_is_refused(tmp_path: Path) -> None:
    whole = python2({b"data": rows(3), b"labels": [0, 1, 2]})
    for cut in (0, 1, 40, len(whole) // 2, len(whole) - 1):
        (tmp_path / "file").write_bytes(whole[:cut])
        with pytest.raises(BitspikeError, match="a damaged pickle or one of other content"):
            read_plain_pickle(tmp_path / "file")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_data_come_back_as_they_were(tmp_path: Path, protocol: int) -> None:
    arrays = [np.arange(6, dtype=kind).reshape(2, 3) for kind in ("u1", "<i4", ">i2", "<u8")]
    arrays.append(np.asfortranarray(arrays[1]))
    content = {"text": "é", "list": [1, -(2**70), None, True, 0.5, b"", b"\0\xff"], "pair": (1, "a"), "arrays": arrays}
    (tmp_path / "file").write_bytes(pickle.dumps(content, protocol))
    found = read_plain_pickle(tmp_path / "file")
    assert {key: found[key] for key in ("text", "list", "pair")} == {
        key: content[key] for key in ("text", "list", "pair")
    }
    for one, other in zip(found["arrays"], arrays, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("program", "came"),
    [
        (b"]r\xff\xff\xff\x7f.", r"place 2147483647 in a memory of 1"),
        (b"]" + b"2" * 9 + b".", r"operation DUP"),
        (b"c__main__\nC\n)\x81.", r"operation NEWOBJ"),
        (b"\x8b\x00\x01\x00\x00" + b"\x7f" * 256 + b".", r"a number of 2,047 bits"),
        # l0 = []; l1 = [l0, l0]; ... l60: 2^60 entries to walk through, or 60 deep.
        (b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (k, k, k + 1) for k in range(60)) + b".", r"parts within parts"),
        (b"(" * 10_001, r"more than 10,000 operations"),
    ],
)
def test_a_small_pickle_cannot_ask_for_much(
    tmp_path: Path, program: bytes, came: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_pickle, "OPERATIONS", 10_000)
    (tmp_path / "batch").write_bytes(program)
    with pytest.raises(BitspikeError, match=rf"^.*batch: got a damaged pickle or one of other content \({came}.*\)"):
        read_plain_pickle(tmp_path / "batch")


def test_names_of_classes_that_are_not_text_are_refused_or_shown_as_bytes(tmp_path: Path) -> None:
    meta = cifar10(tmp_path) / "cifar-10-batches-py" / "batches.meta"
    meta.write_bytes(python2({b"label_names": [b"caf\xe9", *ANIMALS[1:]]}))
    assert load("cifar10", folder=tmp_path).classes[0] == "caf\\xe9"
    for names, shown in (([b"two\nlines", *ANIMALS[1:]], r"'two\nlines'"), ([b"cat", *ANIMALS[1:]], "'cat'")):
        meta.write_bytes(python2({b"label_names": names}))
        with pytest.raises(
            BitspikeError, match=re.escape(f"got {shown}, wanted names of their own that can be printed")
        ):
            load("cifar10", folder=tmp_path)
