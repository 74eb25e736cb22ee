"""population.json: what a population was, its log, and the winner's schedule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitspike.errors import damaged, refuse
from bitspike.population.lineage import schedule, survivors
from bitspike.population.turn import Evolution, Turn
from bitspike.run.checkpoint import read_json


def content(recipe: Any, rules: Evolution, turns: Sequence[Turn], winner: Turn) -> dict[str, Any]:
    """Plain values."""
    part = rules.part
    made = sum(turn.made for turn in turns)
    return {
        "how": {"seed": recipe.seed},
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
        "copies": sum(turn.copied for turn in turns),
        "broken": sum(bool(turn.broken) for turn in turns),
        "survivors": sorted(survivors(turns)),
        "schedule": [stretch.to_dict() for stretch in schedule(turns, winner.node)],
        "turns": [turn.line() for turn in turns],
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
