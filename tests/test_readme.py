"""What the README shows from Python runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import bitspike

README = Path(__file__).parents[1] / "README.md"


def test_own_module_own_data_and_estimator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    section = README.read_text().partition("## From Python")[2].partition("\n## ")[0]
    first, *blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert first.startswith("import bitspike\n")  # trains a recipe of the demo, as other tests do
    names: dict[str, Any] = {"bitspike": bitspike, "__name__": "__main__"}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert bitspike.load("runs/net", model=names["net"]).result["test"]["accuracy"] >= 0.9
    assert bitspike.load("runs/rows").result["test"]["accuracy"] >= 0.9
    assert names["model"].score(names["X"][1::2], names["y"][1::2]) >= 0.9
    assert (tmp_path / "runs/rows/report.html").exists()
