"""Loaders called by themselves: what is left out has the default of the set's table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bitspike.data import load
from bitspike.data.digits import digits
from bitspike.data.folder import own_folder
from bitspike.data.toy import two_moons
from bitspike.errors import BitspikeError


def test_a_call_without_options_is_what_load_gives() -> None:
    for alone, name in ((digits(), "digits"), (two_moons(seed=3, noise=0.2), "two-moons")):
        options = {"seed": 3, "noise": 0.2} if name == "two-moons" else {}
        loaded = load(name, **options)  # type: ignore[arg-type]
        assert torch.equal(alone.test.x, loaded.test.x)
        assert torch.equal(alone.train.index, loaded.train.index)


def test_a_file_alone_is_read_and_options_are_checked(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("a,class\n" + "".join(f"{k},{'x' if k % 2 else 'y'}\n" for k in range(40)))
    assert own_folder(path=tmp_path / "own.csv").classes == ("x", "y")
    with pytest.raises(BitspikeError, match=r"folder option tast: got 3, wanted one of the options"):
        own_folder(path=tmp_path / "own.csv", tast=3)
