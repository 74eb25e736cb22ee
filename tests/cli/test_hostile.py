"""Whatever is handed to the command: one line and exit code 2, at once."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bitspike import paths
from bitspike.cli.app import app
from bitspike.errors import BitspikeError

DEEP = "[" * 3000 + "]" * 3000


def refusal(arguments):
    """What is said instead of doing it; any other exception passes."""
    try:
        app(arguments, standalone_mode=False)
    except BitspikeError as error:
        return str(error)
    except Exception as error:  # of the command line itself
        if not hasattr(error, "format_message"):
            raise
        return error.format_message()
    return ""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with an unfinished run, a finished one (as far as its files' names say), a pipe, and a folder in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("begun", "done"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.toml").write_text("")
    (tmp_path / "done" / "result.json").write_text("{}")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "many").mkdir()
    os.mkfifo(tmp_path / "many" / "a.png")
    (tmp_path / "deep.toml").write_text(f"seed = {DEEP}")
    (tmp_path / "long.toml").write_text(f"seed = {'9' * 5000}")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "nosuch", "x"], "run: 'nosuch' is not a run folder (no recipe.toml in it)"),
        (["predict", "begun", "x"], "run 'begun': not finished"),
        (["predict", "done", "x"], "predict: got 'x', which is not there, wanted a file"),
        (["predict", "done", "pipe.csv"], "predict: got 'pipe.csv', a pipe, wanted a file"),
        (["predict", "done", "many"], "predict: got 'many/a.png', a pipe, wanted ordinary files only"),
        (["predict", "done", "/dev/zero"], "predict: got '/dev/zero', a device"),
        (["predict", "done", "~nosuch"], "its '~' names nobody's home"),
        (["predict", "done", "a" * 300], "File name too long"),
        (["predict", "done", "\udcff"], "predict: got '\\udcff', which is not there"),
        (["evaluate", "a" * 300], "File name too long"),
        (["train", "/dev/zero"], "recipe: got '/dev/zero', a device, wanted a TOML file"),
        (["train", "pipe.csv/x.toml"], "which is not there"),
        (["train", "deep.toml"], "not valid TOML (nested too deeply)"),
        (["train", "long.toml"], "not valid TOML"),
        (["train", "latin.toml"], "bytes that are no UTF-8 text"),
        (["train", "digits-st", "--set", f"seed={DEEP}"], "a value nested at most 32 deep"),
        (["train", "digits-st", "--set", "data.options.a=" + "[" * 40 + "]" * 40], "nested more than 32 deep"),
        (["train", "digits-st", "--set", ".".join("a" * 5000) + "=1"], "a key of at most 32 parts"),
        (["train", "digits-st", "--set", f"seed={'9' * 5000}"], "a number of fewer digits"),
        (["train", "digits-st", "--set", "name='\udcff'"], "--set: got \"name='\\udcff'\", wanted UTF-8 text"),
        (["train", "digits-st", "--set", "name='../x'"], "recipe name: got '../x', wanted a name"),
        (["train", "digits-st", "--set", "data.options.seed=3"], "data.options.seed: got 3, wanted one of validation"),
        (["train", "digits-st", "--set", "data.options.name='x'"], "data.options.name: got x"),
        (["train", "digits-st", "--set", "data.options.folder='x'"], "data.options.folder: got x"),
        (["train", "digits-st", "--out", "deep.toml"], "--out: 'deep.toml' exists and is not a run folder"),
        (["train", "digits-st", "--out", "a" * 300], "File name too long"),
        (["train", "digits-st", "--out", "/", "--seeds", "2"], "--out: got '/', wanted a folder with a name"),
        (["train", "digits-st", "--data", "~nosuch"], "its '~' names nobody's home"),
        (["train", "digits-st", "--seeds", "5000000"], "10000"),
        (["train", "digits-st", "--threads", "5000000"], "1024"),
        (["train", "digits-st", "--processes", "100", "--batch", "64"], "--processes: got 100, wanted 1 to"),
        (["train", "digits-st", "--processes", "0"], "--processes"),
        (["train", "digits-st", "--lr", "nan"], "optimizer.lr"),
        (["recipes", "~nosuch/x.toml"], "its '~' names nobody's home"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_in_one_line(here, arguments, message):
    line = refusal(arguments)
    assert message in line
    assert "\n" not in line


@pytest.mark.parametrize("name", ["LOCAL_RANK", "RANK", "SLURM_PROCID"])
def test_variables_of_other_launchers(here, monkeypatch, name):
    monkeypatch.setenv(name, "abc")
    with pytest.raises(BitspikeError, match=f"environment variable {name}: got 'abc', wanted a whole number"):
        app(["train", "digits-st"], standalone_mode=False)
    assert not Path("runs").exists()


def test_a_folder_of_very_many_files_is_refused(here, monkeypatch):
    from bitspike.cli import predict

    monkeypatch.setattr(predict, "MOST_FILES", 3)
    for number in range(4):
        (here / "done" / f"{number}.png").touch()
    with pytest.raises(BitspikeError, match="predict: got more than 3 entries in 'done', wanted at most that"):
        predict.source_files("done")


def test_standard_input_ends_somewhere(monkeypatch):
    class Given:
        buffer = io.BytesIO(b"\xef\xbb\xbf1,2\n")

    monkeypatch.setattr(sys, "stdin", Given)
    assert paths.read_standard_input(20) == "1,2\n"
    Given.buffer = io.BytesIO(b"0" * 30)
    with pytest.raises(BitspikeError, match="standard input: got more than 20 bytes, wanted at most that"):
        paths.read_standard_input(20)
    Given.buffer = io.BytesIO(b"\xff")
    with pytest.raises(BitspikeError, match="no UTF-8"):
        paths.read_standard_input(20)


def test_a_missing_run_or_file_is_refused_before_torch_is_imported(here):
    script = (
        "import sys; from bitspike.cli.app import app\n"
        "for words in (['predict', 'nosuch', 'x'], ['predict', 'done', 'x'], ['report', 'begun'], ['recipes']):\n"
        "    try: app(words, standalone_mode=False)\n"
        "    except Exception as error: print(error, file=sys.stderr)\n"
        "print([name for name in ('torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr.count("\n") == 3


@pytest.mark.parametrize(
    ("redirected", "code", "line"),
    [
        ("> /dev/full", 2, "bitspike: standard output: No space left on device; nothing that was saved is lost\n"),
        (">&-", 0, ""),
        ("2>&- > /dev/null", 0, ""),
        ("<&- | head -n 1 > /dev/null", 0, ""),
    ],
)
def test_streams_that_take_nothing(redirected, code, line):
    command = f"{sys.executable} -m bitspike recipes {redirected}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, line)


def test_every_key_is_explained():
    from bitspike.cli.explain import keys, printed
    from bitspike.run.recipe_files import load_recipe

    recipe = load_recipe("digits-bayes")
    rows = {key.path: key for key in keys(recipe) if not key.table}

    def flat(table, path=""):
        for name, value in table.items():
            if isinstance(value, dict) and value:
                yield from flat(value, f"{path}{name}.")
            elif value != {}:
                yield f"{path}{name}", value

    for path, value in flat(recipe.resolved()):
        assert rows[path].value == value, path
    assert rows["encoder.steps"].default == 8
    assert rows["encoder.steps"].type == "whole number from 1"
    assert rows["data.options.test"].value == 0.2
    assert all(row.text for row in rows.values())
    assert "encoder.steps = 12  (whole number from 1; 8)\n    Time steps." in printed(recipe)


def test_every_verb_shows_an_example():
    for command in app.registered_commands:
        assert command.epilog is not None
        assert command.epilog.startswith("Example: bitspike ")


def test_public_names_are_listed():
    import bitspike

    assert set(bitspike.__all__) <= set(dir(bitspike))
