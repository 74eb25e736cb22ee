"""Files of results: what is averaged belongs together, what differs is said, and nothing is lost unasked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import bitspike
from bitspike.cli.app import app
from bitspike.errors import BitspikeError
from bitspike.run.folds import summarised
from bitspike.run.results import collect, write_results

SMALL = ["model.layers=['16']", "encoder.steps=2", "training.epochs=1"]
Seeded = Callable[..., Path]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> bitspike.Run:
    return bitspike.train("digits-st", tmp_path_factory.mktemp("runs") / "a", overrides=SMALL)


@pytest.fixture
def seeded(run: bitspike.Run, tmp_path: Path) -> Seeded:
    """A copy of the run with another seed; changes: of its environment, or of its data."""

    def made(seed: int, data: dict[str, Any] | None = None, **changes: object) -> Path:
        folder = tmp_path / f"seed-{seed}-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(run.path, folder)
        recipe = folder / "recipe.toml"
        recipe.write_text(recipe.read_text().replace("seed = 0", f"seed = {seed}", 1))
        found = json.loads((folder / "environment.json").read_text()) | changes
        found["data"] |= data or {}
        (folder / "environment.json").write_text(json.dumps(found))
        return folder

    return made


def test_runs_on_other_data_are_not_averaged(seeded: Seeded) -> None:
    first = seeded(0)
    for changes in ({"digests": {"digits": "0" * 64}}, {"examples": {"train": 1}}, {"subset": "subset 9/9"}):
        with pytest.raises(BitspikeError, match=r"^results: '.*seed-1.*' is a run on other data than '.*seed-0.*'$"):
            collect([first, seeded(1, changes)])


def test_an_entry_says_what_it_was_measured_with_where_that_is_not_the_files(seeded: Seeded, tmp_path: Path) -> None:
    content = collect([seeded(0), seeded(1, version="0.0.7", processor="another"), seeded(2)])
    assert content["version"] == bitspike.__version__
    assert [sorted({"version", "device", "hardware"} & entry.keys()) for entry in content["runs"]] == [
        [], ["hardware", "version"], [],
    ]  # fmt: skip
    assert content["runs"][1]["version"] == "0.0.7"
    # Of seeds that a file keeps too.
    out = tmp_path / "out.json"
    write_results([seeded(3, version="0.0.7", device="cuda")], out)
    added = write_results([seeded(4)], out, add=True)
    assert (added["version"], added["device"]) == (bitspike.__version__, "cpu")
    assert [(entry.get("version"), entry.get("device")) for entry in added["runs"]] == [("0.0.7", "cuda"), (None, None)]


def test_seeds_of_a_set_that_is_made_are_added_to_a_file(tmp_path: Path) -> None:
    small = ["model.layers=['8']", "training.epochs=1", "data.options.train_size=20", "data.options.test_size=20"]
    runs = [bitspike.train("two-moons-full", tmp_path / str(s), overrides=small, seed=s) for s in (0, 1)]
    assert runs[0].environment["data"]["digests"] != runs[1].environment["data"]["digests"]
    both = collect([one.path for one in runs])
    write_results([runs[0].path], tmp_path / "out.json")
    added = write_results([runs[1].path], tmp_path / "out.json", add=True)
    assert added["seeds"] == both["seeds"] == [0, 1]
    assert added["mean"]["test"] == both["mean"]["test"]


def test_what_a_file_holds_is_not_lost_unasked(run: bitspike.Run, seeded: Seeded, tmp_path: Path) -> None:
    out, second = tmp_path / "out.json", seeded(1)
    write_results([run.path, second], out)
    before = out.read_text()
    with pytest.raises(
        BitspikeError, match=r"^--out: got '.*', which holds seeds \[1\] that are not among the runs, wa"
    ):
        write_results([run.path], out)
    other = bitspike.train("digits-st", tmp_path / "other", overrides=[*SMALL, "optimizer.lr=0.01"])
    with pytest.raises(
        BitspikeError, match=r"^--out: got '.*', which holds results of another recipe, wanted another p"
    ):
        write_results([other.path], out)
    assert out.read_text() == before
    write_results([second, run.path], out)  # the same seeds again
    write_results([other.path], out, overwrite=True)
    assert json.loads(out.read_text())["seeds"] == [0]
    out.write_text("[1, 2]")
    with pytest.raises(BitspikeError, match=r"which holds something else, wanted another path, or --overwrite$"):
        write_results([run.path], out)
    assert CliRunner().invoke(app, ["results", str(run.path), "--out", str(out), "--overwrite"]).exit_code == 0


def test_folds_of_other_data_have_no_mean(run: bitspike.Run, seeded: Seeded, tmp_path: Path) -> None:
    other = bitspike.load(seeded(0, {"digests": {"digits": "0" * 64}}))
    with pytest.raises(BitspikeError, match=r"^folds: '.*' is a run on other data than '.*'$"):
        summarised([run, other], tmp_path / "base")
    assert not (tmp_path / "base-folds.json").exists()


def test_a_finished_run_is_resumed_on_what_it_began_with(run: bitspike.Run, tmp_path: Path) -> None:
    folder = shutil.copytree(run.path, tmp_path / "a")
    again = bitspike.train("digits-st", folder, overrides=SMALL, resume=True)
    assert again.result == run.result
    with pytest.raises(
        BitspikeError, match=r"^--resume: precision: got 64-true, wanted what the run began with, 32-tr"
    ):
        bitspike.train("digits-st", folder, overrides=SMALL, resume=True, precision="64-true")
    environment = json.loads((folder / "environment.json").read_text())
    environment["data"]["digests"] = {"digits": "0" * 64}
    (folder / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(BitspikeError, match=r"^--resume: digests: got"):
        bitspike.train("digits-st", folder, overrides=SMALL, resume=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["no-file.npz", "--measure", "early"], "--measure: got early, wanted it left out where a file is measured"),
        (["--measure", "early", "--draws", "7"], "--draws: got 7, wanted it left out with --measure early"),
        (["--measure", "early", "--time", "1"], "--time: got 1, wanted it left out with --measure early"),
        (["--spiking", "--measure", "early"], "--measure: got early, wanted it left out with --spiking"),
        (["--spiking", "--synapse", "none", "--tau-s", "3"], "--tau-s: got 3, wanted it left out with --synapse none"),
        (["--spiking", "--set", "bogus=1"], "--set: got bogus=1, wanted it left out with --spiking"),
        (["--draws", "3"], "evaluate samples: got 3, wanted it left out, or 1: this network's weights are not drawn"),
    ],
)
def test_evaluate_ignores_no_option(run: bitspike.Run, options: list[str], said: str) -> None:
    found = CliRunner().invoke(app, ["evaluate", str(run.path), *options])
    assert isinstance(found.exception, BitspikeError)
    assert str(found.exception).startswith(said)
