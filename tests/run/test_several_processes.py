"""Two processes learn what one learns: draws by example, losses and gradients of the whole batch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bitspike.draws import generator
from bitspike.learners import BackpropLearner
from bitspike.run.assemble import build_encoder, build_learner, build_model, form_of, load_data
from bitspike.run.batches import Batches
from bitspike.run.recipe_files import load_recipe

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


@pytest.mark.parametrize("recipe", [pytest.param("digits-st", marks=pytest.mark.long), "digits-bayes"])
def test_two_processes_equal_one(recipe, tmp_path):
    call = f"_process(int(sys.argv[1]), {str(tmp_path)!r}, {recipe!r}, 20)"
    script = f"from test_several_processes import _process; import sys; {call}"
    command = [sys.executable, "-c", script]
    pair = [subprocess.Popen([*command, str(rank)], cwd=Path(__file__).parent) for rank in (0, 1)]
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


def run_command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("bitspike")), "train", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)


def test_a_process_that_dies_ends_the_other_in_one_line_and_the_run_resumes(tmp_path):
    small = ["--set", "training.checkpoint_seconds=0", "--set", "model.layers=['16']", "--device", "cpu"]
    command = [str(Path(sys.executable).with_name("bitspike")), "train", "digits-st", *small, "--processes", "2"]
    first = subprocess.Popen([*command, "--epochs", "300"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert first.stderr is not None
    assert any("epoch 1 " in line for line in first.stderr)
    (other,) = map(int, Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split())
    os.kill(other, signal.SIGKILL)
    said = first.communicate(timeout=60)[1]
    assert first.returncode == 2
    assert "Traceback" not in said
    assert said.splitlines()[-1] == (
        "bitspike: process 1 of 2 ended (signal SIGKILL); 'runs/digits-st' keeps its last checkpoint, and --resume "
        "goes on from it"
    )
    stored = tmp_path / "runs" / "digits-st" / "recipe.toml"
    stored.write_text(stored.read_text().replace("epochs = 300", "epochs = 2"))
    refused = run_command("digits-st", *small, "--epochs", "2", "--resume", cwd=tmp_path)
    assert "--resume: processes: got 1, wanted what the run began with, 2" in refused.stderr


def test_the_command_trains_on_two_processes_and_the_online_rule_refuses(tmp_path):
    small = ["--set", "training.epochs=1", "--set", "model.layers=['16']", "--device", "cpu", "--processes", "2"]
    done = run_command("digits-st", *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("digits-st") == 1
    assert (tmp_path / "runs" / "digits-st" / "report.html").exists()
    refused = run_command("two-moons-st", *small, cwd=tmp_path)
    assert refused.returncode == 2
    assert "learner rule 'online': got several processes, wanted one process" in refused.stderr
    assert "Traceback" not in refused.stderr
