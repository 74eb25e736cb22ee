"""What an own file raises in another process than the command's is told at once, with its file and line."""

from __future__ import annotations

import pytest
import torch
from tests.commands import commands
from tests.population.small import SMALL, small

import bitspike
from bitspike.population.ray.actors import Host, Job
from bitspike.population.worker import mistake
from bitspike.run.recipe_files import print_recipe

OWN = """
import bitspike
from bitspike.learners import Learner


@bitspike.register("learner", "unlucky")
class Unlucky(Learner):
    def __init__(self, model, optimisation, task, seed):
        super().__init__(model, optimisation, task, seed)

    def fit_batch(self, events, targets, examples=None):
        raise ValueError("bad luck")

    def outputs(self, events, every_step=False):
        return self.model(events).softmax(-1)
"""
RULE = "learner={rule='unlucky'}"


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "rules.py").write_text(OWN)
    return folder


def said(folder):
    return f"plug-in '{folder / 'rules.py'}', line 12: ValueError: bad luck"


def test_an_own_file_that_raises_in_a_worker_is_told_with_its_line(own, tmp_path):
    sets = [word for entry in [*SMALL, RULE] for word in ("--set", entry)]
    where = ["--workers", 2, "--threads", 1, "--out", tmp_path / "run"]
    (done,) = commands(["--plugins", own, "tune", "tune-digits", *where, *sets], codes=[2])
    assert done.stderr.splitlines()[-1] == f"bitspike: {said(own)}"


def test_an_own_file_that_raises_in_an_actor_is_told_with_its_line(own):
    bitspike.plugins.add(own)
    host = Host()
    job = Job(print_recipe(small(RULE)), None, "cpu", torch.get_num_threads())
    assert "refused" not in host.open(job)
    assert host.turn(0, None, [], {}) == said(own)


def test_what_is_nobodys_mistake_is_raised_as_it_was():
    with pytest.raises(ZeroDivisionError):
        mistake(ZeroDivisionError("a mistake of ours"))
