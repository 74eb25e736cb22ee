"""A turn of a member: exploit, explore, learn, measure. What comes out is published; the turns are the event log.

    before = the member's last turn                     others = what the others have published
    if ready(before):  source = exploit(before, others at the same age)
    if source:         weights, hyperparameters = explore(copy of source); measured again
    learn until the next ready point; measure

The paper's loop, cut where a member publishes: what others read is what it has learned, not what it copies next.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import torch

from bitspike import registry
from bitspike.draws import Key, generator
from bitspike.errors import BitspikeError, damaged, refuse
from bitspike.population.exploit import Exploit
from bitspike.population.explore import rule_of
from bitspike.population.front import fronts, ordered
from bitspike.population.space import Space, Values
from bitspike.run.signals import Interrupted

State = dict[str, Any]
Node = tuple[int, int]  # a member and the generation of its turn


class Member(Protocol):
    """What evolves. State: nested dicts and lists of numbers, texts and tensors."""

    def load(self, state: State | None, values: Values, key: tuple[Key, ...]) -> None:
        """Go on from a state (None: from the start) with these hyperparameters, and draw under this key."""

    def step(self, updates: int) -> int:
        """Learn; returns how many updates were made, fewer at the end. A `BitspikeError` says that learning broke."""

    def evaluate(self) -> dict[str, float]:
        """Metrics, as it is now."""

    def save(self) -> State:
        """All that is carried on, as copies: weights, optimiser, position."""


@dataclass(frozen=True)
class Turn:
    """A line of the log, and what is published with a state.

    updates: age at its end, of the weights; made: in this turn. parent: whose weights it went on from (None: fresh);
    taught_by: whose hyperparameters it changed into its own, if it did. score: the metric, None where learning broke
    (`broken` says why). history: (age, score) of the weights' ancestors and itself at their ready points; points: the
    same with the values of all objectives, where there are several. seconds: it took; ended: when, in Unix time;
    threads: of the process that took it, which sums come out by (0: not known, as in logs of earlier versions).
    """

    member: int
    generation: int
    updates: int
    made: int
    values: Values
    score: float | None
    metrics: dict[str, float] = field(default_factory=dict)
    parent: Node | None = None
    taught_by: Node | None = None
    began_with: float | None = None
    finished: bool = False
    broken: str = ""
    seconds: float = 0.0
    history: list[tuple[int, float | None]] = field(default_factory=list)
    points: list[tuple[int, list[float] | None]] = field(default_factory=list)
    ended: float = 0.0
    threads: int = 0

    @property
    def node(self) -> Node:
        """Its place in the tree."""
        return self.member, self.generation

    @property
    def copied(self) -> bool:
        """Whether it went on from another member's weights."""
        return self.parent is not None and self.parent[0] != self.member

    @property
    def took(self) -> int | None:
        """The member whose weights or hyperparameters it took over."""
        node = self.parent if self.copied else self.taught_by
        return None if node is None else node[0]

    def line(self) -> dict[str, Any]:
        """As a line of the log: without its history, which earlier lines hold."""
        return {key: value for key, value in self.to_dict().items() if key not in ("history", "points")}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as JSON holds it."""
        lists: dict[str, Any] = {name: [list(pair) for pair in getattr(self, name)] for name in ("history", "points")}
        lists |= {name: list(node) for name in ("parent", "taught_by") if (node := getattr(self, name)) is not None}
        return {**asdict(self), **lists}

    @classmethod
    def read(cls, data: Any, source: str) -> Turn:
        """From plain data that was stored; damage is refused by `source`."""
        with damaged(source):
            turn = cls(**data)
            for name in ("member", "generation", "updates", "made", "threads"):
                if type(getattr(turn, name)) is not int or getattr(turn, name) < 0:
                    raise ValueError(f"{name} {getattr(turn, name)!r}")
            if not isinstance(turn.values, dict) or not isinstance(turn.finished, bool):
                raise ValueError("values or finished of another kind")
            nodes = {name: _node(getattr(turn, name)) for name in ("parent", "taught_by")}
            history = [(int(age), _score(score)) for age, score in turn.history]
            points = [(int(age), None if point is None else [*map(float, point)]) for age, point in turn.points]
            read = {"history": history, "points": points, "score": _score(turn.score)}
            return cls(**{**turn.__dict__, **nodes, **read})


def _node(value: Any) -> Node | None:
    if value is None:
        return None
    member, generation = value
    return int(member), int(generation)


def _score(value: Any) -> float | None:
    return None if value is None else float(value)


class Evolution:
    """The rules of a population, as pure functions of published turns. part: its table of options."""

    def __init__(self, part: Any, seed: int, first: Sequence[Values] | None = None) -> None:
        self.part, self.seed, self.space = part, seed, Space(part.space)
        self.exploit: Exploit = registry.make(part.exploit)
        self.explore = rule_of(part.explore)
        self.sign = 1.0 if part.higher else -1.0
        self.members = part.members if first is None else len(first)
        grid = self.space.grid() if part.strategy == "grid" and first is None else None
        self.beginnings = first or grid or [self.space.drawn(seed, member) for member in range(self.members)]
        for number, values in enumerate(self.beginnings):
            if not self.space.holds(values):
                refuse(f"member {number}", values, "a value within its bounds for each hyperparameter")

    def key(self, member: int) -> tuple[Key, ...]:
        """Under which a member draws, whoever's weights it goes on with: a copy sees other batches than its parent."""
        return ("member", member)

    def good(self, score: float | None) -> float:
        """A score so that more is better; -inf where learning broke."""
        return -math.inf if score is None else self.sign * score

    def ready(self, turn: Turn) -> bool:
        """Whether a member may copy now."""
        return bool(self.part.strategy == "pbt" and turn.updates >= self.part.burn_in)

    def standings(self, turn: Turn, others: Iterable[Turn]) -> dict[int, list[float]]:
        """Scores up to the age of `turn`, of it and of those that have been measured at that age.

        Of several objectives one score for each: how many are behind it in the order of fronts (see `front`).
        """
        found = {}
        same = sorted([turn, *others], key=lambda one: one.member)
        if self.part.objectives:
            return self._places({one.member: dict(one.points) for one in same}, turn.updates)
        for one in same:
            ages = {age: score for age, score in one.history if age <= turn.updates}
            if turn.updates in ages:
                found[one.member] = [self.good(ages[age]) for age in sorted(ages)]
        return found

    def _places(self, points: Mapping[int, Mapping[int, list[float] | None]], age: int) -> dict[int, list[float]]:
        then = {member: ages[age] for member, ages in points.items() if age in ages}
        costs = {member: self.costs(point) for member, point in then.items() if point is not None}
        within = {member: cost for member, cost in costs.items() if self.within(cost)}
        order = ordered(within) + ordered({member: cost for member, cost in costs.items() if member not in within})
        places = {member: float(len(order) - k) for k, member in enumerate(order)}
        return {member: [places.get(member, -math.inf)] for member in then}

    def costs(self, point: Sequence[float]) -> list[float]:
        """Values of the objectives so that less is better (and back again)."""
        return [self.part.cost(name, value) for name, value in zip(self.part.objectives, point, strict=True)]

    def within(self, costs: Sequence[float]) -> bool:
        """Whether a point lies within the reference, if there is one; those beyond it come after all others."""
        reference = self.costs(self.part.reference) if self.part.reference else [math.inf] * len(costs)
        return all(a < b for a, b in zip(costs, reference, strict=True))

    def point(self, turn: Turn) -> list[float]:
        """The objectives of a turn whose learning did not break."""
        return [turn.metrics[name] for name in self.part.objectives]

    def source(self, turn: Turn, others: Iterable[Turn]) -> int | None:
        """Whom a member copies after this turn: nobody who is finished, as nothing is left to learn with a copy.

        One whose learning broke copies the best there is, whenever and at whatever age.
        """
        others = [one for one in others if not one.finished]
        if turn.broken:
            sound = [one for one in others if not one.broken]
            return best(self, sound).member if sound and self.part.strategy == "pbt" else None
        if not self.ready(turn):
            return None
        scores = self.standings(turn, others)
        if len(scores) < 2:
            return None
        found = self.exploit.source(turn.member, scores, self._draw("exploit", turn))
        if found is not None and found not in scores:
            refuse("population.exploit", found, f"a member that is compared, of {sorted(scores)}, or None")
        return found if found is not None and math.isfinite(scores[found][-1]) else None

    def explored(self, values: Values, turn: Turn) -> Values:
        """Copied hyperparameters, changed; what leaves the bounds is refused."""
        new = self.explore(dict(values), self.space, self._draw("explore", turn))
        if not isinstance(new, dict) or not self.space.holds(new):
            refuse("population.explore", new, "a value within its bounds for each hyperparameter")
        return new

    def _draw(self, purpose: str, turn: Turn) -> Any:
        return generator(self.seed, "population", purpose, turn.member, turn.generation)


Load = Callable[[Turn], tuple[Turn, State]]


def take_turn(
    rules: Evolution,
    member: Member,
    number: int,
    before: Turn | None,
    others: Sequence[Turn],
    load: Load,
    total: int,
) -> Turn:
    """The next turn of member `number`; `member` is then as it ends. total: updates at which a member is finished.

    load: the state of a turn of others, or of a later turn of the same member where that one is gone.
    """
    started = time.monotonic()
    part, key = rules.part, rules.key(number)
    taught: Turn | None = None
    began_with = None
    values = rules.beginnings[number] if before is None else before.values
    parent = before
    state: State | None = None
    if before is not None:
        found = rules.source(before, others)
        if found is not None:
            parent, state = load(next(one for one in [before, *others] if one.member == found))
        if found is None or parent is None or parent.broken or (parent.member != number and parent.finished):
            if before.broken:
                return _still(before)
            parent, state = load(before)
        elif part.inherit == "weights" and not before.broken:
            pass
        else:
            taught, values = parent, rules.explored(parent.values, before)
            if part.inherit == "hyperparameters" and not before.broken:
                parent, state = load(before)
    member.load(state, values, key)
    if taught is not None or (parent is not None and parent.member != number):
        began_with = score_of(member.evaluate(), part.metric)
    age = 0 if parent is None else parent.updates
    history, points = ([], []) if parent is None else (parent.history, parent.points)
    generation = 1 if before is None else before.generation + 1
    metrics: Mapping[str, float] = {}
    broken = ""
    wanted = min(part.every, total - age)
    made, score, point = wanted, None, None
    try:
        made = member.step(wanted)
        metrics = member.evaluate()
    except Interrupted:
        raise
    except BitspikeError as error:
        broken = " ".join(str(error).split())[:300]
    else:
        score, broken = score_of(metrics, part.metric), ""
        found_values = {name: score_of(metrics, name) for name in part.objectives or [part.metric]}
        if unknown := [name for name, value in found_values.items() if value is None]:
            score, broken = None, f"{unknown[0]} is not finite"
        elif part.objectives:
            point = [value for value in found_values.values() if value is not None]
    return Turn(
        number, generation, age + made, made, dict(values), score,
        {name: value for name, value in metrics.items() if math.isfinite(value)},
        None if parent is None else parent.node, None if taught is None else taught.node, began_with,
        age + made >= total or made < wanted, broken, round(time.monotonic() - started, 6),
        [*history, (age + made, score)], [*points, (age + made, point)] if part.objectives else [],
        round(time.time(), 3), torch.get_num_threads(),
    )  # fmt: skip


def _still(before: Turn) -> Turn:
    """A member whose learning broke, and that has nobody to copy, is finished."""
    return replace(
        before, generation=before.generation + 1, made=0, finished=True, seconds=0.0, parent=before.node,
        taught_by=None, began_with=None, ended=round(time.time(), 3),
    )  # fmt: skip


def score_of(metrics: Mapping[str, float], metric: str) -> float | None:
    """The metric that counts; None where it is not finite."""
    if metric not in metrics:
        refuse("population.metric", repr(metric), f"one that is measured: {', '.join(sorted(metrics))}")
    value = float(metrics[metric])
    return value if math.isfinite(value) else None


def best(rules: Evolution, turns: Iterable[Turn]) -> Turn:
    """The winner: the best score among the oldest; of equal ones the lowest number."""
    equals = _oldest(turns)
    return max(equals, key=lambda turn: (rules.good(turn.score), -turn.member))


def front_of(rules: Evolution, turns: Iterable[Turn]) -> list[Turn]:
    """Those of the oldest that nobody dominates, by the last objective, the best first; of equal ones the first.

    Beyond the reference are none of them, unless all are.
    """
    if not rules.part.objectives:
        return []
    known = {turn.member: turn for turn in _oldest(turns)}
    costs = {member: tuple(rules.costs(rules.point(turn))) for member, turn in known.items()}
    costs = {member: cost for member, cost in costs.items() if rules.within(cost)} or costs
    first = {point: member for member, point in sorted(costs.items(), reverse=True)}
    front = [member for member in fronts(costs)[0] if first[costs[member]] == member]
    return [known[member] for member in sorted(front, key=lambda member: (*costs[member][::-1], member))]


def _oldest(turns: Iterable[Turn]) -> list[Turn]:
    """Members that have learned longest, those whose learning broke left out."""
    found = list(turns)
    whole = [turn for turn in found if not turn.broken]
    if not whole:
        raise BitspikeError(f"population: learning broke for every member; the first: {found[0].broken}")
    age = max(turn.updates for turn in whole)
    return [turn for turn in whole if turn.updates == age]
