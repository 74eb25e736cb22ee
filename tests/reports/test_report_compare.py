"""Several runs on one page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bitspike.errors import BitspikeError
from bitspike.reports import compare

MakeRun = Callable[..., Path]


def change(run: Path, name: str, **values: object) -> None:
    """Change entries of one table of result.json."""
    result = json.loads((run / "result.json").read_text())
    result[name] |= values
    (run / "result.json").write_text(json.dumps(result))


def test_runs_are_tabled_and_drawn(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(f"r{seed}", seed=seed) for seed in range(3)]
    change(runs[1], "test", accuracy=0.99)
    out = compare(runs, tmp_path / "new" / "compare.html")
    page = out.read_text(encoding="utf-8")
    assert "3 runs on digits" in page
    for seed in range(3):
        assert page.count(f"tiny-bayes, seed {seed}") >= 6
    assert re.findall(r'<td class="best">([^<]*)</td>', page) == ["99.00\u202f%"]
    assert re.findall(r'<figure id="(\w+)"', page) == ["learning", "reliability", "time"]
    assert re.findall(r"(?:src|href)=\"(?!#|data:)", page) == []


def test_lower_is_better_except_accuracy(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run("a"), make_run("b", seed=1)]
    change(runs[0], "test", scaled={"temperature": 1.3, "nll": 0.1, "ece": 0.5, "brier": 0.131})
    page = compare(runs, tmp_path / "c.html").read_text(encoding="utf-8")
    assert re.findall(r'<td class="best">([^<]*)</td>', page) == ["0.1000", "0.0234"]


def test_runs_with_parts_missing_are_still_compared(make_run: MakeRun, tmp_path: Path) -> None:
    whole, bare = make_run("a"), make_run("b", seed=1)
    (bare / "result.json").unlink()
    page = compare([whole, bare], tmp_path / "c.html").read_text(encoding="utf-8")
    assert "tiny-bayes, seed 1 (not tested yet)" in page
    (bare / "metrics.jsonl").write_text("")
    assert "tiny-bayes (not tested yet)" in compare([bare], tmp_path / "c.html").read_text(encoding="utf-8")


def test_shared_names_and_seeds_are_told_apart_by_folder(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run("a"), make_run("b")]
    page = compare(runs, tmp_path / "c.html").read_text(encoding="utf-8")
    for run in runs:
        assert f"tiny-bayes, seed 0 ({run.name})" in page


def test_other_data_is_said_and_nothing_is_called_best(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run("a"), make_run("b", seed=1)]
    environment = json.loads((runs[1] / "environment.json").read_text())
    environment["data"]["name"] = "<mnist>"
    (runs[1] / "environment.json").write_text(json.dumps(environment))
    change(runs[0], "test", accuracy=0.5)
    page = compare(runs, tmp_path / "c.html").read_text(encoding="utf-8")
    assert "tested on different data (&lt;mnist&gt;, digits)" in page
    assert 'class="best"' not in page


def test_regressions_are_compared_by_rmse(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(f"r{seed}", kind="regression", seed=seed) for seed in range(2)]
    page = compare(runs, tmp_path / "c.html").read_text(encoding="utf-8")
    assert ">RMSE<" in page
    assert "Root-mean-square error on validation" in page
    assert "ccuracy" not in page


def test_what_cannot_be_compared_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    out = tmp_path / "c.html"
    run, other = make_run("a"), make_run("b", kind="regression")
    with pytest.raises(BitspikeError, match=r"^compare: got no runs, wanted one or more run folders$"):
        compare([], out)
    with pytest.raises(BitspikeError, match="wanted runs of one kind"):
        compare([run, other], out)
    with pytest.raises(BitspikeError, match="twice, wanted run folders that differ"):
        compare([run, run / ".." / "a"], out)
    assert not out.exists()


def test_an_unwritable_place_is_refused_and_left_alone(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    runs = [make_run("a"), make_run("b")]
    for run in runs:
        (run / "result.json").write_text("{}")
        (run / "metrics.jsonl").unlink()
    with pytest.raises(BitspikeError, match="wanted a place that can be written"):
        compare(runs, tmp_path / "file" / "c.html")
    (tmp_path / "c.html").mkdir()
    with pytest.raises(BitspikeError, match=r"c\.html', a folder, wanted a file, or a name that is free"):
        compare(runs, tmp_path / "c.html")
    assert (tmp_path / "file").read_text() == "mine"
    assert not list(tmp_path.glob(".*part"))
