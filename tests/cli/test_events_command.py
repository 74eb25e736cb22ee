"""`bitspike events`: a summary, a page that stands alone, the same events in another format; one line otherwise."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bitspike.data.eventsummary import BINS, FRAMES, summarise
from bitspike.data.formats import EVENT, open_events, read_events, write_events
from bitspike.reports.eventfile import write_events_page

from ..commands import commands


def made(count: int = 4000, height: int = 40, width: int = 60, last: int = 2_000_000) -> Any:
    draw = np.random.default_rng(0)
    events = np.empty(count, EVENT)
    for name, end in (("t", last), ("x", width), ("y", height), ("p", 2)):
        events[name] = draw.integers(0, end, count)
    events["t"].sort()
    events["x"][events["p"] == 1] //= 2
    return events


def test_a_summary_json_a_page_and_another_format(tmp_path: Path) -> None:
    events = made()
    write_events(tmp_path / "a.dat", events, size=(50, 64))
    raw = (tmp_path / "a.dat").read_bytes()
    (tmp_path / "cut.dat").write_bytes(raw[:-3])
    (tmp_path / "none.dat").write_bytes(raw[: raw.index(b"\x0c\x08") + 2])
    (tmp_path / "plain.raw").write_bytes(b"\0" * 40)
    (tmp_path / "odd.dat").write_bytes(b"% Date \xc2\x9b31m" + b"x" * 900 + b"\n" + raw)
    said, odd, plain, wrong, cut, none, same, unknown, page, size = commands(
        ["events", "a.dat", "--convert", "b.es"],
        ["events", "odd.dat"],
        ["events", "a.dat", "--json", "--out", "a.html"],
        ["events", "gone.es"],
        ["events", "cut.dat"],
        ["events", "none.dat"],
        ["events", "a.dat", "--convert", "a.dat"],
        ["events", "plain.raw"],
        ["events", "a.dat", "--out", "page.txt"],
        ["events", "a.dat", "--size", "9", "9"],
        cwd=tmp_path,
        codes=[0, 0, 0, 2, 2, 2, 2, 2, 2, 2],
    )
    lines = dict(line.split(None, 1) for line in said.stdout.splitlines())
    assert lines["events"] == "4,000"
    assert lines["sensor"] == "64 x 50 pixels"
    assert lines["converted:"] == "b.es"
    assert np.array_equal(read_events(tmp_path / "b.es"), events)
    assert open_events(tmp_path / "b.es").size == (50, 64)
    # Words of a header reach the terminal as text.
    assert dict(line.split(None, 1) for line in odd.stdout.splitlines())["date"] == r"\x9b31m" + "x" * 196
    found = json.loads(plain.stdout)
    assert (found["events"], found["first_us"], found["last_us"]) == (4000, events["t"][0], events["t"][-1])
    assert found["on_share"] == events["p"].mean()
    assert found["active_pixels"] == len({(x, y) for _, x, y, _ in events.tolist()})
    assert (tmp_path / "a.html").exists()
    for done, message in (
        (wrong, "bitspike: event file: got 'gone.es', which is not there, wanted a recording of an event camera"),
        (cut, "which end within an event, wanted a whole file (truncated?)"),
        (none, "none.dat: got no event, wanted one or more events"),
        (same, "--convert: got 'a.dat', wanted another file than the one that is read"),
        (unknown, r"plain.raw: got 40 bytes that begin with b'\x00"),
        (page, "--out: got 'page.txt', wanted a path that ends in .html"),
        (size, "wanted x < 9 and y < 9"),
    ):
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


class _Read(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_the_page_stands_alone_and_its_preview_moves(tmp_path: Path) -> None:
    events = made()
    path = write_events(tmp_path / "<b>.dat", events, size=(50, 64))
    found = summarise(open_events(path))
    page = write_events_page(found, tmp_path / "a.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;.dat" in page
    assert "<b>.dat" not in page
    read = _Read()
    read.feed(page)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in read.seen}
    given = [value or "" for _, attributes in read.seen for key, value in attributes.items() if key in ("src", "href")]
    assert all(value.startswith(("data:", "#")) for value in given)
    assert not re.search(r"url\((?!#)|@import", page)
    image = next(attributes for tag, attributes in read.seen if tag == "img")
    assert image["alt"]
    moving = Image.open(io.BytesIO(base64.b64decode((image["src"] or "").split(",")[1])))
    assert (moving.n_frames, moving.info["duration"], moving.info["loop"]) == (FRAMES, 100, 0)
    assert moving.size == (64 * 4, 50 * 4)
    still = next(attributes for tag, attributes in read.seen if tag == "source")
    assert still["media"] == "(prefers-reduced-motion: reduce)"
    # The first frame: ON is blue, OFF orange, the rest is the page's own paper.
    first = events[(events["t"] - events["t"][0]) * FRAMES < events["t"][-1] - events["t"][0] + 1]
    moving.seek(0)
    pixels = np.asarray(moving.convert("RGBA"))[::4, ::4]
    shade = np.zeros((50, 64, 4), int)
    signs = np.zeros((2, 50, 64), bool)
    signs[first["p"], first["y"], first["x"]] = True
    shade[signs[1]], shade[signs[0]] = (31, 139, 208, 255), (217, 102, 31, 255)
    shade[signs.all(0)] = (168, 96, 148, 255)
    shown = pixels[..., 3] > 0
    assert np.array_equal(shown, signs.any(0))
    assert np.array_equal(pixels[shown], shade[shown])


def test_counts_over_time_and_place_add_up_whatever_the_size_of_the_sensor(tmp_path: Path) -> None:
    events = made(5000, height=700, width=1000)
    file = open_events(write_events(tmp_path / "a.dat", events))
    found = summarise(file)
    assert (found.scale, found.image.shape[1:]) == (5, (140, 200))
    assert found.rate.shape == (2, BINS)
    for counts in (found.rate, found.image, found.frames):
        assert counts.sum() == 5000
    assert found.image[1].sum() == found.on == events["p"].sum()
    assert found.to_dict()["sensor"] == {"height": 700, "width": 1000, "said_by": "file"}
    # As many numbers for a sensor of 2^30 pixels.
    corners = np.array([(5, 0, 0, 1), (9, 32_767, 32_767, 0)], EVENT)
    small = summarise(open_events(write_events(tmp_path / "b.es", corners, size=(1 << 15, 1 << 15))))
    assert (small.active, small.image.shape, small.image.sum()) == (2, (2, 240, 240), 2)


def test_one_moment_and_one_row_have_a_page_too(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    one = np.array([(7, 3, 2, 1)], EVENT)
    found = summarise(open_events(write_events(tmp_path / "a.es", one)))
    assert found.per_second is None
    assert "One moment." in write_events_page(found, tmp_path / "a.html").read_text(encoding="utf-8")
    row = made(300, height=1)
    row["p"] = 0
    found = summarise(open_events(write_events(tmp_path / "a.h5", row)))
    assert found.lines is not None
    assert found.lines.sum() == 300
    assert found.to_dict()["on_share"] is None
    page = write_events_page(found, tmp_path / "b.html").read_text(encoding="utf-8")
    assert "Which channels speak when" in page
    assert "<img" not in page
