"""The tables of README.md and docs/findings.md are what results/ holds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHECK = [sys.executable, str(ROOT / "docs" / "make_tables.py"), "--check"]


def test_every_number_of_a_table_is_the_results():
    done = subprocess.run(CHECK, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_number_is_found(tmp_path):
    """A copy of the documents with one digit changed."""
    for name in ("README.md", "docs", "results"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "README.md").unlink()
    text = (ROOT / "README.md").read_text()
    changed, count = re.subn(r"(\| `mnist-st` \| \S+ \| \d \|) \d\d\.\d\d ", r"\1 12.34 ", text)
    assert count == 1
    (tmp_path / "README.md").write_text(changed)
    (tmp_path / "docs").unlink()
    (tmp_path / "docs").mkdir()
    for path in (ROOT / "docs").glob("*.*"):
        (tmp_path / "docs" / path.name).write_bytes(path.read_bytes())
    command = [sys.executable, str(tmp_path / "docs" / "make_tables.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "mnist-st" in done.stdout
    assert "12.34" in done.stdout
