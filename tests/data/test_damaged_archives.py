"""An .npz whose members are no arrays, or hold text that does not exist, is refused by name."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from bitspike.data import load
from bitspike.errors import BitspikeError


def test_a_member_that_is_no_array_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((8, 2)))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("y", b"not an array")
    with pytest.raises(BitspikeError, match=r"a.npz y: got a member that is no array, wanted an array saved by NumPy$"):
        load("folder", path=path)


@pytest.mark.parametrize("point", [0x110000, 0xD800])
@pytest.mark.parametrize("order", "<>")
def test_text_of_characters_that_do_not_exist_is_named(tmp_path: Path, point: int, order: str) -> None:
    y = np.array([ord("u"), ord("v"), ord("u"), point], f"{order}u4").view(f"{order}U1")
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2)), y=y)
    with pytest.raises(BitspikeError, match=r"a.npz y: got text with characters that do not exist, wanted text$"):
        load("folder", path=tmp_path / "a.npz")
