from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bitspike.data import DataSet, Events, load, restore, write_events
from bitspike.errors import BitspikeError


def image(path: Path, value: int | tuple[int, int, int], size: tuple[int, int] = (6, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L" if isinstance(value, int) else "RGB", size, value).save(path)


def together(data: DataSet) -> tuple[torch.Tensor, torch.Tensor]:
    """x and y of all three splits, in the order of their numbers."""
    parts = (data.train, data.validation, data.test)
    order = torch.cat([part.index for part in parts]).argsort()
    xs = [part.x for part in parts if isinstance(part.x, torch.Tensor)]
    return torch.cat(xs)[order], torch.cat([part.y for part in parts])[order]


def csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_class_folders_of_images(tmp_path: Path) -> None:
    for i in range(10):
        image(tmp_path / "cat" / f"{i}.png", 51, (6, 4) if i else (12, 8))
        image(tmp_path / "ant" / f"{i}.bmp", 255)
    data = load("folder", path=tmp_path)
    assert data.classes == ("ant", "cat")
    assert data.shape == (1, 4, 6)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [14, 2, 4]
    x, y = together(data)
    assert y.tolist() == [0] * 10 + [1] * 10
    torch.testing.assert_close(x.flatten(1), torch.where(y == 0, 1.0, 0.2).unsqueeze(1).expand(20, 24))


def test_images_become_colour_when_one_has_colour_or_as_asked(tmp_path: Path) -> None:
    for i in range(4):
        image(tmp_path / "a" / f"{i}.png", (255, 0, 0))
        image(tmp_path / "b" / f"{i}.png", 0)
    assert load("folder", path=tmp_path).shape == (3, 4, 6)
    x, _ = together(load("folder", path=tmp_path, size=[8, 10]))
    assert x.shape == (8, 3, 8, 10)
    assert x[0, :, 0, 0].tolist() == [1, 0, 0]
    assert load("folder", path=tmp_path, channels=1).shape == (1, 4, 6)


def test_sixteen_bit_grey_is_scaled_and_not_cut_off(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(np.full((4, 4), 257 * 102, dtype=np.uint16)).save(tmp_path / name / f"{i}.png")
    x, _ = together(load("folder", path=tmp_path))
    torch.testing.assert_close(x, torch.full((6, 1, 4, 4), 0.4))


def test_train_and_test_folders_are_kept(tmp_path: Path) -> None:
    for part, count in (("train", 8), ("test", 3)):
        for name in ("10", "9"):
            for i in range(count):
                image(tmp_path / part / name / f"{i}.png", count)
    data = load("folder", path=tmp_path)
    assert data.classes == ("9", "10")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [14, 2, 6]
    assert isinstance(data.test.x, torch.Tensor)
    assert torch.equal(data.test.x, torch.full((6, 1, 4, 6), 3 / 255))
    with pytest.raises(BitspikeError, match=r"^folder option test: got 0.5, wanted it left out \(.* has a test folder"):
        load("folder", path=tmp_path, test=0.5)


def test_class_folders_of_event_files(tmp_path: Path) -> None:
    for name, start in (("left", 0), ("right", 5)):
        (tmp_path / name).mkdir()
        for i in range(5):
            t = torch.arange(i + 1)
            write_events(tmp_path / name / f"{i}.bin", t, t + start, t, t % 2)
    data = load("folder", path=tmp_path)
    assert (data.input, data.shape) == ("events", (2, 5, 10))
    assert isinstance(data.train.x, Events)
    assert torch.equal(data.train.x.offsets.diff(), data.train.index % 5 + 1)
    assert load("folder", path=tmp_path, size=(16, 12)).shape == (2, 16, 12)
    with pytest.raises(BitspikeError, match=r"right/4.bin: got event 4 at x=9, y=4, wanted x < 9 and y < 9$"):
        load("folder", path=tmp_path, size=(9, 9))


def test_an_npz_is_scaled_by_its_training_part_and_clipped(tmp_path: Path) -> None:
    raw = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=raw, y=np.arange(50) % 3 - 1)
    data = load("folder", path=tmp_path / "a.npz")
    assert (data.classes, data.shape, data.steps) == (("-1", "0", "1"), (3,), None)
    x, y = together(data)
    assert y.tolist() == [i % 3 for i in range(50)]
    train = torch.from_numpy(raw)[data.train.index]
    low, high = train.amin(0), train.amax(0)
    torch.testing.assert_close(x, ((torch.from_numpy(raw) - low) / (high - low)).clamp(0, 1))
    standard = load("folder", path=tmp_path / "a.npz", normalise="standard")
    assert isinstance(standard.train.x, torch.Tensor)
    torch.testing.assert_close(standard.train.x.mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(standard.train.x.std(0, correction=0), torch.ones(3))
    plain, _ = together(load("folder", path=tmp_path / "a.npz", normalise="none"))
    assert torch.equal(plain, torch.from_numpy(raw))


def test_an_npz_with_time(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((12, 7, 2)), y=np.array(["u", "v"] * 6))
    data = load("folder", path=tmp_path / "a.npz", time=True)
    assert (data.input, data.shape, data.steps, data.classes) == ("series", (2,), 7, ("u", "v"))
    assert together(data)[0].shape == (12, 7, 2)
    np.savez(tmp_path / "b.npz", x=np.zeros((12, 7)), y=np.arange(12) % 2)
    assert together(load("folder", path=tmp_path / "b.npz", time=True))[0].shape == (12, 7, 1)


def test_fractional_targets_are_values_in_units_of_the_training_range(tmp_path: Path) -> None:
    y = np.linspace(-3, 5, 40)
    np.savez(tmp_path / "a.npz", x=np.arange(40.0), y=y)
    data = load("folder", path=tmp_path / "a.npz")
    assert (data.kind, data.classes, data.shape) == ("regression", (), (1,))
    scaled = together(data)[1]
    assert scaled.shape == (40, 1)
    assert (float(data.train.y.min()), float(data.train.y.max())) == (0.0, 1.0)
    torch.testing.assert_close(restore(scaled, data.target)[:, 0], torch.from_numpy(y), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_large_targets_keep_their_digits(tmp_path: Path, kind: str) -> None:
    y = 1.7e9 + np.arange(40.0) / 4
    np.savez(tmp_path / "a.npz", x=np.arange(40.0), y=y)
    csv(tmp_path / "a.csv", "".join(f"{i},{value!r}\n" for i, value in enumerate(y.tolist())))
    data = load("folder", path=tmp_path / f"a.{kind}")
    raw = restore(together(data)[1], data.target)
    assert raw.dtype == torch.float64
    torch.testing.assert_close(raw[:, 0], torch.from_numpy(y), atol=1e-5, rtol=0)


@pytest.mark.parametrize("normalise", ["minmax", "standard", "none"])
def test_targets_are_scaled_to_the_training_range_whatever_x_is(tmp_path: Path, normalise: str) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(40.0), y=np.linspace(-3, 5, 40))
    data = load("folder", path=tmp_path / "a.npz", normalise=normalise)
    assert (float(data.train.y.min()), float(data.train.y.max())) == (0.0, 1.0)
    assert data.normalisation["kind"] == normalise


def test_a_class_missing_in_a_split_is_noted(tmp_path: Path) -> None:
    rows = "".join(f"{i},{'ab'[i % 2]}\n" for i in range(40))
    data = load("folder", path=csv(tmp_path / "a.csv", rows + "40,c\n41,d\n42,d\n"))
    assert data.notes[2:] == (
        "class 'c' has 1 example: 1 train, 0 validation, 0 test",
        "class 'd' has 2 examples: 1 train, 0 validation, 1 test",
    )
    assert load("folder", path=csv(tmp_path / "a.csv", rows)).notes == (
        "a.csv: the target is the last column, 2; target_column = ... chooses another",
        "a.csv column 2: classes, as it is text",
    )


@pytest.mark.parametrize(
    "text",
    [
        "1,10,red\n2,20,blue\n3,30,red\n4,40,blue\n5,50,red\n6,60,blue\n",
        "label;a;b\nred;1;10\nblue;2;20\nred;3;30\nblue;4;40\nred;5;50\nblue;6;60\n",
        "0\t1\ty\n1\t10\tred\n2\t20\tblue\n\n3\t30\tred\n4\t40\tblue\n5\t50\tred\n6\t60\tblue\n",
    ],
)
def test_a_csv_in_its_dialects(tmp_path: Path, text: str) -> None:
    data = load("folder", path=csv(tmp_path / "a.csv", text), normalise="none")
    x, y = together(data)
    assert x.tolist() == [[i, 10 * i] for i in range(1, 7)]
    assert data.classes == ("blue", "red")
    assert y.tolist() == [1, 0, 1, 0, 1, 0]


def test_labels_called_y_do_not_make_a_header(tmp_path: Path) -> None:
    data = load("folder", path=csv(tmp_path / "a.csv", "1,y\n2,n\n3,y\n4,n\n5,y\n6,n\n"))
    assert data.classes == ("n", "y")
    assert len(together(data)[1]) == 6


def test_whole_numbers_are_classes_only_when_few(tmp_path: Path) -> None:
    few = csv(tmp_path / "few.csv", "".join(f"{i},{i % 2}\n" for i in range(20)))
    many = csv(tmp_path / "many.csv", "".join(f"{i},{3 * i}\n" for i in range(20)))
    assert load("folder", path=few).classes == ("0", "1")
    assert load("folder", path=few, target="value").kind == "regression"
    assert load("folder", path=many).kind == "regression"
    assert len(load("folder", path=csv(tmp_path / "n.csv", "1,5\n2,5\n3,7\n4,7\n5,7\n"), target="class").classes) == 2


def test_a_wide_csv_of_series(tmp_path: Path) -> None:
    text = "".join(f"{i},{i + 0.1},{i + 0.2},{i + 0.3},{'ab'[i % 2]}\n" for i in range(8))
    data = load("folder", path=csv(tmp_path / "a.csv", text), steps=2, normalise="none")
    assert (data.steps, data.shape) == (2, (2,))
    torch.testing.assert_close(together(data)[0][3], torch.tensor([[3.0, 3.1], [3.2, 3.3]]))
    assert load("folder", path=tmp_path / "a.csv", time=True).steps == 4


def long_csv(path: Path) -> Path:
    rows = [f"{name},{t},{i + 10 * t},{'ab'[i % 2]}" for t in (2, 0, 1) for i, name in enumerate("pqrstu")]
    return csv(path, "example,t,v,y\n" + "\n".join(rows) + "\n")


def test_a_long_csv_of_series_is_ordered_by_time(tmp_path: Path) -> None:
    data = load("folder", path=long_csv(tmp_path / "a.csv"), normalise="none")
    x, y = together(data)
    assert (data.steps, data.shape, data.classes) == (3, (1,), ("a", "b"))
    assert x[:, :, 0].tolist() == [[i, i + 10, i + 20] for i in range(6)]
    assert y.tolist() == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b,y\n1,2,u\n1,v\n", {}, " row 3: got 2 columns, wanted 3, as in the first row"),
        ("a,b,y\n1,2,u\n1,oops,v\n", {}, " row 3, column 'b': got 'oops', wanted a number"),
        ("1,2,u\n1,,v\n", {}, " row 2, column 2: got '', wanted a number"),
        ("1,2,u\n1,nan,v\n", {}, " row 2, column 2: got 'nan', wanted a finite number"),
        ("1,2,u\n-inf,3,v\n", {}, " row 2, column 1: got '-inf', wanted a finite number"),
        ("1,2\n3,nan\n", {}, " row 2, column 2: got 'nan', wanted a finite number or a class name"),
        ("1,u\n2,u\n3,u\n", {}, " column 2: got only the class 'u', wanted at least 2 classes"),
        (
            "1,u\n2,v\n",
            {"target": "value"},
            " column 2: got text such as 'u', wanted numbers, as target = 'value' says",
        ),
        ("1,.5\n2,nan\n", {}, " row 2, column 2: got 'nan', wanted a finite number or a class name"),
        ("1_0,u\n2,v\n", {}, " row 1, column 1: got '1_0', wanted a number"),
        ('1,"u\n2,v\n', {}, " row 1: got a quote that is not closed before the next separator, wanted a CSV row"),
        ("1 2 3 u\n4 5 6 v\n", {}, ": got a single column, wanted columns of x and one of y, divided by , ; tab or |"),
        ("1,u\n2,\n3,v\n", {}, " row 2, column 2: got an empty cell, wanted a number or a class name"),
        ("", {}, ": got no rows, wanted a CSV with at least one row"),
        ("a,y\n", {}, ": got a header without rows, wanted at least one row of values"),
        ("y,label\n1,2\n", {}, ": got 2 target columns, wanted one column named y, label, class or target"),
        ("example,t,v,y\np,0,1,u\np,0,1,u\nq,0,1,v\n", {}, " row 3, column 't': got 0, wanted each time once in"),
        ("example,t,v,y\np,0,1,u\np,1,1,v\n", {}, " row 3, column 'y': got 'v', wanted 'u' as in the rows above"),
    ],
)
def test_a_wrong_csv_is_refused_with_its_place(
    tmp_path: Path, text: str, options: dict[str, Any], message: str
) -> None:
    path = csv(tmp_path / "a.csv", text)
    with pytest.raises(BitspikeError, match=f"^{re.escape(f'{path}{message}')}"):
        load("folder", path=path, **options)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"x": np.zeros((4, 2))}, {}, ": got arrays x, wanted one named y"),
        ({"y": np.zeros(4)}, {}, ": got arrays y, wanted one named x"),
        ({"x": np.zeros((4, 2)), "y": np.array([None] * 4)}, {}, ": got an object array or no .npz file, wanted"),
        ({"x": np.array(["a"]), "y": np.zeros(1)}, {}, " x: got <U1 of shape (1,), wanted numbers of shape (N, ...)"),
        ({"x": np.zeros((4, 2)), "y": np.zeros(3)}, {}, " y: got shape (3,), wanted 4 rows, as many as x"),
        ({"x": np.array([[0, 1], [2, np.nan]]), "y": np.zeros(2)}, {}, " x[1, 1]: got nan, wanted a finite number"),
        ({"x": np.zeros((4, 2)), "y": np.ones(4, int)}, {}, " y: got only the class '1', wanted at least 2 classes"),
        ({"x": np.zeros(4), "y": np.arange(4) % 2}, {"time": True}, " x: got shape (4,), wanted (N, T, ...)"),
    ],
)
def test_a_wrong_npz_is_refused(tmp_path: Path, arrays: dict[str, Any], options: dict[str, Any], message: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    with pytest.raises(BitspikeError, match=f"^{re.escape(f'{path}{message}')}"):
        load("folder", path=path, **options)


def test_a_truncated_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((40, 2)), y=np.zeros(40))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(BitspikeError, match=r"a.npz: got a damaged or truncated file, wanted a whole .npz file$"):
        load("folder", path=path)
    np.save(path.with_suffix(".npy"), np.zeros(4))
    path.with_suffix(".npy").rename(path)
    with pytest.raises(BitspikeError, match=r"a.npz: got a damaged or truncated file, wanted a whole .npz file$"):
        load("folder", path=path)


def test_wrong_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BitspikeError, match=r": got no class folders, wanted at least 2 folders, one per class$"):
        load("folder", path=tmp_path)
    image(tmp_path / "a" / "0.png", 0)
    with pytest.raises(BitspikeError, match=r": got only the class 'a', wanted at least 2 folders, one per class$"):
        load("folder", path=tmp_path)
    (tmp_path / "b").mkdir()
    with pytest.raises(
        BitspikeError, match=r"/b: got an empty class folder, wanted image files, event files \(.*.aedat4.*\) or"
    ):
        load("folder", path=tmp_path)
    write_events(tmp_path / "b" / "0.bin", *[torch.tensor([1])] * 4)
    with pytest.raises(BitspikeError, match=r": got both images and event files, wanted one kind$"):
        load("folder", path=tmp_path)
    (tmp_path / "b" / "0.bin").rename(tmp_path / "b" / "0.png")
    with pytest.raises(BitspikeError, match=r"/b/0.png: got a damaged file or no image, wanted an image that Pillow"):
        load("folder", path=tmp_path)
    with pytest.raises(BitspikeError, match=r"^folder option steps: got 3, wanted it left out \(these are images"):
        load("folder", path=tmp_path, steps=3)
    with pytest.raises(BitspikeError, match=r"^folder option path: got nowhere, which is not there, wanted a folder"):
        load("folder", path="nowhere")


def test_an_image_cut_short_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for i in range(3):
            image(tmp_path / name / f"{i}.png", 7, (60, 60))
    whole = (tmp_path / "b" / "1.png").read_bytes()
    (tmp_path / "b" / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BitspikeError, match=r"/b/1.png: got a damaged file or no image"):
        load("folder", path=tmp_path)
