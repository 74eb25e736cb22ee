"""Imports go down the floors, and a check says so when one does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bitspike

ROOT = Path(__file__).parents[1]
SOURCE = Path(bitspike.__file__).parent


def lint(source: Path) -> subprocess.CompletedProcess[str]:
    """What `make lint` says of the package in `source`."""
    command = "from importlinter.cli import lint_imports_command as run; run()"
    options = ["--no-logo", "--no-cache", str(ROOT / "pyproject.toml")]
    return subprocess.run(
        [sys.executable, "-c", command, *options],
        env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True, text=True, cwd=source, check=False,
    )  # fmt: skip


def test_no_import_climbs():
    found = lint(SOURCE.parent)
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("kernels/scan.py", "def late():\n    import bitspike.neurons.lif\n", "bitspike.kernels is not allowed"),
        ("neurons/base.py", "def late():\n    from bitspike.neurons import lif\n", "No cycles are allowed"),
        ("a_new_room.py", "", "a_new_room"),
    ],
)  # fmt: skip
def test_an_import_that_climbs_a_circle_and_a_room_without_a_floor_are_named(tmp_path, file, line, said):
    copy = tmp_path / "bitspike"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / file).open("a") as module:
        module.write(f"\n\n{line}")
    found = lint(tmp_path)
    assert found.returncode == 1
    assert said in found.stdout
