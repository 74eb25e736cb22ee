"""Two processes learn what one learns: draws by example, losses and gradients of the whole batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bitspike.cells.calibration import sizes_of
from bitspike.draws import generator
from bitspike.layers import TemporalBatchNorm
from bitspike.layers.norm import apart
from bitspike.learners import BackpropLearner
from bitspike.run.assemble import build_encoder, build_learner, build_model, form_of, load_data
from bitspike.run.batches import Batches
from bitspike.run.recipe_files import load_recipe

from ..commands import commands

OVERRIDES = ["encoder={name='rate', steps=4}", "training.batch=25", "model.layers=['48', '32']"]


def updates(recipe_name: str, dtype: torch.dtype, count: int, rank: int = 0, world: int = 1):
    """Losses of the first `count` updates, and the gradients of the first one."""
    recipe = load_recipe(recipe_name, OVERRIDES)
    dataset = load_data(recipe)
    form = form_of(dataset)
    batches = Batches(recipe, build_encoder(recipe, form), dataset.train, torch.device("cpu"), dtype)
    model = build_model(recipe, form).to(dtype)
    learner = build_learner(recipe, form, model, 1000)
    assert isinstance(learner, BackpropLearner)
    losses, gradients = [], {}
    for number in range(count):
        losses.append(learner.fit_batch(*batches.batch(1, number, (), rank, world))["loss"])
        if not gradients:
            gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    return losses, gradients


def _process(rank: int, folder: str, recipe: str, count: int) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    double = updates(recipe, torch.float64, count, rank, 2)[0]
    single = updates(recipe, torch.float32, 1, rank, 2)[1]
    torch.save({"losses": double, "gradients": single}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def _calibrated(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    source = torch.Generator().manual_seed(0)
    sizes = sizes_of(torch.randn(20, 8, 2, 3, generator=source)[:, rank::2])
    statistics = TemporalBatchNorm(4)
    statistics.momentum = 1.0
    with apart():  # both see the same, as when a training's statistics are settled
        statistics(torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1)))
    torch.save({"sizes": sizes, "var": statistics.running_var}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_calibrate_and_settle_as_one(tmp_path):
    call = f"_calibrated(int(sys.argv[1]), {str(tmp_path)!r})"
    script = f"from tests.run.test_several_processes import _calibrated; import sys; {call}"
    command = [sys.executable, "-c", script]
    pair = [subprocess.Popen([*command, str(rank)], cwd=Path(__file__).parents[2]) for rank in (0, 1)]
    assert [p.wait(timeout=240) for p in pair] == [0, 0]
    source = torch.Generator().manual_seed(0)
    whole = sizes_of(torch.randn(20, 8, 2, 3, generator=source))
    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert torch.allclose(found["sizes"], whole, rtol=1e-12)
        assert torch.allclose(found["var"], x.flatten(0, 1).var(0), rtol=1e-6)


@pytest.mark.parametrize("recipe", [pytest.param("digits-st", marks=pytest.mark.long), "digits-bayes"])
def test_two_processes_equal_one(recipe, tmp_path):
    call = f"_process(int(sys.argv[1]), {str(tmp_path)!r}, {recipe!r}, 20)"
    script = f"from tests.run.test_several_processes import _process; import sys; {call}"
    command = [sys.executable, "-c", script]
    pair = [subprocess.Popen([*command, str(rank)], cwd=Path(__file__).parents[2]) for rank in (0, 1)]
    losses, _ = updates(recipe, torch.float64, 20)
    _, gradients = updates(recipe, torch.float32, 1)
    assert [p.wait(timeout=240) for p in pair] == [0, 0]
    assert len(losses) == 20
    for rank in (0, 1):
        got = torch.load(tmp_path / f"{rank}.pt")
        assert got["losses"] == pytest.approx(losses, rel=1e-8)
        for name, gradient in gradients.items():
            error = (got["gradients"][name] - gradient).norm() / gradient.norm()
            assert error < 1e-5, name


def test_draws_are_named_not_counted():
    a = torch.rand(4, generator=generator(1, "weights", 3, "layer"))
    torch.rand(100)
    assert torch.equal(a, torch.rand(4, generator=generator(1, "weights", 3, "layer")))
    assert not torch.equal(a, torch.rand(4, generator=generator(1, "weights", 4, "layer")))
    # A word and a number never name the same draw.
    assert not torch.equal(torch.rand(4, generator=generator("1")), torch.rand(4, generator=generator(1)))


SMALL = [
    "--set", "training.checkpoint_seconds=0", "--set", "model.layers=['16']", "--set", "encoder.steps=4",
    "--device", "cpu",
]  # fmt: skip


def begun(recipe: str, *more: str, cwd: Path) -> subprocess.Popen[str]:
    """The command on two processes, from a script, as they need it."""
    command = [str(Path(sys.executable).with_name("bitspike")), "train", recipe, *SMALL, "--processes", "2", *more]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_best_network_of_two_processes_is_that_of_one(tmp_path):
    """Also where it is the last one, which the first process is only just writing."""
    best = ["--epochs", "2", "--set", "training.keep=best", "--set", "training.criterion=accuracy"]
    pair = begun("digits-st", *best, "--out", "runs/two", cwd=tmp_path)
    said = pair.communicate(timeout=300)[1]
    assert pair.returncode == 0, said
    commands(["train", "digits-st", *SMALL, *best, "--out", "runs/one"], cwd=tmp_path)
    found = [json.loads((tmp_path / "runs" / name / "result.json").read_text()) for name in ("one", "two")]
    assert found[0]["kept_epoch"] == found[1]["kept_epoch"]
    assert found[1]["test"]["nll"] == pytest.approx(found[0]["test"]["nll"], rel=1e-3)


def test_a_process_that_dies_ends_the_other_in_one_line_and_the_run_resumes(tmp_path):
    first = begun("digits-st", "--epochs", "6", cwd=tmp_path)
    assert first.stderr is not None
    assert any("epoch 2 " in line for line in first.stderr)
    (other,) = map(int, Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split())
    os.kill(other, signal.SIGKILL)
    said = first.communicate(timeout=60)[1]
    assert first.returncode == 2
    assert "Traceback" not in said
    assert said.splitlines()[-1] == (
        "bitspike: process 1 of 2 ended (signal SIGKILL); 'runs/digits-st' keeps its last checkpoint, and --resume "
        "goes on from it"
    )
    folder = tmp_path / "runs" / "digits-st"
    (refused,) = commands(["train", "digits-st", *SMALL, "--epochs", "6", "--resume"], cwd=tmp_path, codes=[2])
    assert "--resume: processes: got 1, wanted what the run began with, 2" in refused.stderr
    resumed = begun("digits-st", "--epochs", "6", "--resume", cwd=tmp_path)
    printed, said = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, said
    assert "epoch 1 " not in said
    assert printed.count("digits-st") == 1
    assert (folder / "report.html").exists()


@pytest.mark.long
def test_the_online_rule_refuses_several_processes(tmp_path):
    refused = begun("two-moons-st", "--set", "encoder.steps=30", cwd=tmp_path)
    said = refused.communicate(timeout=300)[1]
    assert refused.returncode == 2
    assert "learner rule 'online': got several processes, wanted one process" in said
    assert "Traceback" not in said
