"""The command as a person meets it: verbs, exit codes, one-line errors, and data of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from bitspike import load

from ..commands import commands, start

COMMAND = str(Path(sys.executable).with_name("bitspike"))


def bitspike(*arguments: object, cwd: Path, text: str | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [COMMAND, *map(str, arguments)], cwd=cwd, input=text, capture_output=True, text=True, timeout=300, check=False,
        env=environment,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    small = ["--epochs", "3", "--set", "model.layers=['32']", "--set", "encoder.steps=4"]
    commands(*(["train", recipe, *small] for recipe in ("digits-st", "digits-bayes")), cwd=folder)
    return folder


def test_help_imports_nothing_heavy():
    script = "import sys, bitspike.cli; print([m for m in ('torch', 'numpy', 'rich', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_verb(home):
    names, own, resolved, evaluated, early, compared, reported, collected, checked = (
        done.stdout
        for done in commands(
            ["recipes"],
            ["recipes", "digits-st"],
            ["recipes", "digits-st", "--resolved"],
            ["evaluate", "runs/digits-bayes", "--json", "--time", 2],
            ["evaluate", "runs/digits-st", "--time", 2],
            ["compare", "runs/digits-st", "runs/digits-bayes"],
            ["report", "runs/digits-st"],
            ["results", "runs/digits-st", "--out", "results"],
            ["doctor", "--json"],
            cwd=home,
        )
    )
    assert "digits-bayes" in names
    assert own.startswith("# bitspike train digits-st")
    assert "[evaluation]" in resolved
    result = json.loads((home / "runs/digits-bayes/result.json").read_text())
    assert json.loads(evaluated)["accuracy"] == result["over_time"][1]["accuracy"]
    assert early.index("after all time steps:") < early.index("  energy  ")
    assert f"{result['test']['accuracy']:.2%}" in compared
    assert "analytic, not measured" in compared
    assert "95 % interval" in compared
    assert (home / "runs/compare.html").exists()
    assert reported.strip() == "runs/digits-st/report.html"
    assert "digits-st: 1 run(s)" in collected
    stored = json.loads((home / "results/digits-st.json").read_text())
    assert stored["runs"][0]["test"] == json.loads((home / "runs/digits-st/result.json").read_text())["test"]
    assert {"recipe", "recipe_hash", "version", "device", "data", "seeds", "runs", "mean", "std"} <= set(stored)
    assert json.loads(checked)["torch"] == torch.__version__
    assert "epochs = 3" in (home / "runs/digits-st/recipe.toml").read_text()
    assert f"<Run '{home}/runs/digits-st': digits-st on digits, test accuracy" in repr(load(home / "runs/digits-st"))


def test_predict_from_a_file_a_table_and_standard_input(home):
    from PIL import Image

    from bitspike.data import load

    digit = load("digits").test
    image = Image.fromarray((digit.x[0, 0].numpy() * 255).astype(np.uint8))
    image.save(home / "digit.png")
    lines = [["predict", "runs/digits-bayes", name] for name in ("digit.png", "nothing.png")]
    predicted, missing = commands([*lines[0], "--json"], lines[1], cwd=home, codes=[0, 2])
    line = json.loads(predicted.stdout)
    assert line["input"].endswith("digit.png")
    assert line["class"] == max(line["probabilities"], key=line["probabilities"].get)
    assert sum(line["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert missing.stderr.startswith("bitspike: ")
    assert missing.stderr.count("\n") == 1


def own_recipe(folder: Path, data: str, encoder: str, name: str = "mine") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(
        f'name = "{name}"\n[data]\nset = "folder"\n{data}\n[encoder]\n{encoder}\n'
        '[model]\nlayers = ["24"]\n[weights]\nprecision = "bayesian"\n[training]\nepochs = 15\nbatch = 16\n'
        "[optimizer]\nlr = 0.01\n[latent_optimizer]\nlr = 0.3\n"
    )
    return path


def test_thirty_pictures_in_three_folders(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for number, name in enumerate(("circle", "cross", "empty")):
        (tmp_path / "pics" / name).mkdir(parents=True)
        for k in range(10):
            pixels = rng.integers(0, 60, (12, 12), dtype=np.uint8)
            if number == 0:
                pixels[3:9, 3:9] = 255
            if number == 1:
                pixels[[5, 6], :] = pixels[:, [5, 6]] = 255
            Image.fromarray(pixels).save(tmp_path / "pics" / name / f"{k}.png")
    recipe = own_recipe(tmp_path, 'options = { path = "pics" }', 'name = "direct"\nsteps = 4')
    lines = [["train", recipe], ["predict", "runs/mine", "pics/circle/0.png"]]
    _, predicted, _ = commands(*lines, ["evaluate", "runs/mine", "--split", "validation"], cwd=tmp_path)
    assert json.loads((tmp_path / "runs/mine/result.json").read_text())["test"]["accuracy"] >= 0.8
    assert predicted.stdout.split()[1] == "circle"


def test_a_table_of_time_series(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["a,b,c,d,e,f,g,h,label"]
    for k in range(90):
        rising = k % 2
        series = np.linspace(0, 1, 8)[:: 1 if rising else -1] + rng.normal(0, 0.1, 8)
        rows.append(",".join(f"{v:.4f}" for v in series) + (",up" if rising else ",down"))
    (tmp_path / "series.csv").write_text("\n".join(rows) + "\n")
    recipe = own_recipe(tmp_path, 'options = { path = "series.csv", steps = 8 }', 'name = "sequence"\nsteps = 8')
    commands(["train", recipe], cwd=tmp_path)
    assert json.loads((tmp_path / "runs/mine/result.json").read_text())["test"]["accuracy"] >= 0.8
    piped = "a,b,c,d,e,f,g,h\n0,.1,.3,.4,.6,.7,.9,1\n1,.9,.7,.6,.4,.3,.1,0\n"
    lines = bitspike("predict", "runs/mine", "-", cwd=tmp_path, text=piped).stdout.splitlines()
    assert [line.split()[-2] for line in lines] == ["up", "down"]


def test_event_files_in_class_folders(tmp_path):
    from bitspike.data.formats import EVENT, write_events

    draw = np.random.default_rng(0)
    for side, name in enumerate(("left", "right")):
        for k in range(12):
            events = np.empty(200, EVENT)
            for field, end in (("t", 100_000), ("x", 8), ("y", 16), ("p", 2)):
                events[field] = draw.integers(0, end, 200)
            events["t"].sort()
            events["x"] += 8 * side
            path = tmp_path / "events" / name / f"{k:03}{('.bin', '.dat', '.es', '.raw')[k % 4]}"
            write_events(path, events, size=(16, 16))
    recipe = own_recipe(tmp_path, 'options = { path = "events" }', 'name = "events"\nsteps = 5\ndt = 20.0')
    _, predicted = commands(["train", recipe], ["predict", "runs/mine", "events/right/003.raw"], cwd=tmp_path)
    assert json.loads((tmp_path / "runs/mine/result.json").read_text())["test"]["accuracy"] >= 0.8
    assert predicted.stdout.split()[1] == "right"


MISTAKES = [
    (["train", "digits-bays"], "did you mean 'digits-bayes'?"),
    (["train", "digits-st", "--set", "training.epoch=3"], "unknown key 'training.epoch'; did you mean 'epochs'?"),
    (["train", "digits-st", "--seeds", "2", "--seed", "1"], "--seeds: got --seed 1 as well, wanted one of the two"),
    (["train", "mnist-st", "--data", "nowhere"], "nowhere"),
    (["train", "digits-st", "--out", "/proc/run"], "cannot be written"),
    (["evaluate", "runs/none"], "'runs/none' is not a run folder (no recipe.toml in it)"),
    (["evaluate", "runs/digits-st", "--split", "all"], "--split: got 'all', wanted train, validation or test"),
    (["evaluate", "runs/digits-st", "--time", "9"], "--time: got 9, wanted a time step from 1 to 4"),
    (["compare", "runs/none"], "runs/none"),
    (["results", "runs/digits-st", "runs/digits-bayes"], "is a run of another recipe"),
    (["train", "digits-st", "--no-such-option"], "No such option"),
    (["tran"], "No such command 'tran'"),
    (["train", "digits-st", "--resume", "--overwrite"], "--resume: got --overwrite as well"),
    (["compare", "runs/digits-st", "runs/digits-st"], "runs/digits-st"),
    (["compare", "runs/digits-st", "--out", "own.toml"], "--out: got 'own.toml', wanted a path that ends in .html"),
    (["compare", "runs/digits-st", "--out", "x.html", "--json"], "--out: got 'x.html' with --json"),
    (["train", "digits-st", "--seeds", "2", "--out", "some"], "--out: 'some-seed-1' exists and is not a run folder"),
    (["train", "digits-st", "--folds", "3", "--out", "some"], "--out: 'some-fold-3' exists and is not a run folder"),
    (["recipes", "--explain"], "--explain: got no recipe"),
    (["recipes", "digits-st", "--explain", "--resolved"], "--resolved: got --explain as well"),
    (["doctor", "--kernel", "lif", "--recipe", "digits-st"], "--recipe: got --kernel as well"),
    (["evaluate", "runs/digits-st", "--data", "nowhere"], "--data: got 'nowhere', wanted an existing folder"),
]


def test_mistakes_are_one_line_and_exit_code_2(home):
    for mine in ("some-seed-1", "some-fold-3"):
        (home / mine / "mine").mkdir(parents=True)
    found = commands(*(arguments for arguments, _ in MISTAKES), cwd=home, codes=[2] * len(MISTAKES))
    for done, (arguments, message) in zip(found, MISTAKES, strict=True):
        assert message in done.stderr, arguments
        assert done.stdout == "", arguments
        assert done.stderr.startswith("bitspike: "), arguments
        assert done.stderr.count("\n") == 1, arguments
    assert sorted(path.name for path in home.glob("some-*")) == ["some-fold-3", "some-seed-1"]


def test_seeds_of_a_set_that_they_draw_themselves_are_no_mistake(tmp_path):
    moons = ["train", "two-moons-full", "--epochs", "1", "--set", "model.layers=['4']", "--set", "encoder.steps=12"]
    both, mixed = commands(
        [*moons, "--seeds", "2", "--out", "a"],
        [*moons, "--set", "data.options.noise=0.3", "--out", "b"],
        cwd=tmp_path,
    )  # fmt: skip
    assert "data that its own seed drew, two-moons (2,000 test examples): they differ by their data too" in both.stderr
    assert "do not compare" not in both.stderr + mixed.stderr
    (apart,) = commands(["compare", "a-seed-0", "b"], cwd=tmp_path)
    assert "two-moons (2,000 test examples): their figures do not compare" in apart.stderr


def test_runs_on_different_data_are_told_apart(home, tmp_path):
    import shutil

    other = tmp_path / "other"
    shutil.copytree(home / "runs/digits-st", other)
    described = json.loads((other / "environment.json").read_text())
    described["data"] |= {"name": "mine", "digests": {"mine.csv": "0" * 64}}
    (other / "environment.json").write_text(json.dumps(described))
    first = home / "runs/digits-st"
    apart, alike = commands(["compare", first, other], ["compare", first, home / "runs/digits-bayes"], cwd=tmp_path)
    assert apart.stdout.split()[:3] == ["run", "data", "accuracy"]
    assert "different data, digits (359 test examples), mine (359 test examples): their figures do not" in apart.stderr
    assert "different data" not in alike.stderr
    shutil.copytree(first, tmp_path / "fold")
    with np.load(first / "predictions.npz") as stored:
        arrays = dict(stored)
    np.savez(tmp_path / "fold/predictions.npz", **{**arrays, "index": arrays["index"] + 1})
    folds, _ = commands(["compare", first, tmp_path / "fold"], ["compare", first], cwd=tmp_path)
    assert "these runs were tested on different examples of digits: their figures do not compare" in folds.stderr


def test_a_table_is_whole_however_long_its_names_and_narrow_the_terminal(home, tmp_path):
    import shutil
    import termios
    from pty import openpty

    result = json.loads((home / "runs/digits-st/result.json").read_text())
    wanted = [f"{result['test']['accuracy']:.2%}", f"{result['bits']['weights_stored']:,.0f}"]
    named = "a-name-of-a-run-" * 12
    shutil.copytree(home / "runs/digits-st", tmp_path / named)
    piped, _ = commands(["compare", tmp_path / named], ["compare", tmp_path / named, "--json"], cwd=tmp_path)
    assert {named, *wanted} <= set(piped.stdout.split())
    outer, inner = openpty()
    termios.tcsetwinsize(inner, (24, 50))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    words = [COMMAND, "compare", "runs/digits-st", "--out", str(tmp_path / "page.html")]
    with subprocess.Popen(words, cwd=home, stdout=inner, stderr=inner, stdin=inner, env=environment) as run:
        os.close(inner)
        shown = b""
        try:
            while part := os.read(outer, 4096):
                shown += part
        except OSError:  # Linux: the other end is closed
            pass
    os.close(outer)
    assert run.returncode == 0
    assert {"digits-st", *wanted} <= set(shown.decode().split())


def test_a_damaged_run_is_one_line(home, tmp_path):
    import shutil

    for name in ("broken", "worse"):
        shutil.copytree(home / "runs/digits-st", tmp_path / name)
        (tensors,) = (tmp_path / name / "checkpoints").glob("shipped-*.safetensors")
        tensors.write_bytes(tensors.read_bytes()[:-7])
    (tmp_path / "worse" / "result.json").write_text('{"test": ')
    found = commands(*(["evaluate", name] for name in ("broken", "worse")), cwd=tmp_path, codes=[2, 2])
    assert "do not match their SHA-256" in found[0].stderr
    assert "not readable as JSON" in found[1].stderr
    assert [done.stderr.count("\n") for done in found] == [1, 1]


@pytest.mark.parametrize(
    "name", ["SIGTERM", pytest.param("SIGINT", marks=pytest.mark.long), pytest.param("SIGHUP", marks=pytest.mark.long)]
)
def test_a_signal_saves_and_the_command_that_is_printed_resumes(name, tmp_path):
    import shlex
    import signal
    import time

    number = getattr(signal, name)
    out = tmp_path / "a folder"
    small = ["--set", "model.layers=['16']", "--set", "training.epochs=400"]
    command = [COMMAND, "train", "digits-st", *small, "--out", out]
    run = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def epochs() -> list[int]:
        whole = (out / "metrics.jsonl").read_text().split("\n")[:-1]
        return [json.loads(one)["epoch"] for one in whole]

    while not (out / "metrics.jsonl").exists():
        time.sleep(0.1)
    run.send_signal(number)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 128 + number
    line = errors.splitlines()[-1]
    assert line.startswith("bitspike: stopped at epoch")
    words = shlex.split(line.partition("to go on: ")[2])
    assert words[:4] == ["bitspike", "train", "digits-st", "--out"]
    reached = len(epochs())
    again = start(words[1:], cwd=tmp_path)
    while len(epochs()) == reached:
        assert again.process.is_alive()
        time.sleep(0.01)
    again.kill()
    assert epochs() == list(range(1, len(epochs()) + 1))  # a run begun anew would have fewer at first
    assert len(epochs()) > reached
