"""Files that were once read as something else without a word: each is used as given, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bitspike
from bitspike.data import load, prepare, prepare_labelled
from bitspike.data.given import given, labelled
from bitspike.errors import BitspikeError


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(1, 256, (4, 6), dtype=np.uint8)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(8):
            Image.fromarray(pixels(i)).save(tmp_path / "set" / name / f"{i}.png")
    return tmp_path / "set"


def test_images_beside_an_npz_are_read_as_they_are_alone(pictures: Path, tmp_path: Path) -> None:
    form = load("folder", path=pictures).form
    new = tmp_path / "new"
    new.mkdir()
    for i in (20, 21):
        Image.fromarray(pixels(i)).save(new / f"{i}.png")
    np.savez(new / "z.npz", x=pixels(22)[None])
    (new / "._20.png").write_bytes(b"what another system keeps beside a file")
    x, names = prepare(new, form)
    assert [Path(name).name for name in names] == ["20.png", "21.png", "z.npz[0]"]
    wanted = torch.stack([torch.from_numpy(pixels(i)) for i in (20, 21, 22)]).unsqueeze(1) / 255
    assert isinstance(x, torch.Tensor)
    torch.testing.assert_close(x, wanted)


@pytest.mark.parametrize("x", [pixels(1) / 255, pixels(1) * -1.0, pixels(1) * 2.0])
def test_values_that_are_no_pixels_are_refused(pictures: Path, tmp_path: Path, x: np.ndarray) -> None:
    np.savez(tmp_path / "x.npz", x=x[None])
    with pytest.raises(
        BitspikeError, match=r"x.npz x: got values from .*, wanted pixels from 0 to 255, as in training"
    ):
        prepare(tmp_path / "x.npz", load("folder", path=pictures).form)


def test_what_is_left_out_of_class_folders_is_said(pictures: Path) -> None:
    Image.fromarray(pixels(30)).save(pictures / "a" / "x.jfif", "JPEG")  # a JPEG too
    (pictures / "a" / "notes.txt").write_text("none")
    (pictures / "b" / "more").mkdir()
    data = load("folder", path=pictures)
    assert sum(map(len, (data.train, data.validation, data.test))) == 17
    assert "set: left out of the folders of classes: 1 .txt files, 1 folders" in data.notes


def write(path: Path, head: str, rows: list[str]) -> Path:
    path.write_text("\n".join([head, *rows] if head else rows) + "\n")
    return path


def test_decimal_commas_of_a_target_are_those_of_its_file(tmp_path: Path) -> None:
    rows = [f"{i},5;{i % 3},25;{i + 0.5}".replace(".", ",") for i in range(40)]
    data = load("folder", path=write(tmp_path / "a.csv", "u;v;val", rows))
    assert data.kind == "regression"
    y = torch.cat([part.y for part in (data.train, data.validation, data.test)])
    assert float(bitspike.data.restore(y, data.target).max()) == pytest.approx(39.5)
    thousands = write(tmp_path / "b.csv", "u,price", [f'0.{i + 1},"{i + 1},174"' for i in range(20)])
    with pytest.raises(BitspikeError, match="text such as '1,174', wanted numbers"):
        load("folder", path=thousands, target="value")
    either = write(tmp_path / "c.csv", "u;price", [f"0.{i + 1};{i + 1},174" for i in range(20)])
    with pytest.raises(BitspikeError, match="row 2, column 'price': got '1,174', which may be a thousand"):
        load("folder", path=either)


def test_names_of_columns_that_are_numbers_are_no_example(tmp_path: Path) -> None:
    rows = [f"{i / 7:.3f},{i / 9:.3f},{i % 2}" for i in range(30)]
    with pytest.raises(BitspikeError, match="row 1: got numbers and 'outcome', which stands nowhere below it"):
        load("folder", path=write(tmp_path / "a.csv", "400,500,outcome", rows))
    assert load("folder", path=write(tmp_path / "b.csv", "", rows)).classes == ("0", "1")


def test_a_value_that_stands_for_a_missing_one_is_refused_by_its_place(tmp_path: Path) -> None:
    rows = [f"{i / 7:.3f},{i % 2}" for i in range(30)]
    rows[4] = "-1.7976931348623157e308,1"
    with pytest.raises(BitspikeError, match=r"row 6, column 'a': got '-1.79.*', wanted a finite number up to 1e\+150"):
        load("folder", path=write(tmp_path / "a.csv", "a,label", rows))
    np.savez(tmp_path / "a.npz", x=np.array([[1.0, -1.7e308]]), y=np.array([0]))
    with pytest.raises(BitspikeError, match=r"a.npz x\[0, 1\]: got .*, wanted a finite number up to"):
        load("folder", path=tmp_path / "a.npz")


def test_a_file_without_names_has_the_target_where_it_was_among_the_others(tmp_path: Path) -> None:
    rows = [f"s{i // 4},{'uv'[i % 2]},{i / 7:.3f},{i / 9:.3f}" for i in range(40)]
    data = load("folder", path=write(tmp_path / "a.csv", "subject,label,a,b", rows), group="subject")
    bare = write(tmp_path / "b.csv", "", [row.partition(",")[2] for row in rows])
    split, _ = prepare_labelled(bare, data.form, data.classes)
    named, _ = prepare_labelled(tmp_path / "a.csv", data.form, data.classes)
    assert torch.equal(split.x, named.x)
    assert split.y.tolist() == named.y.tolist() == [i % 2 for i in range(40)]


@pytest.mark.parametrize("classes", [("1", "0"), ("neg", "pos"), None])
def test_numbers_of_classes_stay_numbers(classes: tuple[str, str] | None) -> None:
    x, y = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
    data, _ = given((x, y), time=False, classes=classes)
    again, _ = labelled((x, y), data.form, data.classes, "data")
    assert torch.equal(again.y, y)
    if classes is not None:
        with pytest.raises(BitspikeError, match="data y: got int64 from 0 to 2, wanted class numbers 0 to 1"):
            labelled((x, torch.full((40,), 2) * (y > 0)), data.form, data.classes, "data")
    by_name, _ = labelled((x, np.array(data.classes)[y.numpy()]), data.form, data.classes, "data")
    assert torch.equal(by_name.y, y)
