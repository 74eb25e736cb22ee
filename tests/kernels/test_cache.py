"""Kept kernels: whatever lies in the cache, a kernel is compiled and right, and what is damaged is made again."""

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from bitspike.kernels import cache
from bitspike.kernels.cpu.compiled import compiled
from bitspike.products import table

CONTENT = bytes(range(256)) * 8


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of kept kernels, in a cache of this test's own."""
    monkeypatch.setenv("BITSPIKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_said", set())
    return tmp_path / "cache" / "compiled"


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def in_its_place(make):
    def put(path: Path) -> None:
        path.unlink()
        make(path)

    return put


def folder_with_a_file(path: Path) -> None:
    path.mkdir()
    (path / "file").touch()


DAMAGE = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-7]),
    "empty": lambda path: path.write_bytes(b""),
    "one bit": flipped,
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\n" + CONTENT),
    "another mark": lambda path: path.write_bytes(path.read_bytes().replace(b"kernel 1", b"kernel 2")),
    "a folder": in_its_place(folder_with_a_file),
    "a pipe": in_its_place(os.mkfifo),
    "a loop of links": in_its_place(lambda path: path.symlink_to(path)),
    "a link to nothing": in_its_place(lambda path: path.symlink_to(path.with_name("nothing"))),
    "gone": lambda path: path.unlink(),
    "a file for the folder": lambda path: (shutil.rmtree(path.parent), path.parent.write_bytes(b"x")),
    "the folder is gone": lambda path: shutil.rmtree(path.parent),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_dropped_and_made_again(place, capsys, damage):
    assert cache.read("one.kernel") is None
    cache.write("one.kernel", CONTENT)
    assert cache.read("one.kernel") == CONTENT
    DAMAGE[damage](place / "one.kernel")
    assert cache.read("one.kernel") is None
    cache.write("one.kernel", CONTENT)
    assert cache.read("one.kernel") == CONTENT
    assert [path.name for path in place.iterdir()] == ["one.kernel"]
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_another_users_file_is_not_taken(place):
    cache.write("one.kernel", CONTENT)
    os.chown(place / "one.kernel", 12345, 12345)
    assert cache.read("one.kernel") is None
    cache.write("one.kernel", CONTENT)
    os.chown(place, 12345, 12345)
    cache.write("two.kernel", CONTENT)
    assert cache.read("two.kernel") is None


@pytest.mark.parametrize("wanted", ["file", "file/below", "a" * 300, "~nosuchuser/cache", "/proc/nowhere"])
def test_a_cache_that_cannot_be_is_said_once_and_another_one_is_used(place, tmp_path, monkeypatch, capsys, wanted):
    (tmp_path / "file").write_bytes(b"kept")
    monkeypatch.setenv("BITSPIKE_CACHE", wanted if wanted[0] in "~/" else str(tmp_path / wanted))
    monkeypatch.setattr(cache.tempfile, "tempdir", str(tmp_path))
    for _ in range(2):
        cache.write("one.kernel", CONTENT)
        assert cache.read("one.kernel") == CONTENT
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("bitspike: cache folder '")
    assert f"{tmp_path}/bitspike-" in said[0]
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_where_nothing_can_be_kept_kernels_are_compiled_all_the_same(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setattr(cache, "_said", set())
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "file")
    kernel = compiled(doubled)
    assert kernel(np.float64(4.0)) == 8.0
    assert kernel(np.float32(4.0)) == 8.0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("bitspike: kernels are compiled again in every process: ")


def doubled(x):
    return x + x


def test_a_kept_kernel_is_taken_and_one_that_no_longer_loads_is_compiled_again(place):
    assert compiled(doubled)(1.5) == 3.0
    (kept,) = place.iterdir()
    again = compiled(doubled)
    assert again(1.5) == 3.0
    assert sum(again._cache_hits.values()) == 1
    # Its sum is right, its content no kernel: as after a change of Numba that its version does not tell.
    cache.write(kept.name, CONTENT)
    again = compiled(doubled)
    assert again(1.5) == 3.0
    assert sum(again._cache_hits.values()) == 0
    assert compiled(doubled, fastmath=True)(1.5) == 3.0
    assert len(list(place.iterdir())) == 2


def test_one_of_several_writers_wins_and_readers_see_all_or_nothing(place):
    seen, contents = set(), {CONTENT, CONTENT[::-1]}

    def work(content: bytes) -> None:
        for _ in range(30):
            cache.write("one.kernel", content)
            seen.add(cache.read("one.kernel"))

    workers = [threading.Thread(target=work, args=(content,)) for content in contents]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert seen <= contents | {None}
    assert cache.read("one.kernel") in contents


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[" * 100_000, b'{"class": "c", "seconds": {"int8": 1}}', b"[]", None]
)
def test_a_damaged_table_of_times_is_measured_again(place, content):
    times = {"float32": 2.0, "int8": 1.0}
    table.forget()
    assert table.seconds("c", lambda: times) == times
    (path,) = (place.parent / "products").glob("*/c.json")
    if content is None:
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(content)
    table.forget()
    assert table.seconds("c", lambda: {"float32": 3.0}) == {"float32": 3.0}
    table.forget()
    assert table.seconds("c", lambda: times) == {"float32": 3.0}
    table.forget()
