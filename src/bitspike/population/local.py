"""Turns of a population in one process: the youngest member is next. It is the rule, and the oracle of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitspike.population.space import Values
from bitspike.population.store import Folder, Memory
from bitspike.population.turn import Evolution, Member, State, Turn, best, take_turn

Store = Memory | Folder
Watch = Callable[[Turn], None]


def waiting(rules: Evolution, latest: Sequence[Turn | None]) -> list[int]:
    """Members that may have a turn now, the youngest first; in synchronous mode those of the oldest generation."""
    left = [number for number, turn in enumerate(latest) if turn is None or not turn.finished]
    if rules.part.mode == "synchronous":
        generation = {number: 0 if (turn := latest[number]) is None else turn.generation for number in left}
        first = min(generation.values(), default=0)
        return [number for number in left if generation[number] == first]
    ages = {number: 0 if (turn := latest[number]) is None else turn.updates for number in left}
    return sorted(left, key=lambda number: (ages[number], number))


def others_of(rules: Evolution, store: Store, number: int, before: Turn) -> list[Turn]:
    """What member `number` sees of the others: their last turns, or those of its own generation."""
    found = []
    for other in range(rules.members):
        if other == number or (turn := store.latest(other)) is None:
            continue
        if rules.part.mode == "synchronous" and turn.generation > before.generation:
            turn = store.at(other, before.generation)
        found.append(turn)
    return found


def turn_of(rules: Evolution, store: Store, member: Member, number: int, total: int) -> Turn:
    """Take the next turn of a member and publish it."""
    before = store.latest(number)
    others = [] if before is None else others_of(rules, store, number, before)
    turn = take_turn(rules, member, number, before, others, store.state, total)
    store.publish(turn, {} if turn.broken else member.save())
    return turn


def run_turns(rules: Evolution, store: Store, member: Member, total: int, watch: Watch | None = None) -> None:
    """Turns until every member is finished."""
    while candidates := waiting(rules, [store.latest(number) for number in range(rules.members)]):
        turn = turn_of(rules, store, member, candidates[0], total)
        if watch is not None:
            watch(turn)


@dataclass(frozen=True)
class Evolved:
    """What came out: the log, the winner's last turn and its state."""

    turns: list[Turn]
    winner: Turn
    state: State


def evolve(
    member: Member,
    part: Any,
    updates: int,
    seed: int = 0,
    first: Sequence[Values] | None = None,
    watch: Watch | None = None,
    folder: Path | None = None,
) -> Evolved:
    """Evolve anything with `load`, `step`, `evaluate` and `save` (see `turn.Member`) in this process.

    part: a table of options, `bitspike.tables.population.Population`. updates: of every member. first: the values that
    members begin with, in place of draws; there are then as many members. folder: where turns are published, and gone
    on with by whoever calls again with the same of all these; None: in memory.
    """
    rules, store = Evolution(part, seed, first), Memory() if folder is None else Folder(folder)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    run_turns(rules, store, member, updates, watch)
    last = [turn for number in range(rules.members) if (turn := store.latest(number)) is not None]
    winner = best(rules, last)
    return Evolved(store.turns(), winner, store.state(winner)[1])
