from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bitspike import train
from bitspike.data import Events, load, prepare, read_recordings, write_events
from bitspike.data.events import recordings
from bitspike.errors import BitspikeError
from bitspike.run.assemble import check_recipe


def random_events(count: int, side: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    t = torch.randint(0, 1 << 23, (count,), generator=draw).sort().values
    x, y, p = (torch.randint(0, end, (count,), generator=draw) for end in (side, side, 2))
    return t, x, y, p


def test_the_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    # x = 3, y = 33, polarity 1, t = 0x012345; then x = 0, y = 1, polarity 0, t = 0x7fffff.
    (tmp_path / "a.bin").write_bytes(bytes([3, 33, 0x81, 0x23, 0x45, 0, 1, 0x7F, 0xFF, 0xFF]))
    events = read_recordings([tmp_path / "a.bin"])
    assert events.x.tolist() == [3, 0]
    assert events.y.tolist() == [33, 1]
    assert events.p.tolist() == [1, 0]
    assert events.t.tolist() == [0x012345, 0x7FFFFF]
    assert events.shape == (2, 34, 4)
    assert (events.t.dtype, events.x.dtype, events.p.dtype) == (torch.int64, torch.int16, torch.uint8)


def test_what_is_written_is_read_recording_by_recording(tmp_path: Path) -> None:
    made = [random_events(count, 256, seed) for seed, count in enumerate((7, 1, 300))]
    paths = [tmp_path / f"{i}.bin" for i in range(3)]
    for path, (t, x, y, p) in zip(paths, made, strict=True):
        write_events(path, t, x, y, p)
    events = read_recordings(paths, (256, 256))
    assert events.offsets.tolist() == [0, 7, 8, 308]
    for i, columns in enumerate(made):
        one = events[i : i + 1]
        for got, wanted in zip((one.t, one.x, one.y, one.p), columns, strict=True):
            assert got.tolist() == wanted.tolist()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"got 0 bytes, wanted a multiple of 5, one or more events"),
        (bytes(12), r"got 12 bytes, wanted a multiple of 5"),
        (bytes([1, 2, 0, 0, 0, 34, 2, 0, 0, 1]), r"got event 1 at x=34, y=2, wanted x < 34 and y < 34$"),
        (bytes([1, 200, 0, 0, 0]), r"got event 0 at x=1, y=200, wanted x < 34 and y < 34$"),
    ],
)
def test_a_damaged_recording_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "good.bin").write_bytes(bytes(15))
    (tmp_path / "bad.bin").write_bytes(data)
    with pytest.raises(BitspikeError, match=f"^{tmp_path}/bad.bin: {message}"):
        read_recordings([tmp_path / "good.bin", tmp_path / "bad.bin"], (34, 34))


def test_events_that_the_format_cannot_hold_are_refused(tmp_path: Path) -> None:
    one = torch.tensor([1])
    with pytest.raises(BitspikeError, match=r"^events t: got 8388608 to 8388608, wanted 0 to 8388607$"):
        write_events(tmp_path / "a.bin", torch.tensor([1 << 23]), one, one, one)
    with pytest.raises(BitspikeError, match=r"^events p: got 2 values, wanted 1, as many as t$"):
        write_events(tmp_path / "a.bin", one, one, one, torch.tensor([0, 1]))


def nmnist(folder: Path, name: str = "nmnist") -> Path:
    for part, count in (("Train", 10), ("Test", 2)):
        for digit in range(10):
            home = folder / name / part / str(digit)
            home.mkdir(parents=True)
            for i in range(count):
                # A recording of digit d has d + 1 events, the first at t = its number.
                t = i + torch.arange(digit + 1)
                write_events(home / f"{i:05}.bin", t, t % 34, t % 34, t % 2)
    return folder


def test_nmnist_folders_are_read_numbered_and_split(tmp_path: Path) -> None:
    data = load("nmnist", folder=nmnist(tmp_path))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [90, 10, 20]
    assert (data.shape, data.steps, data.subset) == ((2, 34, 34), None, "subset 100/20")
    for part in (data.train, data.validation, data.test):
        assert isinstance(part.x, Events)
        assert torch.equal(part.x.offsets.diff(), part.y + 1)
    assert isinstance(data.train.x, Events)
    assert torch.equal(data.train.x.t[data.train.x.offsets[:-1]], data.train.index % 10)
    assert torch.equal(data.train.index // 10, data.train.y)
    assert data.test.index.tolist() == list(range(100, 120))
    assert list(data.digests) == ["nmnist/Train/*/*.bin (100 files)", "nmnist/Test/*/*.bin (20 files)"]


def test_a_smaller_nmnist_keeps_the_numbers_of_its_recordings(tmp_path: Path) -> None:
    data = load("nmnist", folder=nmnist(tmp_path, "N-MNIST"), train_size=40, test_size=10)
    assert data.subset == "subset 40/10"
    assert torch.equal(data.train.index // 10, data.train.y)
    assert isinstance(data.train.x, Events)
    assert torch.equal(data.train.x.offsets.diff(), data.train.y + 1)


def test_folders_that_are_no_digits_or_empty_are_refused(tmp_path: Path) -> None:
    nmnist(tmp_path)
    (tmp_path / "nmnist" / "Test" / "11").mkdir()
    with pytest.raises(BitspikeError, match=r"/Test/11: got label 11, wanted a folder named by a digit, 0 to 9$"):
        load("nmnist", folder=tmp_path)
    (tmp_path / "nmnist" / "Test" / "11").rmdir()
    for path in (tmp_path / "nmnist" / "Train" / "3").iterdir():
        path.unlink()
    with pytest.raises(BitspikeError, match=r"/Train/3: got no .bin file, wanted recordings \(an empty class folder\)"):
        load("nmnist", folder=tmp_path)


def raw(path: Path, *events: tuple[int, int, int, int]) -> Path:
    """A recording of events (x, y, p, t), written byte by byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]) for x, y, p, t in events))
    return path


def test_marks_of_row_240_are_time_and_no_pixels(tmp_path: Path) -> None:
    first = raw(tmp_path / "a.bin", (1, 1, 0, 100), (0, 240, 0, 0), (2, 2, 1, 50), (0, 240, 0, 0), (3, 3, 1, 60))
    second = raw(tmp_path / "b.bin", (2, 1, 1, 7))
    events, notes = recordings([first, second])
    assert (events.shape, events.offsets.tolist()) == ((2, 4, 4), [0, 3, 4])
    assert events.t.tolist() == [100, 50 + 8192, 60 + 2 * 8192, 7]
    assert (events.x.tolist(), events.p.tolist()) == ([1, 2, 3, 2], [0, 1, 1, 1])
    marks = "2 marks of row 240 in 1 of 2 recordings are no pixels: each adds 8,192 us to the times behind it"
    assert notes == (marks,)
    assert read_recordings([first], (34, 34)).t.tolist() == [100, 8242, 16444]
    assert sorted(read_recordings([first], (256, 256)).y.tolist()) == [1, 2, 3, 240, 240]
    with pytest.raises(BitspikeError, match=r"m.bin: got no event, only marks of row 240, wanted one or more events$"):
        read_recordings([first, raw(tmp_path / "m.bin", (0, 240, 0, 0))])


def test_a_row_240_among_higher_rows_is_a_row(tmp_path: Path) -> None:
    events = read_recordings([raw(tmp_path / "a.bin", (1, 240, 0, 5), (1, 250, 0, 6))])
    assert (events.y.tolist(), events.t.tolist()) == ([240, 250], [5, 6])
    one = torch.tensor([240])
    with pytest.raises(BitspikeError, match=r"^events y: got 240 in the last row, wanted rows up to 239"):
        write_events(tmp_path / "b.bin", one, one, one, torch.tensor([1]))


def test_a_clock_that_runs_over_goes_on_and_events_out_of_order_are_sorted(tmp_path: Path) -> None:
    end = 1 << 23
    over = raw(tmp_path / "over.bin", (1, 0, 0, end - 2), (2, 0, 0, 3), (3, 0, 0, end - 1), (4, 0, 0, 0))
    mixed = raw(tmp_path / "mixed.bin", (1, 0, 1, 30), (2, 0, 0, 10), (3, 0, 1, 20))
    events, notes = recordings([over, mixed])
    assert events.t.tolist() == [end - 2, end + 3, 2 * end - 1, 2 * end, 10, 20, 30]
    assert events.x.tolist() == [1, 2, 3, 4, 2, 3, 1]
    assert events.p.tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert notes == (
        "the clock runs over (2^23 us) in 1 of 2 recordings, first in over.bin",
        "1 falls back in time in 1 of 2 recordings, mended by sorting, first in mixed.bin",
    )


def test_recordings_beside_the_window_are_said_and_never_answered(tmp_path: Path) -> None:
    for name, pixel in (("a", 0), ("b", 2)):
        for number in range(8):
            t = [1000 * k + 9_000 * (number == 3) for k in range(4)]
            raw(tmp_path / "data" / name / f"{number}.bin", *((pixel, pixel, 0, when) for when in t))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        'name = "seen"\n[data]\nset = "folder"\n[data.options]\nsize = [3, 3]\n'
        '[encoder]\nname = "events"\nsteps = 4\ndt = 2.0\n[model]\nlayers = ["4"]\n[training]\nepochs = 1\nbatch = 4\n'
    )
    asked = [f"data.options.path={tmp_path / 'data'}"]
    run = train(recipe, tmp_path / "run", overrides=asked)
    notes = check_recipe(run.recipe, run.dataset())
    # Recordings 3 of both classes begin at 9 ms.
    late = [int(note.split()[0]) for note in notes if "recordings have no event before 8 ms" in note]
    assert sum(late) == 2
    late = raw(tmp_path / "late.bin", (1, 1, 0, 8_000), (1, 1, 0, 9_500))
    x, names = prepare(late, run.environment["data"]["form"])
    with pytest.raises(
        BitspikeError, match=r"late.bin: got events from 8.0 to 9.5 ms, wanted some from 0 to 8 ms, the"
    ):
        run.check_seen(x, names)
    with pytest.raises(BitspikeError, match=r"^predict x\[0\]: got events from 8.0"):
        run.predict(x)
    early = raw(tmp_path / "early.bin", (1, 1, 0, 7_999))
    assert run.predict(prepare(early, run.environment["data"]["form"])[0]).shape == (1, 2)
    for name in "ab":
        for number in range(8):
            raw(tmp_path / "data" / name / f"{number}.bin", (1, 1, 0, 50_000 + number))
    with pytest.raises(
        BitspikeError, match=r"^encoder: got 8 ms \(steps \* dt\), and no train recording has an event be"
    ):
        train(recipe, tmp_path / "again", overrides=asked)


def test_folds_of_nmnist_divide_the_recordings_of_both_folders(tmp_path: Path) -> None:
    for part, each in (("Train", 6), ("Test", 2)):
        for digit in "01":
            (tmp_path / "nmnist" / part / digit).mkdir(parents=True)
            for number in range(each):
                write_events(
                    tmp_path / "nmnist" / part / digit / f"{number}.bin", *(torch.tensor([v]) for v in (9, 1, 2, 1))
                )
    tested = [load("nmnist", folder=tmp_path, fold=(k, 4), validation=2).test.index for k in range(1, 5)]
    assert torch.equal(torch.cat(tested).sort().values, torch.arange(16))
    with pytest.raises(BitspikeError, match="nmnist option train_size: got 10, wanted it left out with folds"):
        load("nmnist", folder=tmp_path, fold=(1, 4), train_size=10)
