"""A worker: takes turns of whichever member is next and free, through the shared folder, until all are finished.

Workers know nothing of each other but what is published. A member is held by a file lock while a turn is taken, which
the system lets go when a process is killed; whoever comes next takes that turn anew. A worker ends when the process
that started it does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bitspike import plugins
from bitspike.errors import BitspikeError, one_line
from bitspike.population.federation import Federating, member_of
from bitspike.population.local import turn_of, waiting
from bitspike.population.member import Learning
from bitspike.population.store import Folder
from bitspike.population.turn import Evolution, Member

PAUSE_SECONDS = 0.02


def work(rules: Evolution, store: Folder, member: Member, total: int) -> None:
    """Turns until every member is finished."""

    def free() -> list[int]:
        return waiting(rules, [store.latest(number) for number in range(rules.members)])

    while candidates := free():
        for number in candidates:
            with store.held(number) as mine:
                # While it was not ours somebody may have taken its turn.
                if mine and number in free():
                    turn_of(rules, store, member, number, total)
                    break
        else:
            time.sleep(PAUSE_SECONDS)


def main(told: dict[str, Any]) -> None:
    """The process. told: folder of the population, data folder, device, threads, the process that it belongs to."""
    end_with(told["parent"])
    from bitspike.paths import read_text

    folder = Path(told["folder"])
    asked = folder / "recipe.toml"
    recipe, member = opened(read_text(asked, "run", "a recipe"), f"'{asked}'", told)
    work(Evolution(recipe.population, recipe.seed), Folder(folder), member, member.total)


def opened(text: str, source: str, told: Mapping[str, Any]) -> tuple[Any, Learning | Federating]:
    """What a process needs for turns of any member: the recipe of a text, and a member over its data."""
    import torch

    from bitspike.run.assemble import load_data
    from bitspike.run.recipe_files import parse_recipe
    from bitspike.run.start import place_on

    torch.set_num_threads(told["threads"])
    recipe = parse_recipe(text, source, stored=True)
    dataset = load_data(recipe, None if told["data"] is None else Path(told["data"]))
    return recipe, member_of(recipe, dataset, place_on(told["device"]))


def mistake(error: Exception) -> str:
    """The line of a person's mistake, in what was handed in or in an own file; whatever else is raised again."""
    said = str(error) if isinstance(error, BitspikeError) else plugins.blamed(error)
    if not said:
        raise error
    return one_line(said)


def end_with(parent: int, leave: Callable[[], None] = lambda: None) -> None:
    """From now on this process ends when that one does. leave: called before."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        leave()
        os._exit(1)  # between two renames or in the middle of one: what is published is whole

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except Exception as error:
        print(mistake(error), file=sys.stderr)
        sys.exit(2)
