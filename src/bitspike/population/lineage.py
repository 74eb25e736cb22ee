"""Who came from whom, from the log alone: ancestors, the schedule of a member's hyperparameters, the tree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bitspike.errors import BitspikeError
from bitspike.population.space import Values
from bitspike.population.turn import Node, Turn


@dataclass(frozen=True)
class Stretch:
    """Updates `begin` to `end` of a schedule: learned with `values`, drawn under the key of `member`, on `threads`."""

    begin: int
    end: int
    member: int
    values: Values
    threads: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"begin": self.begin, "end": self.end, "member": self.member, "values": dict(self.values)}


def ancestors(turns: Iterable[Turn], node: Node) -> list[Turn]:
    """The turns that made the weights of `node`, the first one first."""
    known = {turn.node: turn for turn in turns}
    found: list[Turn] = []
    at: Node | None = node
    while at is not None:
        turn = known.get(at)
        if turn is None or len(found) > len(known):
            raise BitspikeError(f"population log: no turn {at[1]} of member {at[0]}, or one that is its own ancestor")
        found.append(turn)
        at = turn.parent
    return found[::-1]


def schedule(turns: Iterable[Turn], node: Node) -> list[Stretch]:
    """Hyperparameters over the updates that made `node`; turns that change nothing are joined."""
    found: list[Stretch] = []
    for turn in ancestors(turns, node):
        begin = turn.updates - turn.made
        if begin != (found[-1].end if found else 0):
            raise BitspikeError(f"population log: turn {turn.generation} of member {turn.member} begins at {begin}")
        before = found[-1] if found else None
        like = turn.member, turn.values, turn.threads
        if before is not None and (before.member, before.values, before.threads) == like:
            found[-1] = Stretch(before.begin, turn.updates, *like)
        elif turn.made:
            found.append(Stretch(begin, turn.updates, turn.member, dict(turn.values), turn.threads))
    return found


def survivors(turns: Iterable[Turn]) -> set[int]:
    """Members whose first turn the weights of a last turn go back to; of those that ended broken, none."""
    turns = list(turns)
    last = {turn.member: turn for turn in sorted(turns, key=lambda turn: turn.generation)}
    return {ancestors(turns, turn.node)[0].member for turn in last.values() if not turn.broken}
