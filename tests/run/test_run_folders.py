"""Run folders: what others have put there is never lost, and a start that is refused leaves nothing."""

from __future__ import annotations

import shutil

import pytest

import bitspike
from bitspike.errors import BitspikeError

from .fast import FAST, without_seconds


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return bitspike.train("digits-bayes", tmp_path_factory.mktemp("runs") / "r", overrides=FAST)


def test_folders_are_protected(run, tmp_path):
    with pytest.raises(BitspikeError, match="already holds a run; --resume goes on with it, --overwrite replaces it"):
        bitspike.train("digits-bayes", run.path, overrides=FAST)
    with pytest.raises(BitspikeError, match=r"holds a run of another recipe \(training.epochs: 2 there, 3 now\)"):
        bitspike.train("digits-bayes", run.path, overrides=[*FAST, "training.epochs=3"], resume=True)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("x")
    with pytest.raises(BitspikeError, match="exists and is not a run folder; nothing was changed"):
        bitspike.train("digits-bayes", mine, overrides=FAST, overwrite=True)
    assert (mine / "thesis.tex").read_text() == "x"
    with pytest.raises(BitspikeError, match="is not a run folder"):
        bitspike.load(tmp_path)


def test_a_folder_with_a_recipe_of_ones_own_is_no_run_folder(run, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "recipe.toml").write_text("# mine\n" + (run.path / "recipe.toml").read_text())
    for more in ([], ["notes.txt"]):
        for name in more:
            (mine / name).write_text("x")
        for how in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(BitspikeError, match="exists and is not a run folder; nothing was changed"):
                bitspike.train("digits-bayes", mine, overrides=FAST, **how)
    assert (mine / "recipe.toml").read_text().startswith("# mine")
    assert (mine / "notes.txt").read_text() == "x"
    begun = tmp_path / "begun"  # killed before its first checkpoint
    (begun / "checkpoints").mkdir(parents=True)
    (begun / "checkpoints" / "last-0123456789ab.safetensors").write_text("half")
    for name in ("recipe.toml", "environment.json", "split.npz"):
        (begun / name).write_bytes((run.path / name).read_bytes())
    (begun / "notes.txt").write_text("x")
    with pytest.raises(BitspikeError, match="is not a run folder"):
        bitspike.train("digits-bayes", begun, overrides=FAST)
    (begun / "notes.txt").unlink()
    again = bitspike.train("digits-bayes", begun, overrides=FAST)
    assert without_seconds(again.result) == without_seconds(run.result)


def test_a_run_behind_a_link_is_replaced_where_it_lies(run, tmp_path):
    shutil.copytree(run.path, tmp_path / "there")
    (tmp_path / "here").symlink_to("there")
    bitspike.train("digits-st", tmp_path / "here", overrides=FAST[1:], overwrite=True)
    assert (tmp_path / "here").is_symlink()
    assert bitspike.load(tmp_path / "there").recipe.name == "digits-st"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]


def test_a_folder_in_use_is_refused(run):
    from bitspike.run.folder import RunFolder

    holder = RunFolder(run.path)
    holder.lock()
    with pytest.raises(BitspikeError, match="another process is training in it"):
        bitspike.train("digits-bayes", run.path, overrides=FAST, resume=True)
    with pytest.raises(BitspikeError, match="another process is training in it"):
        bitspike.train("digits-bayes", run.path, overrides=FAST, overwrite=True)
    holder.unlock()
    assert bitspike.train("digits-bayes", run.path, overrides=FAST, resume=True).result == run.result


def test_a_refused_start_leaves_no_folder(tmp_path):
    for override, message in (
        ("data.shift=5", r"data.shift: got 5 on examples of \(1, 8, 8\)"),
        ("model.layers=['32c3s0']", r"model layers\[0\]: got '32c3s0'"),
        ("optimizer.name='LBFGS'", "optimizer name: got 'LBFGS'"),
        ("data.options.colour=3", "digits option colour: got 3"),
    ):
        with pytest.raises(BitspikeError, match=message):
            bitspike.train("digits-st", tmp_path / "r", overrides=[*FAST, override])
        assert not (tmp_path / "r").exists()
    with pytest.raises(BitspikeError, match=r"learner.burn_in: got 100, wanted fewer than the 100 time steps"):
        bitspike.train("two-moons-st", tmp_path / "r", overrides=["learner.burn_in=100"])
    with pytest.raises(BitspikeError, match="--precision: got 'bf16-true', wanted one of 32-true"):
        bitspike.train("digits-st", tmp_path / "r", precision="bf16-true")
    with pytest.raises(BitspikeError, match="--resume: got --overwrite as well, wanted one of the two"):
        bitspike.train("digits-st", tmp_path / "r", resume=True, overwrite=True)
