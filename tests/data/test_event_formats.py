"""Every format of event files: what is written is read, bytes mean what the formats say, damage is one line."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitspike
from bitspike import plugins, registry
from bitspike.data import Events, load, prepare
from bitspike.data.eventfiles import recordings
from bitspike.data.formats import EVENT, Format, format_of, open_events, read_events, write_events
from bitspike.data.formats.flat import with_header
from bitspike.errors import BitspikeError

ENDS = {
    "bin": ".bin", "aedat2": ".aedat", "aedat3": ".aedat", "aedat4": ".aedat4", "dat": ".dat", "evt2": ".raw",
    "evt3": ".raw", "es": ".es", "hdf5": ".h5",
}  # fmt: skip
LIBRARIES = {"aedat4": "lz4.frame", "hdf5": "h5py"}
SAMPLES = next(
    (
        Path(entry) / "events-samples"
        for entry in os.environ.get("BITSPIKE_DATA", "").split(":")
        if entry and (Path(entry) / "events-samples").is_dir()
    ),
    None,
)


def made(count: int, seed: int = 0, height: int = 100, width: int = 120, last: int = 8_000_000) -> Any:
    draw = np.random.default_rng(seed)
    events = np.empty(count, EVENT)
    for name, end in (("t", last), ("x", width), ("y", height), ("p", 2)):
        events[name] = draw.integers(0, end, count)
    events["t"].sort()
    return events


def fitting(name: str, events: Any) -> Any:
    """The events as one format can hold them: the cochlea of SHD has one row and one polarity."""
    pytest.importorskip(LIBRARIES.get(name, "numpy"))
    some = events.copy()
    if name == "hdf5":
        some["y"] = some["p"] = 0
    return some


@pytest.mark.parametrize("name", ENDS)
def test_what_is_written_is_read_as_a_whole_and_in_parts(name: str, tmp_path: Path) -> None:
    events = fitting(name, made(200_000))
    path = write_events(tmp_path / f"a{ENDS[name]}", events, name)
    assert format_of(path) == name
    file = open_events(path)
    assert np.array_equal(file.read(), events)
    assert file.notes == ()
    parts = list(open_events(path))
    assert len(parts) > 1
    assert np.array_equal(np.concatenate(parts), events)
    # Parts of a recording are written as the whole is.
    again = write_events(tmp_path / f"b{ENDS[name]}", iter(parts), name, size=file.size or file.extent)
    assert np.array_equal(read_events(again), events)


@pytest.mark.parametrize("name", [name for name in ENDS if name not in ("bin", "es", "hdf5")])
def test_a_long_recording_with_gaps_is_the_same_and_a_clock_that_runs_over_is_said(name: str, tmp_path: Path) -> None:
    fitting(name, made(1))
    events = made(400)
    events["t"] += np.repeat([0, 40_000_000, 4_400_000_000, 5_000_000_000], 100)
    if name in ("aedat2", "dat"):  # counters of 32 bits: a gap of more than half of their range is not seen
        with pytest.raises(BitspikeError, match=r"^events t: got event 200 at 44\d+, wanted a first one below 4,294"):
            write_events(tmp_path / f"a{ENDS[name]}", events, name)
        events["t"][200:] -= 2_400_000_000
        events["t"] += 2_000_000_000
    file = open_events(write_events(tmp_path / f"a{ENDS[name]}", events, name))
    assert np.array_equal(file.read(), events)
    over = sum("ran over" in note for note in file.notes)
    assert over == (name in ("aedat2", "dat", "evt3"))


def test_the_clock_of_5_byte_events_runs_over_too(tmp_path: Path) -> None:
    events = made(3000, last=30_000_000)
    file = open_events(write_events(tmp_path / "a.bin", events))
    assert np.array_equal(file.read(), events)
    assert file.notes == ("3 times ran over 2^23 us, which are added from there on",)
    events["t"][2000:] += 10_000_000
    with pytest.raises(BitspikeError, match=r"^events t: got event 2000 at .*time-slice it, or another format\)$"):
        write_events(tmp_path / "a.bin", events)
    events["y"][7] = 240
    with pytest.raises(BitspikeError, match=r"^events y: got 240 in the last row"):
        write_events(tmp_path / "b.bin", events[:2000])
    assert not (tmp_path / "b.bin").exists()
    assert not list(tmp_path.glob(".*"))


# What the published descriptions say of bytes, by hand.
def test_addresses_of_aedat_2_are_those_of_the_cameras(tmp_path: Path) -> None:
    def read(addresses: list[int], head: str = "#!AER-DAT2.0\r\n", **asked: Any) -> Any:
        pairs = b"".join(struct.pack(">II", address, 10 * k) for k, address in enumerate(addresses))
        (tmp_path / "a.aedat").write_bytes(head.encode() + pairs)
        return read_events(tmp_path / "a.aedat", **asked)

    # MNIST-DVS: x = 127 - ((a & 0xFE) >> 1), y = (a & 0x7F00) >> 8, p = a & 1.
    found = read([0, 79 << 1, 54 << 1 | 1, 53 << 1, 0x7F00])
    assert found["x"].tolist() == [127, 48, 73, 74, 127]
    assert (found["y"].tolist(), found["p"].tolist()) == ([0, 0, 0, 0, 127], [0, 0, 1, 0, 0])
    davis = "#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n"
    words = [1 << 11, 1 << 31 | 5, 179 << 22 | 239 << 12, 1 << 10]
    file_notes = ("1 samples of frames or of the inertial unit, skipped", "1 external events, skipped")
    found = read(words, davis)
    assert (found["x"].tolist(), found["y"].tolist(), found["p"].tolist()) == ([239, 0], [179, 0], [1, 0])
    file = open_events(tmp_path / "a.aedat")
    list(file)
    assert (file.notes, file.size) == (file_notes, (180, 240))
    with pytest.raises(BitspikeError, match=r"addresses of more than 16 bits and no camera in the header, wanted"):
        read(words)
    assert read(words, camera="DAVIS346")["x"].tolist() == [345, 106]
    with pytest.raises(BitspikeError, match=r"got a recording of ch.unizh.Cochlea, wanted one of DVS128, "):
        read(words, "#!AER-DAT2.0\r\n# AEChip: ch.unizh.Cochlea\r\n")
    # A first address of the byte '#' is no line of the header.
    assert len(read([0x23 << 24, 5], davis)) == 2


def test_words_of_evt3_change_what_holds(tmp_path: Path) -> None:
    words = [
        0x2001, 0x8001, 0x6002, 0x2003, 0x0005, 0x2803, 0x3810, 0x4C01, 0x5081, 0x4001, 0xA101, 0x8002, 0x2004, 0x6FFF,
        0x8000, 0x2004,
    ]  # fmt: skip
    head = b"% evt 3.0\n% format EVT3;height=32;width=64\n% end\n"
    (tmp_path / "a.raw").write_bytes(head + np.array(words, "<u2").tobytes())
    file = open_events(tmp_path / "a.raw")
    found = file.read()
    # Base 16, then 12 bits (0, 10, 11), 8 bits (0, 7) from 28 on, and 12 bits (0) from 36 on.
    assert found["x"].tolist() == [4, 3, 16, 26, 27, 28, 35, 36, 4]
    assert found["y"].tolist() == [5] * 9
    assert found["p"].tolist() == [0] + [1] * 7 + [0]
    # A new upper part sets the lower one to 0; a small fall back is no new round of the clock.
    assert found["t"].tolist() == [0] + [4096 + 2] * 7 + [8192]
    assert file.size == (32, 64)
    assert set(file.notes) == {
        "2 events before the first time and row, skipped",
        "1 external triggers, skipped",
        "1 falls back in time, mended by sorting",
    }


def test_an_event_stream_of_version_1_is_read_and_others_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.es"
    # 3 us, x = 0x12, y = 0x101, ON; twice 15 us and 1 us more, x = 1, y = 2, OFF; then a reset.
    events = bytes([3 | 2 << 4, 1 | 1 << 6, 0x80 | 0x101 >> 2, 0x2F, 1 | 1 << 4, 2 << 6, 0, 0x0F])
    path.write_bytes(b"Event Stream" + bytes([1, 0, 0]) + events)
    found = read_events(path)
    assert found.tolist() == [(3, 0x12, 0x101, 1), (34, 1, 2, 0)]
    for head, said in (
        ([2, 0, 0, 2], "an Event Stream of ATIS events, wanted one of DVS events"),
        ([1, 0, 4], "an Event Stream of generic events"),
        ([3, 0, 0, 1], "Event Stream of version 3.0, wanted version 1.0 or 2"),
        ([2, 0, 0, 9], r"an Event Stream of unknown \(9\) events"),
    ):
        path.write_bytes(b"Event Stream" + bytes(head) + bytes(9))
        with pytest.raises(BitspikeError, match=said):
            open_events(path)


def test_aedat_3_has_overflows_in_its_packets_and_names_what_it_skips(tmp_path: Path) -> None:
    def packet(kind: int, item: int, over: int, *events: tuple[int, int], count: int | None = None) -> bytes:
        n = len(events) if count is None else count
        data = b"".join(struct.pack("<II", *event).ljust(item, b"\0") for event in events)
        return struct.pack("<hhiiiiii", kind, 1, item, 4, over, n, n, n) + data

    def write(*packets: bytes, head: str = "#Format: RAW\r\n#Source 1: DVS128\r\n") -> None:
        text = f"#!AER-DAT3.1\r\n{head}#!END-HEADER\r\n"
        (tmp_path / "a.aedat").write_bytes(text.encode() + b"".join(packets))

    pixel = 5 << 17 | 9 << 2 | 2 | 1
    write(packet(1, 8, 1, (pixel, 7), (pixel & ~1, 8)), packet(3, 36, 0, (1, 2)), packet(1, 8, 1, (pixel & ~2, 9)))
    file = open_events(tmp_path / "a.aedat")
    assert file.read().tolist() == [(2**31 + 7, 5, 9, 1), (2**31 + 9, 5, 9, 0)]
    assert (file.size, file.format) == ((128, 128), "aedat3")
    assert file.notes == ("1 events marked as not valid, skipped", "1 samples of the inertial unit, skipped")
    write(packet(1, 8, 0, (pixel, 7), count=1 << 30))
    with pytest.raises(BitspikeError, match=r"which end within a packet of 1,073,741,824 events, wanted a whole file"):
        read_events(tmp_path / "a.aedat")
    write(head="#Format: SerializedTS\r\n")
    with pytest.raises(BitspikeError, match=r"got AEDAT 3.1 of format SerializedTS, wanted format RAW$"):
        read_events(tmp_path / "a.aedat")


def test_what_is_no_format_or_an_encoding_that_is_not_read_is_named(tmp_path: Path) -> None:
    for content, said in (
        (b"% evt 2.1\n% end\n" + bytes(16), r"a raw stream of EVT 2.1, wanted EVT 2.0 or EVT 3.0$"),
        (b"% format EVT4;height=2;width=2\n% end\n" + bytes(16), r"a raw stream of EVT 4, wanted"),
        (b"% Date 2020\n" + bytes(16), r"a raw stream that names no encoding, wanted"),
        (b"\x01\x02\x03", r"3 bytes that begin with b'\\x01\\x02\\x03', wanted an event file \(bin, aedat2, "),
        (b"", r"an empty file, wanted an event file"),
        (b"#!AER-DAT1.0\r\n", r"14 bytes that begin with b'#!AER-DAT1.0', wanted an event file"),
    ):
        (tmp_path / "a.raw").write_bytes(content)
        with pytest.raises(BitspikeError, match=said):
            open_events(tmp_path / "a.raw")
    with pytest.raises(BitspikeError, match=r"^event file: got '.*gone.es', which is not there, wanted a recording of"):
        open_events(tmp_path / "gone.es")
    with pytest.raises(BitspikeError, match=r"^event file format: got 'evt4', wanted one of .*did you mean 'evt"):
        open_events(tmp_path / "a.raw", format="evt4")
    with pytest.raises(
        BitspikeError, match=r"a.raw: got 14 bytes that begin with b'#!AER-DAT1.0', wanted a file of format"
    ):
        open_events(tmp_path / "a.raw", format="aedat2")
    write_events(tmp_path / "b.aedat", made(9))
    with pytest.raises(BitspikeError, match=r"^event format 'aedat2' option camera: got 'DVS127', wanted"):
        open_events(tmp_path / "b.aedat", camera="DVS127")


@pytest.mark.parametrize("name", ENDS)
def test_a_file_that_is_cut_is_one_line(name: str, tmp_path: Path) -> None:
    events = fitting(name, made(300))
    path = write_events(tmp_path / f"a{ENDS[name]}", events, name)
    good = path.read_bytes()
    for content in (b"", good[:7], good[:-3], good[:-1]):
        path.write_bytes(content)
        for read in (read_events, lambda file: list(open_events(file))):
            with pytest.raises(BitspikeError) as caught:
                read(path)
            assert "\n" not in str(caught.value)


def test_what_a_header_declares_allocates_nothing(tmp_path: Path) -> None:
    frame = pytest.importorskip("lz4.frame")
    path = tmp_path / "a.aedat4"
    stream = '<node name="0"><attr key="typeIdentifier" type="string">EVTS</attr></node>'
    text = f'<dv><node name="outInfo">{stream}</node></dv>'.encode()
    head = b"#!AER-DAT4.0\r\n" + with_header(1, -1, text)
    bomb = frame.compress(bytes(80 << 20))
    path.write_bytes(head + struct.pack("<ii", 0, len(bomb)) + bomb)
    with pytest.raises(BitspikeError, match=r"got a packet of more than 64 MiB, wanted at most that$"):
        read_events(path)
    path.write_bytes(head + struct.pack("<ii", 0, 1 << 30))
    with pytest.raises(BitspikeError, match=r"which end within a packet of 1,073,741,824 bytes"):
        read_events(path)
    vector = struct.pack("<I4sHHHxxiII", 16, b"EVTS", 6, 8, 4, 8, 4, 1 << 31)
    one = frame.compress(struct.pack("<I", len(vector)) + vector)
    path.write_bytes(head + struct.pack("<ii", 0, len(one)) + one)
    with pytest.raises(BitspikeError, match=r"damaged \(a table points outside its 28 bytes\)$"):
        read_events(path)
    path.write_bytes(b"#!AER-DAT4.0\r\n" + with_header(1, -1, b'<!DOCTYPE a [<!ENTITY b "c">]><dv>&b;</dv>'))
    with pytest.raises(BitspikeError, match=r"got a header with declarations in its XML"):
        open_events(path)
    path.write_bytes(b"#!AER-DAT4.0\r\n" + with_header(1, 1 << 50, text))
    with pytest.raises(BitspikeError, match=r"and a table of packets at byte 1,125,899,906,842,624, wanted a whole"):
        open_events(path)


def test_events_out_of_order_are_sorted_up_to_65536_events_back_in_a_stream(tmp_path: Path) -> None:
    events = made(200_000)
    raw = np.empty((len(events), 2), "<u4")

    def write(order: Any) -> Path:
        raw[:, 0] = events["t"][order]
        raw[:, 1] = (
            events["x"][order] | events["y"][order].astype(np.int64) << 14 | events["p"][order].astype(np.int64) << 28
        )
        path = tmp_path / "a.dat"
        path.write_bytes(b"% Data file containing CD events.\n% Version 2\n" + bytes([12, 8]) + raw.tobytes())
        return path

    order = np.arange(len(events))
    order[[90_000, 130_000]] = order[[130_000, 90_000]]
    file = open_events(write(order))
    parts = np.concatenate(list(file))
    assert np.array_equal(parts["t"], events["t"])
    assert file.notes == ("2 falls back in time, mended by sorting",)
    assert np.array_equal(np.sort(parts), np.sort(events))
    order = np.concatenate([order[100_000:], order[:100_000]])
    with pytest.raises(BitspikeError, match=r"more than 65,536 events after one at .*read_events sorts a whole"):
        list(open_events(write(order)))
    assert np.array_equal(read_events(tmp_path / "a.dat")["t"], events["t"])


def test_shd_files_hold_many_recordings(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    from bitspike.data.formats.hdf5 import Hdf5

    some = [fitting("hdf5", made(n, n, width=700)) for n in (5, 1, 30)]
    Hdf5.write_all(tmp_path / "shd.h5", some, [3, 0, 1], ["null", "eins"])
    file = open_events(tmp_path / "shd.h5", recording=2)
    assert (file.recordings, file.size, file.labels.tolist()) == (3, (1, 700), [3, 0, 1])
    assert np.array_equal(file.read(), some[2])
    with pytest.raises(BitspikeError, match=r"shd.h5: got 3 recordings, wanted one, or its number: open_events"):
        read_events(tmp_path / "shd.h5")
    with pytest.raises(BitspikeError, match=r"shd.h5 recording: got 3, wanted 0 to 2$"):
        open_events(tmp_path / "shd.h5", recording=3)


def test_hdf5_is_believed_no_size_and_follows_no_link(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    path = write_events(tmp_path / "a.h5", fitting("hdf5", made(12_345)))
    good = path.read_bytes()
    declared = struct.pack("<I", 12_345)
    assert good.count(declared) == 2
    path.write_bytes(good.replace(declared, struct.pack("<I", 1 << 31)))
    with pytest.raises(
        BitspikeError, match=r"/spikes/times of 2,147,483,648 elements in 12\d,\d+ bytes, wanted no more"
    ):
        read_events(path)
    path.write_bytes(good)
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["spikes/times"] = h5py.ExternalLink("a.h5", "spikes/times")
        file["spikes/units"] = h5py.ExternalLink("a.h5", "spikes/units")
    with pytest.raises(
        BitspikeError, match=r"link.h5: got a link in the place of spikes/times, wanted the array itself$"
    ):
        open_events(tmp_path / "link.h5")
    # As PyTables writes them: in chunks, which may be compressed.
    for how in ({}, {"compression": "gzip", "shuffle": True}, {"compression": "lzf"}):
        with h5py.File(tmp_path / "chunks.h5", "w") as file:
            for name, values in (("times", [0.5, 0.25]), ("units", [7, 699])):
                kind = np.float16 if name == "times" else np.uint16
                made_of = file.create_dataset(f"spikes/{name}", (3,), h5py.vlen_dtype(kind), chunks=(2,), **how)
                made_of[1] = np.array(values, kind)
            file["extra/keys"] = ["null", "eins"]
        if "lzf" in how.values():
            with pytest.raises(
                BitspikeError, match=r"an array behind filter number 32000, wanted none, deflate or shu"
            ):
                open_events(tmp_path / "chunks.h5")
            continue
        file = open_events(tmp_path / "chunks.h5", recording=1)
        assert file.read().tolist() == [(250_000, 699, 0, 0), (500_000, 7, 0, 0)]


def test_a_format_of_ones_own_is_one_class(tmp_path: Path) -> None:
    @bitspike.register("events", "lines")
    class Lines(Format):
        """Text."""

        suffixes = (".txt",)

        def __init__(self, source: Any, size: Any = None, scale: int = 1) -> None:
            super().__init__(source, size)
            self.scale = scale

        @classmethod
        def recognises(cls, head: bytes, suffix: str) -> bool:
            return head.startswith(b"lines\n")

        def parts(self, recording: int = 0) -> Any:
            rows = np.array([line.split() for line in self.source.take(self.source.left, "it").split(b"\n")[1:]], int)
            yield self.events(self.scale * rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3])

    (tmp_path / "a.txt").write_text("lines\n3 1 1 0\n4 2 0 1")
    assert read_events(tmp_path / "a.txt", scale=1000).tolist() == [(3000, 1, 1, 0), (4000, 2, 0, 1)]
    with pytest.raises(BitspikeError, match=r"^event format 'lines' option scale: got 'x', wanted a valid integer"):
        read_events(tmp_path / "a.txt", scale="x")
    with pytest.raises(BitspikeError, match=r"^event format: got Lines, wanted one that can be written$"):
        write_events(tmp_path / "b.txt", made(3))
    for name in ("a", "b"):
        for number in range(6):
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "set" / name / f"{number}.txt").write_text(f"lines\n{number} 1 1 0")
    assert len(load("folder", path=tmp_path / "set").train) == 8


def test_the_format_of_the_documentation_is_one_file(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
    (tmp_path / "lines.py").write_text(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[-1], encoding="utf-8")
    plugins.add(tmp_path)
    (tmp_path / "a.txt").write_text("# events\n3 1 1 0\n4 2 0 1\n")
    assert read_events(tmp_path / "a.txt").tolist() == [(3, 1, 1, 0), (4, 2, 0, 1)]
    (tmp_path / "a.txt").write_text("# events\n3 1 1 2\n")
    with pytest.raises(BitspikeError, match=r"a.txt: got event 0 of p=2, wanted a polarity 0 or 1$"):
        read_events(tmp_path / "a.txt")


def test_class_folders_take_event_files_of_every_format(tmp_path: Path) -> None:
    pytest.importorskip("lz4.frame")
    names = ["aedat2", "aedat3", "aedat4", "dat", "evt2", "evt3", "es"]
    for label in ("left", "right"):
        for number, name in enumerate(names):
            events = made(50, number, height=128, width=128)
            events["t"] += 1_000_000 * (name in ("aedat4", "evt2"))
            path = tmp_path / label / f"{number}{name}{ENDS[name]}"
            write_events(path, events, name, size=(128, 128))
    data = load("folder", path=tmp_path)
    assert data.shape == (2, 128, 128)
    clock = "times are counted from each recording's first event (files of aedat2, aedat3, aedat4, evt2, evt3 keep the"
    assert any(note.startswith(clock) for note in data.notes)
    assert isinstance(data.train.x, Events)
    assert int(data.train.x.t.max()) < 8_000_000
    new, _ = prepare(tmp_path / "left" / f"2aedat4{ENDS['aedat4']}", data.form)
    assert isinstance(new, Events)
    wanted = made(50, 2, height=128, width=128)
    assert new.t.tolist() == (wanted["t"] - wanted["t"][0]).tolist()
    assert new.y.tolist() == wanted["y"].tolist()
    write_events(tmp_path / "right" / "9.es", made(5), size=(100, 120))
    with pytest.raises(
        BitspikeError, match=r"9.es: got a sensor of 100 x 120, wanted 128 x 128 as 0aedat2.aedat, or a"
    ):
        load("folder", path=tmp_path)
    assert load("folder", path=tmp_path, size=(128, 128)).shape == (2, 128, 128)


def test_a_missing_library_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lz4.frame")
    path = write_events(tmp_path / "a.aedat4", made(5))
    import sys

    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    with pytest.raises(
        BitspikeError, match=r"reading or writing LZ4: not installed; .*pip install -e '.\[events\]' ad"
    ):
        read_events(path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "a.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(90))
    with pytest.raises(BitspikeError, match=r"reading or writing HDF5: not installed;"):
        read_events(tmp_path / "a.h5")


def test_names_that_formats_share_are_written_as_the_usual_one(tmp_path: Path) -> None:
    assert format_of(write_events(tmp_path / "a.raw", made(9))) == "evt3"
    assert format_of(write_events(tmp_path / "a.aedat", made(9))) == "aedat2"
    with pytest.raises(BitspikeError, match=r"^event file: got 'a.xyz', wanted a name whose end says the format"):
        write_events(tmp_path / "a.xyz", made(9))
    with pytest.raises(BitspikeError, match=r"^events t: got 0 of event 1, wanted times of 0 or more, in order$"):
        write_events(tmp_path / "a.es", np.array([(5, 0, 0, 1), (0, 0, 0, 1)], EVENT))
    with pytest.raises(BitspikeError, match=r"^events x: got 93 of event 0, wanted columns 0 to 9$"):
        write_events(tmp_path / "a.es", made(900), size=(100, 10))
    with pytest.raises(BitspikeError, match=r"^events: got none, wanted one or more events$"):
        write_events(tmp_path / "a.es", made(0))
    tonic = np.zeros(3, np.dtype([("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "?")]))
    assert read_events(write_events(tmp_path / "a.es", tonic)).tolist() == [(0, 0, 0, 0)] * 3


@pytest.mark.skipif(SAMPLES is None, reason="BITSPIKE_DATA names no folder with events-samples")
@pytest.mark.parametrize(
    ("name", "kind", "size", "count", "first", "last", "on"),
    [
        ("davis_aedat2.aedat", "aedat2", (180, 240), 162_771, 294_976_755, 297_049_406, 82_944),
        ("dvs.es", "es", (240, 320), 473_225, 0, 999_000, 270_001),
        ("gesture_1.bin", "bin", None, 63_471, 28, 1_449_996, 32_164),
        ("ncars.dat", "dat", None, 2_009, 0, 99_952, 1_350),
        ("prophesee_evt2.raw", "evt2", (480, 640), 521_252, 913_716_224, 913_812_095, 185_861),
        ("recording.aedat4", "aedat4", (240, 320), 111_954, 1_605_537_493_718_345, 1_605_537_494_308_262, 55_023),
    ],
)
def test_real_recordings_are_read(name: str, kind: str, size: Any, count: int, first: int, last: int, on: int) -> None:
    """Counts, times and signs of the last five were found equal to those of two other readers, event for event."""
    assert SAMPLES is not None
    if kind == "aedat4":
        pytest.importorskip("lz4.frame")
    file = open_events(SAMPLES / name)
    found = file.read()
    assert (file.format, file.size, len(found)) == (kind, size, count)
    assert (int(found["t"][0]), int(found["t"][-1]), int(found["p"].sum())) == (first, last, on)


@pytest.mark.skipif(SAMPLES is None, reason="BITSPIKE_DATA names no folder with events-samples")
def test_both_readers_of_5_byte_events_say_the_same() -> None:
    assert SAMPLES is not None
    paths = sorted(SAMPLES.glob("*.bin"))[:2]
    events = recordings(paths).events
    parts = np.concatenate([read_events(path) for path in paths])
    for name in ("t", "x", "y", "p"):
        assert getattr(events, name).tolist() == parts[name].tolist()
    assert registry.names("events")[0] == "bin"
