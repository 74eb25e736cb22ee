"""Our members under Ray Tune's own Population Based Training, to compare with: its scheduler, its checkpoints.

What stays ours: how a member learns, is measured and saved, what it begins with, and that no value leaves its bounds.
What is Ray's: who copies whom (truncation alone, ages compared as they come), when a trial is paused, where it runs.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bitspike.errors import BitspikeError, one_line, refuse
from bitspike.population.ray import isolation, settings
from bitspike.population.space import Choice, Space, Uniform
from bitspike.population.turn import Evolution, score_of
from bitspike.population.worker import end_with, mistake, opened
from bitspike.run.checkpoint import load_checkpoint, save_checkpoint
from bitspike.run.recipe import Recipe
from bitspike.run.recipe_files import parse_recipe, print_recipe

LARGEST = 1e30  # stands for a score that is no number: Tune compares what it is given
OUTCOME = "outcome.json"


def scheduled(
    recipe: Recipe, folder: Path, *, cpus: int = 2, each: float = 1.0, threads: int = 1, data: Path | None = None
) -> dict[str, Any]:
    """Run a recipe's population under Ray Tune in `folder`, on a cluster of this machine's own.

    cpus: of the cluster; each: what a trial takes of them. Where they do not hold all trials at once, Tune pauses and
    restores them. Returns "trials" (score, updates, ready points, values), their "best", and how many "copies" it made.
    """
    settings.wanted("Ray Tune")
    part: Any = recipe.population
    if part is None:
        refuse(f"recipe '{recipe.name}'", "no table [population]", "one")
    kinds = part.strategy, part.exploit.named.name, part.explore.named.name
    if kinds != ("pbt", "truncation", "perturb") or part.objectives:
        refuse("population", ", ".join(kinds), "pbt, truncation, perturb and one objective, which is all Ray Tune has")
    home = Path(tempfile.mkdtemp(prefix="bsr-"))
    before = isolation.prefix()
    told = {"recipe": print_recipe(recipe), "folder": str(folder.absolute()), "home": str(home), "alone": bool(before)}
    told |= {"cpus": cpus, "each": each, "threads": threads, "data": data and str(data.absolute())}
    told |= {"device": "cpu", "parent": os.getpid()}
    folder.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            [*before, sys.executable, "-m", "bitspike.population.ray.scheduled", json.dumps(told)],
            env=settings.environment(home, None), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        shutil.rmtree(home, ignore_errors=True)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise BitspikeError(f"Ray Tune: {one_line(said[-1]) if said else done.returncode}")
    return dict(json.loads((folder / OUTCOME).read_text()))


def _trainable(tune: Any) -> Any:
    """A member as Tune's class interface has it."""

    class Trial(tune.Trainable):  # type: ignore[misc]
        """A member; its number is the trial's, whatever it copies, so that a copy sees other batches."""

        def setup(self, config: dict[str, Any], told: Any = None) -> None:
            """A process of a trial begins."""
            recipe, self.member = opened(told["recipe"], "recipe", told)
            self.rules = Evolution(recipe.population, recipe.seed)
            self.number = int(self.trial_id.rpartition("_")[2])
            self._begin(config)

        def _begin(self, config: dict[str, Any]) -> None:
            self.values = {path: config[path] for path in self.rules.space.dimensions}
            self.age, self.begun = 0, False

        def reset_config(self, config: dict[str, Any]) -> bool:
            """Another trial's turn in this process; its state follows."""
            self.number = int(self.trial_id.rpartition("_")[2])
            self._begin(config)
            return True

        def step(self) -> dict[str, Any]:
            """Learn for `every` updates, then measure."""
            if not self.begun:
                self.member.load(None, self.values, self.rules.key(self.number))
                self.begun = True
            wanted = min(self.rules.part.every, self.member.total - self.age)
            made = self.member.step(wanted)
            self.age += made
            score = score_of(self.member.evaluate(), self.rules.part.metric)
            over = self.age >= self.member.total or made < wanted
            good = -LARGEST if score is None else self.rules.good(score)
            return {"score": good, "updates": self.age, "done": over}

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """As a turn is published."""
            save_checkpoint(Path(checkpoint_dir), "member", {"age": self.age, "state": self.member.save()})

        def load_checkpoint(self, checkpoint_dir: str) -> None:
            """Go on from its own state or another's, with the values that it was given."""
            found = load_checkpoint(Path(checkpoint_dir), "member")
            self.age, self.begun = found["age"], True
            self.member.load(found["state"], self.values, self.rules.key(self.number))

    return Trial


def within(space: Space, config: dict[str, Any]) -> dict[str, Any]:
    """Tune's explore leaves bounds; ours never does."""
    bounded = {path: one for path, one in space.dimensions.items() if isinstance(one, Uniform)}
    return {**config, **{path: one.clipped(config[path]) for path, one in bounded.items()}}


def _run(told: dict[str, Any]) -> dict[str, Any]:
    """The scheduler, in this process."""
    if told["alone"]:
        isolation.loopback_up()
    import ray
    from ray import tune
    from ray.tune.schedulers import PopulationBasedTraining

    recipe = parse_recipe(told["recipe"], "recipe", stored=True)
    part: Any = recipe.population
    rules = Evolution(part, recipe.seed)
    random.seed(recipe.seed)
    explore = rules.explore
    space, beginnings = rules.space, rules.beginnings
    mutations = {
        path: list(one.of) if isinstance(one, Choice) else (lambda one=one: one.at(random.random()))
        for path, one in space.dimensions.items()
    }
    first = {
        path: tune.sample_from(lambda config, path=path: beginnings[config["first"]][path]) for path in space.dimensions
    }
    scheduler = PopulationBasedTraining(
        time_attr="updates", metric="score", mode="max", perturbation_interval=part.every, burn_in_period=part.burn_in,
        hyperparam_mutations=mutations, quantile_fraction=min(0.5, rules.exploit.fraction),  # type: ignore[attr-defined]
        resample_probability=explore.resample, perturbation_factors=(explore.high, explore.low),  # type: ignore[attr-defined]
        custom_explore_fn=lambda config: within(space, config), synch=part.mode == "synchronous",
    )  # fmt: skip
    settings.begin(ray, settings.local(Path(told["home"]), told["cpus"]))
    try:
        kept = {name: told[name] for name in ("recipe", "data", "device", "threads")}
        results = tune.Tuner(
            tune.with_resources(tune.with_parameters(_trainable(tune), told=kept), {"cpu": told["each"]}),
            param_space={"first": tune.grid_search(list(range(rules.members))), **first},
            tune_config=tune.TuneConfig(scheduler=scheduler, num_samples=1, reuse_actors=True),
            run_config=tune.RunConfig(
                name="tune", storage_path=told["folder"], verbose=0,
                checkpoint_config=tune.CheckpointConfig(num_to_keep=2),
            ),
        ).fit()  # fmt: skip
    finally:
        ray.shutdown()
    if results.errors:
        raise BitspikeError(one_line(str(results.errors[0]).strip().splitlines()[-1]))
    trials = [
        {
            "score": None if result.metrics["score"] == -LARGEST else rules.sign * result.metrics["score"],
            "updates": result.metrics["updates"],
            "ready": result.metrics["training_iteration"],
            "values": {path: result.config[path] for path in space.dimensions},
        }
        for result in results
    ]
    best = max(trials, key=lambda trial: -math.inf if trial["score"] is None else rules.sign * trial["score"])
    return {"trials": trials, "best": best, "copies": scheduler._num_perturbations}


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    end_with(told["parent"], lambda: isolation.leave(told["home"]))
    try:
        # By its name, so that actors find what they are given in the module and not in this script.
        from bitspike.population.ray import scheduled as named

        (Path(told["folder"]) / OUTCOME).write_text(json.dumps(named._run(told), indent=1))
    except Exception as error:
        print(mistake(error), file=sys.stderr, flush=True)
        os._exit(2)
