"""Train a discovered schedule from scratch: a session that takes up the hyperparameters and keys of each stretch."""

from __future__ import annotations

import time
from pathlib import Path

from bitspike.data import DataSet
from bitspike.errors import damaged, refuse
from bitspike.kernels.cpu.works import on_threads
from bitspike.paths import named_beside, read_text
from bitspike.population.federation import Federating, member_of
from bitspike.population.lineage import ancestors, schedule
from bitspike.population.member import Learning, plain
from bitspike.population.record import read
from bitspike.population.start import ASKED, finish
from bitspike.population.turn import Turn
from bitspike.run.assemble import check_data, load_data
from bitspike.run.finished import Run
from bitspike.run.folder import RunFolder
from bitspike.run.progress import Progress
from bitspike.run.recipe_files import parse_recipe
from bitspike.run.start import place_on


def replay(
    run: Run | Path | str,
    out: Path | str | None = None,
    *,
    member: int | None = None,
    seed: int | None = None,
    data: Path | str | None = None,
    overwrite: bool = False,
    device: str = "cpu",
    quiet: bool = True,
    dataset: DataSet | None = None,
) -> Run:
    """Train from scratch what made the winner of a tuned run (or the last network of `member`); returns a run.

    out: default RUN-replay (with a seed RUN-replay-seed-N). The log holds all that made it, so on the same machine the
    network comes out the same, bit for bit: it learns, and is measured, on as many threads as it was. seed: with other
    first weights, batches and draws than the run's, to see what the schedule does for a network that it was not chosen
    for.
    """
    source = RunFolder.existing(Path(run.path if isinstance(run, Run) else run))
    if not (source.path / "population.json").exists():
        refuse("replay", f"'{source.path}'", "a finished run of `bitspike tune`")
    found, turns = read(source.path / "population.json")
    asked = source.path / ASKED
    given = [] if seed is None else [f"seed={seed}"]
    recipe = parse_recipe(read_text(asked, "run", "a recipe"), f"'{asked}'", given, stored=True)
    if member is None:
        node = (found["winner"]["member"], found["winner"]["turn"])
    else:
        of = [turn for turn in turns if turn.member == member]
        if not of:
            refuse("--member", member, f"0 to {max(turn.member for turn in turns)}")
        node = max(of, key=lambda turn: turn.generation).node
    stood = source.read("environment.json")
    with damaged(f"'{source.path / 'environment.json'}'"):
        ended = stood.get("threads")
    line = ancestors(turns, node)
    if line[-1].broken:
        refuse("--member", member, f"one whose learning did not break ({line[-1].broken})")
    ending = "-replay" if seed is None else f"-replay-seed-{seed}"
    folder = RunFolder(Path(out) if out is not None else named_beside(source.path, ending))
    check_data(data)
    last = line[-1]
    target = plain(recipe, last.values)
    folder.check(target, False, overwrite)
    own = dataset
    learner = member_of(recipe, load_data(recipe, None if data is None else Path(data)) if dataset is None else dataset,
                       place_on(device))  # fmt: skip
    try:
        folder.create(target, False, overwrite)
        began = time.monotonic()
        with on_threads(_number(found.get("how", {}).get("threads"))):
            _train(learner, turns, last, recipe.name, quiet)
        with on_threads(_number(ended)):
            finish(learner, folder, recipe, last, time.monotonic() - began)
    finally:
        folder.unlock()
    return Run(folder.path, dataset=own)


def _number(threads: object) -> int | None:
    """Of threads; None where the log does not say."""
    return threads if isinstance(threads, int) and threads > 0 else None


def _train(learner: Learning | Federating, turns: list[Turn], last: Turn, name: str, quiet: bool) -> None:
    progress = Progress(f"{name} replay", last.updates, 0, quiet)
    state = None
    try:
        for stretch in schedule(turns, last.node):
            with on_threads(_number(stretch.threads)):
                learner.load(state, stretch.values, ("member", stretch.member))
                made = learner.step(stretch.end - stretch.begin)
            if made != stretch.end - stretch.begin:
                refuse("replay", f"{made} updates", f"{stretch.end - stretch.begin}, as the log has them")
            state = learner.save()
            progress.advance(made)
            progress.line(f"{name} replay  updates {stretch.end}")
    finally:
        progress.close()
