"""population.json: what a population was, its log, and the winner's schedule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitspike.errors import damaged, refuse
from bitspike.population.front import hypervolume
from bitspike.population.lineage import schedule, survivors
from bitspike.population.turn import Evolution, Turn, front_of
from bitspike.run.checkpoint import read_json


def content(recipe: Any, rules: Evolution, turns: Sequence[Turn], winner: Turn) -> dict[str, Any]:
    """Plain values. how.threads: of each process that learned; a list where turns were learned on different numbers."""
    part = rules.part
    made = sum(turn.made for turn in turns if not turn.broken)
    last = {turn.member: turn for turn in sorted(turns, key=lambda turn: turn.generation)}
    front = front_of(rules, last.values())
    threads = sorted({turn.threads for turn in turns})
    return {
        "how": {"seed": recipe.seed, "threads": threads[0] if len(threads) == 1 else threads},
        "strategy": part.strategy,
        "mode": part.mode,
        "members": rules.members,
        "every": part.every,
        "metric": part.metric,
        "direction": "max" if part.higher else "min",
        "exploit": part.exploit.named.name,
        "explore": part.explore.named.name,
        "inherit": part.inherit,
        "winner": {"member": winner.member, "turn": winner.generation, "score": winner.score},
        "updates": made,
        "copies": sum(turn.took is not None for turn in turns),
        "broken": sum(bool(turn.broken and turn.made) for turn in turns),
        "survivors": sorted(survivors(turns)),
        "schedule": [stretch.to_dict() for stretch in schedule(turns, winner.node)],
        **({"front": weighed(rules, turns, front)} if front else {}),
        "turns": [turn.line() for turn in turns],
    }


def weighed(rules: Evolution, turns: Sequence[Turn], front: Sequence[Turn]) -> dict[str, Any]:
    """The front as plain values: its networks, the best by the last objective first, and what it is worth."""
    names = rules.part.objectives
    measured = [rules.costs(rules.point(turn)) for turn in turns if not turn.broken]
    worst = [max(column) for column in zip(*measured, strict=True)]
    reference = rules.costs(rules.part.reference) if rules.part.reference else worst
    return {
        "objectives": list(names),
        "higher": [name for name in names if rules.part.cost(name, 1.0) < 0],
        "reference": rules.costs(reference),
        "hypervolume": hypervolume([rules.costs(rules.point(turn)) for turn in front], reference),
        "networks": [{"member": turn.member, "turn": turn.generation, "point": rules.point(turn)} for turn in front],
    }


def read(path: Path) -> tuple[dict[str, Any], list[Turn]]:
    """population.json of a run, and its log."""
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("turns"), list):
        refuse(f"'{path}'", "no turns in it", "what `bitspike tune` writes")
    turns = [Turn.read(entry, f"'{path}' turns") for entry in found["turns"]]
    with damaged(f"'{path}' winner"):
        winner = found["winner"]
        node = (winner["member"], winner["turn"])
        if node not in {turn.node for turn in turns}:
            raise ValueError(f"turn {node[1]} of member {node[0]} is not in the log")
    return found, turns
